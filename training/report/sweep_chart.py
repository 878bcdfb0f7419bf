"""The combinations of a sweep beside each other, on validation and on test."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from training.report.drawing import Chart, Theme
from training.report.statistics import Spread


def sweep_chart(rows: Sequence[tuple[str, Spread, Spread]]) -> Chart:
    """A line for each combination: its name, validation and test example-F1, with the deviation of the seeds."""

    def paint(axes: Axes, theme: Theme) -> None:
        for series, title, offset in ((0, "validation", -0.12), (1, "test", 0.12)):
            spreads = [row[1 + series] for row in rows]
            axes.errorbar(
                [spread.mean for spread in spreads],
                [position + offset for position in range(len(rows))],
                xerr=[spread.deviation for spread in spreads],
                fmt="o",
                color=theme.series[series],
                capsize=3,
                label=title,
            )
        axes.set_yticks(range(len(rows)), ["\n".join(name.split(" ")) for name, _, _ in rows], fontsize=9)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        axes.set_xlabel("example-F1")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)

    lines = max(1, max(name.count(" ") + 1 for name, _, _ in rows))
    note = "Mean and standard deviation over the seeds, the best on validation first."
    return Chart("sweep", "Example-F1", note, paint, width=5.6, height=1.2 + len(rows) * (0.2 + 0.18 * lines))
