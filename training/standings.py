"""How the combinations of a sweep stand: means over the seeds, the best on validation first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.metrics import METRIC_TITLES
from training.report.drawing import drawn
from training.report.html import render
from training.report.statistics import Spread
from training.report.sweep_chart import sweep_chart
from training.report.terminal import aligned
from training.report.units import duration
from training.sweep import Outcome, Trial


@dataclass(frozen=True)
class Standing:
    """A combination of settings over its seeds."""

    name: str
    seeds: int
    validation_f1: Spread
    test: dict[str, Spread]
    seconds: Spread


def standings(outcomes: Sequence[Outcome]) -> list[Standing]:
    """The combinations, best mean validation example-F1 first."""
    by_name: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_name.setdefault(outcome.trial.name, []).append(outcome)
    found = [
        Standing(
            name,
            len(group),
            Spread.of(one.validation_f1 for one in group),
            {metric: Spread.of(one.result.test[metric] for one in group) for metric in group[0].result.test},
            Spread.of(one.seconds for one in group),
        )
        for name, group in by_name.items()
    ]
    return sorted(found, key=lambda standing: -standing.validation_f1.mean)


def best_trial(outcomes: Sequence[Outcome]) -> Trial:
    """Of the winning combination, the seed that is best on validation."""
    winner = standings(outcomes)[0].name
    return max((one for one in outcomes if one.trial.name == winner), key=lambda one: one.validation_f1).trial


def sweep_table(found: Sequence[Standing]) -> str:
    """For the terminal: mean ± standard deviation, and the winner in a sentence."""
    metrics = [name for name in METRIC_TITLES if name in found[0].test]
    header = ["settings", "validation example-F1", *(f"test {METRIC_TITLES[name]}" for name in metrics), "time"]
    rows = [
        [one.name, str(one.validation_f1), *(str(one.test[name]) for name in metrics), duration(one.seconds.mean)]
        for one in found
    ]
    return f"{aligned([header, *rows])}\n\n{verdict(found)}"


def verdict(found: Sequence[Standing]) -> str:
    """Who wins on validation, and how it does on test."""
    best = found[0]
    seeds = f"mean of {best.seeds} seeds" if best.seeds > 1 else "one seed"
    return (
        f"best on validation ({seeds}): {best.name}: validation example-F1 {best.validation_f1}, "
        f"test example-F1 {best.test['example_f1']}"
    )


def sweep_page(title: str, outcomes: Sequence[Outcome]) -> str:
    """The table as a page, with a figure, and every run."""
    found = standings(outcomes)
    metrics = {name: METRIC_TITLES[name] for name in METRIC_TITLES if name in found[0].test}
    return render(
        "sweep.html.j2",
        title=title,
        standings=found,
        metrics=metrics,
        verdict=verdict(found),
        charts=drawn([sweep_chart([(one.name, one.validation_f1, one.test["example_f1"]) for one in found])]),
        outcomes=outcomes,
    )


def records(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """One flat record a run, for JSON."""
    return [
        {
            "settings": one.trial.name,
            "seed": one.trial.recipe.seed,
            **{f"validation_{name}": value for name, value in one.result.validation.items()},
            **{f"test_{name}": value for name, value in one.result.test.items()},
            "seconds": one.seconds,
            "run": one.folder.name,
        }
        for one in outcomes
    ]
