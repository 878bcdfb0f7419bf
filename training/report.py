"""What one reads when a run is over."""

from collections.abc import Sequence
from dataclasses import dataclass

from training.export import Exported
from training.metrics import METRIC_TITLES


@dataclass(frozen=True)
class Finished:
    """A run that has become a bundle."""

    exported: Exported
    seconds: float


def table(runs: Sequence[Finished]) -> str:
    """One line a run: test metrics, size and time."""
    header = ["model", *METRIC_TITLES.values(), "size", "time"]
    lines = [header, *([_name(run), *_figures(run)] for run in runs)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    rows = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    return "\n".join([rows[0], "-" * len(rows[0]), *rows[1:]])


def _name(run: Finished) -> str:
    return run.exported.bundle.manifest.name


def _figures(run: Finished) -> list[str]:
    size_bytes = sum(path.stat().st_size for path in run.exported.bundle.path.iterdir())
    minutes, seconds = divmod(round(run.seconds), 60)
    metrics = [f"{run.exported.metrics[name]:.4f}" for name in METRIC_TITLES]
    return [*metrics, f"{size_bytes / 1e6:.1f} MB", f"{minutes}:{seconds:02d}"]
