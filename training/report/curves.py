"""Curves over the validations of one run, or of several."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from training.report.drawing import Chart, Theme

History = Sequence[Mapping[str, Any]]


class Curve(NamedTuple):
    """A figure of each validation; `at` says when that was, in epochs or in seconds of training."""

    title: str
    at: list[float]
    values: list[float]


# What is drawn of validation, by its key in the history; a task has some of them.
QUALITY = {
    "validation_example_f1": "example-F1",
    "validation_accuracy": "accuracy",
    "validation_macro_f1": "macro-F1",
    "validation_mean_average_precision": "mAP",
    "validation_count_accuracy": "label count right",
}


def curve(history: History, key: str, title: str, over: str = "epoch") -> Curve:
    """One figure of the history."""
    rows = [row for row in history if key in row]
    return Curve(title, [row[over] for row in rows], [row[key] for row in rows])


def seconds_between(history: History) -> Curve:
    """Seconds of training from one validation to the next."""
    until = [0.0, *(row["seconds"] for row in history)]
    return Curve("seconds", [row["epoch"] for row in history], np.diff(until).tolist())


def run_charts(history: History) -> list[Chart]:
    """The curves of one run."""
    quality = [curve(history, key, title) for key, title in QUALITY.items()]
    charts = [
        _chart("loss", "Training loss", "Mean since the last validation.", [curve(history, "train_loss", "loss")]),
        _chart("quality", "Validation", "The weights with the best example-F1 are kept.", quality),
        _chart("learning_rate", "Learning rate", "At each validation.", [curve(history, "learning_rate", "rate")]),
        _chart("seconds", "Time", "Seconds of training from one validation to the next.", [seconds_between(history)]),
    ]
    active = curve(history, "active_share", "active share")
    if min(active.values) < 1:
        note = "Share of the training samples that had a loss, and so a backward pass."
        charts.append(_chart("active_share", "Samples still active", note, [active]))
    return charts


def compared_charts(histories: Mapping[str, History]) -> list[Chart]:
    """The same curve of several runs in one figure; runs that have not come to a validation are left out."""
    started = {name: history for name, history in histories.items() if history}
    if not started:
        return []

    def of_all(key: str, over: str = "epoch") -> list[Curve]:
        return [curve(history, key, name, over) for name, history in started.items()]

    charts = [_chart("loss", "Training loss", "", of_all("train_loss"), is_tall=True)]
    for key, title in QUALITY.items():
        if any(key in row for history in started.values() for row in history):
            charts.append(_chart(key, f"Validation {title}", "", of_all(key), is_tall=True))
    by_time = of_all("validation_example_f1", over="seconds")
    title = "Validation example-F1 over time"
    return [*charts, _chart("time_to_f1", title, "", by_time, over="seconds of training", is_tall=True)]


def _chart(
    name: str, title: str, note: str, curves: Iterable[Curve], over: str = "epoch", is_tall: bool = False
) -> Chart:
    drawn = [one for one in curves if one.at]
    # Runs have long names: their legend is a column, and the figure has room for it.
    columns, height = (1, 3.0 + 0.2 * len(drawn)) if is_tall else (2, 3.1)
    return Chart(name, title, note, functools.partial(_draw, curves=drawn, over=over, columns=columns), height=height)


def _draw(axes: Axes, theme: Theme, curves: Sequence[Curve], over: str, columns: int) -> None:
    for index, (title, at, values) in enumerate(curves):
        colour = theme.series[index % len(theme.series)]
        dashes = ("-", "--", ":")[index // len(theme.series) % 3]
        axes.plot(at, values, dashes, color=colour, marker="o", markersize=3.5, linewidth=1.8, label=title)
    axes.set_xlabel(over)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y")
    everything = np.concatenate([one.values for one in curves])
    # From zero, so that a small change looks small, unless that leaves most of the figure empty.
    if 0 <= everything.min() < 0.9 * everything.max():
        axes.set_ylim(bottom=0)
    if len(curves) > 1:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=columns, columnspacing=1.2, handlelength=1.6)
