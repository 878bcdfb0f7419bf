"""Precision and recall of the labels, most frequent first."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from training.report.drawing import Chart, Theme, short
from training.report.statistics import LabelQuality

# As many as one can read in a figure; the table below it has all.
MOST_SHOWN = 40


def shown(qualities: Sequence[LabelQuality]) -> list[LabelQuality]:
    """Those that the figure has room for: of many, the most frequent, and the least frequent that occur at all."""
    occurring = [quality for quality in qualities if quality.frequency]
    if len(occurring) <= MOST_SHOWN:
        return occurring
    return occurring[: MOST_SHOWN // 2] + occurring[-MOST_SHOWN // 2 :]


def label_chart(qualities: Sequence[LabelQuality]) -> Chart:
    """Two dots a label, for precision and recall, joined by a line."""
    rows = shown(qualities)

    def paint(axes: Axes, theme: Theme) -> None:
        positions = range(len(rows))
        precision, recall = [row.precision for row in rows], [row.recall for row in rows]
        axes.hlines(positions, 0, 1, color=theme.line, linewidth=0.8)
        axes.hlines(positions, precision, recall, color=theme.muted, linewidth=1.6)
        # Precision over recall and larger: where both are equal, both are seen.
        axes.scatter(recall, positions, s=52, color=theme.series[1], label="recall", zorder=3)
        axes.scatter(precision, positions, s=20, color=theme.series[0], label="precision", zorder=4)
        axes.set_yticks(positions, [f"{short(row.label)}  {row.frequency}" for row in rows], fontsize=9)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(-0.03, 1.03)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)

    note = "Beside each label, the number of test examples that carry it."
    if len(rows) < len([quality for quality in qualities if quality.frequency]):
        note += (
            f" The {MOST_SHOWN // 2} most frequent and the {MOST_SHOWN // 2} least frequent labels; the table has all."
        )
    return Chart("labels", "Precision and recall of each label", note, paint, width=5.6, height=1.0 + 0.235 * len(rows))
