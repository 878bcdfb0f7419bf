"""Quality of label sets: losses x decisions x seeds on one recipe, chosen on validation, reported on test.

    python benchmarks/label_sets.py --recipe attack --json results.json

Every run is one of `labelset train-and-export`'s, kept under `runs/`, so a benchmark that was cut off goes on.
Our label sets are read off the exact zeros, nothing tuned. Binary cross-entropy gets what its users give it: one
threshold tuned on validation, and beside it the best threshold of the test split itself, which nobody can have.
"""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from training.config import Recipe
from training.data.dataset import LabelledData
from training.data.registry import load
from training.evaluate import Answers, answer, measure
from training.metrics import best_threshold, label_set_metrics
from training.overrides import named_recipe, override
from training.train_and_export import train

LOSSES = {
    "AS-Softmax, delta 1": ["loss.name=as_softmax", "loss.delta=1"],
    "AS-Softmax, delta .3": ["loss.name=as_softmax", "loss.delta=0.3"],
    "r-softmax (eq. 4)": ["loss.name=r_softmax"],
    "BCE": ["loss.name=bce"],
}
Record = dict[str, Any]


@click.command()
@click.option("--recipe", "recipe_name", required=True)
@click.option("--loss", "losses", multiple=True, default=tuple(LOSSES), type=click.Choice(list(LOSSES)))
@click.option("--seeds", default="0,1,2", show_default=True)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(
    recipe_name: str, losses: tuple[str, ...], seeds: str, settings: tuple[str, ...], runs: Path, json_file: Path | None
) -> None:
    """Train and measure, then print the table."""
    recipe = override(named_recipe(recipe_name), settings)
    data = load(recipe.data.source)
    records: list[Record] = []
    for seed, loss in itertools.product(map(int, seeds.split(",")), losses):
        one = override(recipe, [*LOSSES[loss], f"seed={seed}"])
        for decision, metrics in _decisions(one, data, runs):
            records.append({"recipe": recipe_name, "loss": loss, "seed": seed, "decision": decision, **metrics})
        if json_file:
            json_file.write_text(json.dumps(records, indent=1) + "\n")
    click.echo(table(records))


def _decisions(recipe: Recipe, data: LabelledData, runs: Path) -> Iterator[tuple[str, Record]]:
    """Each way of reading label sets off one trained network, with its validation and test figures."""
    parts = train(recipe, data, runs).seen
    validation, test = (
        answer(parts.classifier, parts.validation, "validation"),
        answer(parts.classifier, parts.test, "test"),
    )
    yield "predicted count", _figures(measure(validation), measure(test))
    if recipe.loss.name == "as_softmax":
        yield "logit > 0", _at_thresholds(validation, test, 0.0, 0.0)
    if recipe.loss.name == "bce":
        tuned = best_threshold(validation.logits_NC, validation.targets_NC)
        yield "threshold tuned on validation", _at_thresholds(validation, test, tuned, tuned)
        oracle = best_threshold(test.logits_NC, test.targets_NC)
        yield "threshold tuned on test (oracle)", _at_thresholds(validation, test, tuned, oracle)


def _at_thresholds(validation: Answers, test: Answers, on_validation: float, on_test: float) -> Record:
    return _figures(
        label_set_metrics(validation.logits_NC > on_validation, validation.targets_NC),
        label_set_metrics(test.logits_NC > on_test, test.targets_NC),
    )


def _figures(validation: dict[str, float], test: dict[str, float]) -> Record:
    return {"validation_example_f1": validation["example_f1"], **{f"test_{name}": v for name, v in test.items()}}


def table(records: list[Record]) -> str:
    """Markdown: mean and standard deviation over the seeds, best on validation first."""
    columns = ["validation_example_f1", "test_example_f1", "test_micro_f1", "test_macro_f1"]
    lines = []
    for loss, decision in dict.fromkeys((record["loss"], record["decision"]) for record in records):
        rows = [record for record in records if (record["loss"], record["decision"]) == (loss, decision)]
        values = {column: np.array([row[column] for row in rows]) for column in columns}
        cells = [f"{value.mean():.4f} ± {value.std():.4f}" for value in values.values()]
        lines.append((values[columns[0]].mean(), f"| {loss} | {decision} | {' | '.join(cells)} |"))
    header = "| loss | decision | validation example-F1 | test example-F1 | test micro-F1 | test macro-F1 |"
    return "\n".join([header, "|" + "---|" * 6, *(line for _, line in sorted(lines, reverse=True))])


if __name__ == "__main__":
    main()
