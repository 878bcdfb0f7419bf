"""Heat maps: who is taken for what, and what occurs with what."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from training.report.drawing import Chart, Theme, short
from training.report.statistics import Floats, Integers

# Above so many rows the numbers in the cells would overlap.
MOST_NUMBERED = 12


def confusion_chart(name: str, title: str, note: str, confusion: Integers, names: Sequence[str], what: str) -> Chart:
    """Rows are the truth, columns the prediction; colours are shares of a row, numbers are examples."""

    def paint(axes: Axes, theme: Theme) -> None:
        share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
        axes.imshow(share, cmap=theme.amounts, vmin=0, vmax=1, aspect="auto")
        _name_both_axes(axes, names)
        axes.set_xlabel(f"predicted {what}")
        axes.set_ylabel(f"true {what}")
        if len(confusion) <= MOST_NUMBERED:
            for (row, column), number in np.ndenumerate(confusion):
                colour = theme.card if share[row, column] > 0.6 else theme.ink if number else theme.muted
                axes.text(column, row, f"{number}", ha="center", va="center", color=colour, fontsize=9)

    width, height = _size(len(confusion))
    return Chart(name, title, note, paint, width=width, height=height)


def co_occurrence_chart(share: Floats, names: Sequence[str]) -> Chart:
    """How often labels stand together in truth."""

    def paint(axes: Axes, theme: Theme) -> None:
        _square(axes, names, share, theme.amounts, 0, max(share.max(initial=0), 0.01))

    width, height = _size(len(names))
    note = "Of the examples with the label of the row, the share that also carries the label of the column."
    return Chart("co_occurrence", "Labels together, in truth", note, paint, width=width, height=height)


def co_occurrence_difference_chart(difference: Floats, names: Sequence[str]) -> Chart:
    """How much more or less often they stand together in the predictions."""

    def paint(axes: Axes, theme: Theme) -> None:
        furthest = max(np.abs(difference).max(initial=0), 0.01)
        _square(axes, names, difference, theme.differences, -furthest, furthest)

    width, height = _size(len(names))
    note = "The same share among the predictions, less that in truth. Green: too often together; red: too rarely."
    return Chart("co_occurrence_difference", "Labels together, predicted less true", note, paint, width, height)


def _square(axes: Axes, names: Sequence[str], values: Floats, colours: object, lowest: float, highest: float) -> None:
    picture = axes.imshow(values, cmap=colours, vmin=lowest, vmax=highest, aspect="auto")  # type: ignore[arg-type]
    _name_both_axes(axes, names)
    assert axes.figure is not None
    bar = axes.figure.colorbar(picture, ax=axes, shrink=0.7, pad=0.02)
    bar.outline.set_visible(False)  # type: ignore[operator]


def _name_both_axes(axes: Axes, names: Sequence[str]) -> None:
    positions, shown = range(len(names)), [short(name) for name in names]
    size = 10 if len(names) <= MOST_NUMBERED else 9 if len(names) <= 20 else 8
    is_words = max(map(len, shown), default=0) > 3
    axes.set_xticks(positions, shown, rotation=90 if is_words else 0, fontsize=size)
    axes.set_yticks(positions, shown, fontsize=size)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _size(rows: int) -> tuple[float, float]:
    """Width and height in inches."""
    return max(4.8, 0.21 * rows + 2.4), max(3.4, 0.19 * rows + 2.0)
