"""What a run folder says about itself: its recipe from the start, a row a validation, its result at the end."""

import json
import os
from pathlib import Path
from typing import Any

from model.manifest import Frozen
from training.config import Recipe
from training.data.dataset import LabelledData

LOG = "metrics.jsonl"
RECIPE = "recipe.json"
RESULT = "result.json"

Row = dict[str, Any]


class Result(Frozen):
    """How a run ended.

    Attributes:
        data: What the data set is called.
        licence: Of the data; empty where it is not known.
        examples: How many each split holds.
        labels: How many there are.
        validation: Metrics of the weights that were kept.
        test: Metrics of these weights.
        bundle: The folder that they were exported to.
        bundle_bytes: Its size.
    """

    data: str
    licence: str
    examples: dict[str, int]
    labels: int
    validation: dict[str, float]
    test: dict[str, float]
    bundle: str | None = None
    bundle_bytes: int | None = None


def write_recipe(folder: Path, recipe: Recipe) -> None:
    """Note what a run is about to do."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / RECIPE, recipe.model_dump_json(indent=1) + "\n")


def write_result(folder: Path, data: LabelledData, test: dict[str, float], bundle: Path | None = None) -> Result:
    """Note how a run ended; what it measured on validation is taken from its history."""
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    result = Result(
        data=data.name,
        licence=data.licence,
        examples={name: len(split) for name, split in splits.items()},
        labels=len(data.labels),
        validation=best_validation(read_history(folder)),
        test=test,
        bundle=str(bundle) if bundle else None,
        bundle_bytes=folder_bytes(bundle) if bundle else None,
    )
    _write(folder / RESULT, result.model_dump_json(indent=1) + "\n")
    return result


def read_result(folder: Path) -> Result | None:
    """How a run ended; None where it has not."""
    file = folder / RESULT
    return Result.model_validate_json(file.read_bytes()) if file.is_file() else None


def write_history(folder: Path, history: list[Row]) -> None:
    """Write one line a validation; whole or not at all, as a process may be killed in the midst of a line."""
    _write(folder / LOG, "".join(json.dumps(row) + "\n" for row in history))


def read_history(folder: Path) -> list[Row]:
    """One row a validation, in order; none where the run has not come to its first."""
    file = folder / LOG
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def best_validation(history: list[Row]) -> dict[str, float]:
    """The validation metrics of the weights that were kept: those of the first row with the best example-F1."""
    best = max(history, key=lambda row: row["validation_example_f1"], default={})
    prefix = "validation_"
    return {name.removeprefix(prefix): value for name, value in best.items() if name.startswith(prefix)}


def folder_bytes(folder: Path) -> int:
    """Size of the files of a bundle."""
    return sum(path.stat().st_size for path in folder.iterdir())


def _write(file: Path, text: str) -> None:
    # Renamed when it is whole: that the file is there says something. Several processes may write the same at once.
    unfinished = file.with_name(f".{file.name}.{os.getpid()}.part")
    unfinished.write_text(text)
    unfinished.rename(file)
