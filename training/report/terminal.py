"""The table on the terminal when runs are over."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.export import Exported
from training.metrics import METRIC_TITLES
from training.record import folder_bytes
from training.report.units import duration, megabytes


@dataclass(frozen=True)
class Finished:
    """A run that has become a bundle, and the page about it."""

    exported: Exported
    report: Path
    seconds: float


def table(runs: Sequence[Finished]) -> str:
    """One line a run: test metrics, size and time; each task has metrics of its own."""
    names = [name for name in METRIC_TITLES if any(name in run.exported.metrics for run in runs)]
    header = ["model", *(METRIC_TITLES[name] for name in names), "size", "time"]
    return aligned([header, *([_name(run), *_figures(run, names)] for run in runs)])


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Cells in columns, each as wide as its widest, names on the left; a rule under the first line."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = [
        "  ".join(f"{cell:{'>' if column else '<'}{widths[column]}}" for column, cell in enumerate(line)).rstrip()
        for line in lines
    ]
    return "\n".join([rows[0], "-" * (sum(widths) + 2 * (len(widths) - 1)), *rows[1:]])


def _name(run: Finished) -> str:
    return run.exported.bundle.manifest.name


def _figures(run: Finished, names: Sequence[str]) -> list[str]:
    known = run.exported.metrics
    metrics = [f"{known[name]:.4f}" if name in known else "-" for name in names]
    return [*metrics, megabytes(folder_bytes(run.exported.bundle.path)), duration(run.seconds)]
