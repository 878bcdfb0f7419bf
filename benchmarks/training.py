"""Speed of training: time to the same validation F1, with masked samples skipped and without; time of a step.

    python -m benchmarks.training --recipe wordnet --recipe debtags --json runs/training.json

Every contestant trains the same network on the same data with the same schedule; only the loss and what is skipped
differ. The target of a seed is the best validation example-F1 of softmax or ZLPR there, whichever is better, and a part
of it. Time is that of the processors, without validation, so that a busy machine changes little.
"""

import dataclasses
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from training.config import Recipe
from training.data.dataset import Example, LabelledData
from training.data.registry import load
from training.overrides import named_recipe, override
from training.record import LOG
from training.train_and_export import run_folder, train

_MASKING = ["loss.name=as_softmax", "loss.delta={delta}", "loss.delta_warm_up=0"]
CONTESTANTS = {
    "softmax": ["loss.name=softmax"],
    "ZLPR": ["loss.name=zlpr"],
    "AS-Softmax": _MASKING,
    "AS-Softmax, AS-Speed": [*_MASKING, "speed.adaptive_accumulation=1.0"],
    "AS-Softmax, skipping": [*_MASKING, "speed.skip_masked=true"],
    "AS-Softmax, skipping and resting": [*_MASKING, "speed.skip_masked=true", "speed.rest_epochs={rest}"],
}
BASELINES = ("softmax", "ZLPR")
# Parts of the baselines' best F1 that the others have to reach.
TARGETS = (0.99, 1.0)
Record = dict[str, Any]


@click.command()
@click.option("--recipe", "recipe_names", multiple=True, required=True)
@click.option("--contestant", "chosen", multiple=True, default=tuple(CONTESTANTS), type=click.Choice(list(CONTESTANTS)))
@click.option("--seeds", default="0,1,2", show_default=True)
@click.option("--delta", default=0.1, show_default=True)
@click.option("--validations", default=4, show_default=True, help="Of an epoch: how finely time is told.")
@click.option("--rest", default=1, show_default=True, help="rest_epochs of the contestant that rests.")
@click.option(
    "--validation-examples", default=1500, show_default=True, help="At most; time spent there is not counted."
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(
    recipe_names: tuple[str, ...],
    chosen: tuple[str, ...],
    seeds: str,
    delta: float,
    validations: int,
    rest: int,
    validation_examples: int,
    settings: tuple[str, ...],
    runs: Path,
    json_file: Path | None,
) -> None:
    """Train every contestant, then print how long each took."""
    if not set(chosen) & set(BASELINES):
        message = f"must hold one of {', '.join(BASELINES)}, which set the target"
        raise click.BadParameter(message, param_hint="--contestant")
    records: list[Record] = []
    for name in recipe_names:
        every = [f"schedule.validations_per_epoch={validations}", "schedule.patience=999", *settings]
        recipe = override(named_recipe(name), every)
        data = load(recipe.data.source)
        data = dataclasses.replace(data, validation=_some(data.validation, validation_examples), test=data.test[:100])
        for seed in map(int, seeds.split(",")):
            for contestant in chosen:
                own = [setting.format(delta=delta, rest=rest) for setting in CONTESTANTS[contestant]]
                one = override(recipe, [*own, f"seed={seed}"])
                history = _history(one, data, runs)
                records.append({"recipe": name, "contestant": contestant, "seed": seed, "history": history})
                if json_file:
                    json_file.write_text(json.dumps(records, indent=1) + "\n")
        click.echo(table(name, [record for record in records if record["recipe"] == name]))


def _some(examples: Sequence[Example], count: int) -> Sequence[Example]:
    return examples if len(examples) <= count else random.Random(0).sample(examples, count)


def _history(recipe: Recipe, data: LabelledData, runs: Path) -> list[Record]:
    """What a run logged; it is trained where it has not been yet."""
    log = run_folder(recipe, data, runs) / LOG
    train(recipe, data, runs)
    return [json.loads(line) for line in log.read_text().splitlines()]


def time_to(history: list[Record], f1: float) -> float:
    """Seconds of processor time until the validation F1 was reached; infinite where it never was."""
    reached = [row["cpu_seconds"] for row in history if row["validation_example_f1"] >= f1]
    return min(reached, default=math.inf)


def table(recipe: str, records: list[Record]) -> str:
    """Markdown: for each contestant its best F1, its whole time, and how much faster it reached each target."""
    best = {
        seed: max(_best(r["history"]) for r in records if r["seed"] == seed and r["contestant"] in BASELINES)
        for seed in {record["seed"] for record in records}
    }
    header = ["contestant", "best F1", "seconds", *(f"times faster to {target:.0%}" for target in TARGETS), "active"]
    lines = [f"\n{recipe}\n", f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    for contestant in dict.fromkeys(record["contestant"] for record in records):
        own = [record for record in records if record["contestant"] == contestant]
        cells = [_spread([_best(r["history"]) for r in own], ".4f")]
        cells.append(_spread([r["history"][-1]["cpu_seconds"] for r in own], ".0f"))
        for target in TARGETS:
            ratios = []
            for record in own:
                f1 = target * best[record["seed"]]
                rivals = [r for r in records if r["seed"] == record["seed"] and r["contestant"] in BASELINES]
                ratios.append(min(time_to(r["history"], f1) for r in rivals) / time_to(record["history"], f1))
            cells.append(_spread(ratios, ".2f"))
        cells.append(_spread([r["history"][-1]["active_share"] for r in own], ".0%"))
        lines.append(f"| {contestant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _best(history: list[Record]) -> float:
    return max(row["validation_example_f1"] for row in history)


def _spread(values: list[float], form: str) -> str:
    return f"{np.mean(values):{form}} ({min(values):{form}} to {max(values):{form}})"


if __name__ == "__main__":
    main()
