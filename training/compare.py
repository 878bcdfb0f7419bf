"""Runs and bundles side by side: the settings in which they differ, their metrics, time and size."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.bundle import MANIFEST, Bundle
from training.data.dataset import DataError
from training.metrics import METRIC_TITLES
from training.overrides import flat_settings
from training.record import RECIPE, Row, folder_bytes, read_history, read_result
from training.report.curves import compared_charts
from training.report.drawing import drawn
from training.report.html import render
from training.report.terminal import aligned
from training.report.units import duration, megabytes


@dataclass(frozen=True)
class Side:
    """What is known of one run or bundle.

    Attributes:
        name: Tells it from the others.
        settings: Of its recipe, by their dotted keys.
        metrics: On its test split; none where the run is not over.
        history: A row a validation; none of a bundle.
        size_bytes: Of the bundle; None where there is none.
    """

    name: str
    settings: dict[str, Any]
    metrics: dict[str, float]
    history: list[Row]
    size_bytes: int | None


@dataclass(frozen=True)
class Line:
    """One line of the comparison: a cell for each side, and which of them are the best where a best exists."""

    title: str
    cells: list[str]
    best: frozenset[int] = frozenset()


def read_sides(folders: Sequence[Path]) -> list[Side]:
    """Open what is to be compared.

    Raises:
        DataError: a folder is neither a run nor a bundle.
    """
    return [_read(folder, name) for folder, name in zip(folders, short_names(folders), strict=True)]


def short_names(folders: Sequence[Path]) -> list[str]:
    """As few of the last parts of each path as tell all of them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for kept in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(one[-kept:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def comparison(sides: Sequence[Side]) -> list[Line]:
    """The lines of the table: settings that differ, then metrics, then time and size."""
    return [*_settings(sides), *_metrics(sides), *_costs(sides)]


def comparison_table(sides: Sequence[Side]) -> str:
    """For the terminal; a star marks the best figure of a line."""
    rows = [[line.title, *(_starred(line, index) for index in range(len(sides)))] for line in comparison(sides)]
    # Each name with the room that a star takes below it.
    return aligned([["", *(f"{side.name} " for side in sides)], *rows])


def comparison_page(sides: Sequence[Side]) -> str:
    """The same as a page, with the curves of all runs."""
    charts = drawn(compared_charts({side.name: side.history for side in sides}))
    return render("compare.html.j2", title="Runs side by side", sides=sides, lines=comparison(sides), charts=charts)


def _starred(line: Line, index: int) -> str:
    return line.cells[index] + ("*" if index in line.best else " ")


def _read(folder: Path, name: str) -> Side:
    if (folder / MANIFEST).is_file():
        manifest = Bundle.open(folder).manifest
        # Not as a `Recipe`: that of an older or a newer version has other settings, and is worth comparing.
        settings = flat_settings(json.loads(manifest.provenance.recipe))
        return Side(name, settings, manifest.metrics, [], folder_bytes(folder))
    if (folder / RECIPE).is_file():
        settings = flat_settings(json.loads((folder / RECIPE).read_text()))
        result = read_result(folder)
        metrics, size = (result.test, result.bundle_bytes) if result else ({}, None)
        return Side(name, settings, metrics, read_history(folder), size)
    raise DataError(f"a run's folder holds {RECIPE} and a bundle {MANIFEST}, got {folder} with neither")


def _settings(sides: Sequence[Side]) -> list[Line]:
    keys = dict.fromkeys(key for side in sides for key in side.settings)
    rows = {key: [json.dumps(side.settings[key]) if key in side.settings else "-" for side in sides] for key in keys}
    return [Line(key, [cell.strip('"') for cell in cells]) for key, cells in rows.items() if len(set(cells)) > 1]


def _metrics(sides: Sequence[Side]) -> list[Line]:
    validated = [_best_validation_f1(side) for side in sides]
    lines = [_figures("validation example-F1", validated)] if any(figure is not None for figure in validated) else []
    for name, title in METRIC_TITLES.items():
        figures = [side.metrics.get(name) for side in sides]
        if any(figure is not None for figure in figures):
            lines.append(_figures(f"test {title}", figures))
    return lines


def _best_validation_f1(side: Side) -> float | None:
    return max((row["validation_example_f1"] for row in side.history), default=None)


def _figures(title: str, figures: Sequence[float | None]) -> Line:
    cells = ["-" if figure is None else f"{figure:.4f}" for figure in figures]
    highest = f"{max(figure for figure in figures if figure is not None):.4f}"
    return Line(title, cells, frozenset(index for index, cell in enumerate(cells) if cell == highest))


def _costs(sides: Sequence[Side]) -> list[Line]:
    last = [side.history[-1] if side.history else None for side in sides]
    peaks = [max((row["peak_memory_bytes"] for row in side.history), default=None) for side in sides]
    lines = [
        Line("epochs", ["-" if row is None else f"{row['epoch']:g}" for row in last]),
        Line("training time", ["-" if row is None else duration(row["seconds"]) for row in last]),
        Line("peak memory", ["-" if peak is None else megabytes(peak) for peak in peaks]),
        Line("bundle", ["-" if side.size_bytes is None else megabytes(side.size_bytes) for side in sides]),
    ]
    return [line for line in lines if set(line.cells) != {"-"}]
