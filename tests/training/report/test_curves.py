import numpy as np
import pytest
from matplotlib.figure import Figure

from training.report.curves import Curve, compared_charts, curve, run_charts, seconds_between
from training.report.drawing import DARK, LIGHT


def row(epoch, seconds, f1, active=1.0, **more):
    return {
        "epoch": epoch,
        "step": round(10 * epoch),
        "train_loss": 2 - epoch / 2,
        "seconds": seconds,
        "learning_rate": 1e-3,
        "active_share": active,
        "peak_memory_bytes": 10**9,
        "validation_example_f1": f1,
        **more,
    }


HISTORY = [row(0.5, 4.0, 0.3), row(1.0, 7.0, 0.5, validation_accuracy=0.25)]


def drawn(chart, theme=LIGHT):
    """The curves as they stand in a figure: name -> points."""
    axes = Figure().subplots()
    chart.paint(axes, theme)
    return {line.get_label(): np.array(line.get_xydata()).tolist() for line in axes.lines}


def test_a_curve_has_the_rows_that_know_its_figure():
    assert curve(HISTORY, "validation_example_f1", "F1") == Curve("F1", [0.5, 1.0], [0.3, 0.5])
    assert curve(HISTORY, "validation_accuracy", "right") == Curve("right", [1.0], [0.25])
    assert curve(HISTORY, "train_loss", "loss", over="seconds").at == [4.0, 7.0]


def test_time_is_that_since_the_last_validation():
    assert seconds_between(HISTORY) == Curve("seconds", [0.5, 1.0], [4.0, 3.0])


def test_the_figures_draw_the_history():
    charts = {chart.name: chart for chart in run_charts(HISTORY)}
    assert drawn(charts["loss"])["loss"] == [[0.5, 1.75], [1.0, 1.5]]
    assert drawn(charts["quality"]) == {"example-F1": [[0.5, 0.3], [1.0, 0.5]], "accuracy": [[1.0, 0.25]]}
    assert drawn(charts["learning_rate"])["rate"] == [[0.5, 0.001], [1.0, 0.001]]
    assert drawn(charts["seconds"])["seconds"] == [[0.5, 4], [1.0, 3]]


def test_the_active_share_is_drawn_only_where_samples_were_masked():
    assert "active_share" not in {chart.name for chart in run_charts(HISTORY)}
    charts = {chart.name: chart for chart in run_charts([*HISTORY, row(1.5, 8, 0.6, active=0.25)])}
    assert drawn(charts["active_share"])["active share"] == [[0.5, 1], [1.0, 1], [1.5, 0.25]]


def test_compared_runs_share_a_figure_for_each_curve_and_one_over_time():
    charts = {chart.name: chart for chart in compared_charts({"a": HISTORY, "b": [row(1, 3, 0.4)], "begun": []})}
    assert drawn(charts["loss"]) == {"a": [[0.5, 1.75], [1.0, 1.5]], "b": [[1, 1.5]]}
    assert drawn(charts["time_to_f1"]) == {"a": [[4, 0.3], [7, 0.5]], "b": [[3, 0.4]]}
    assert "validation_mean_average_precision" not in charts
    assert compared_charts({"begun": []}) == []


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_the_curves_of_24_runs_differ_in_colour_or_dashes(theme):
    [loss, *_] = compared_charts({f"run {number}": HISTORY for number in range(24)})
    axes = Figure().subplots()
    loss.paint(axes, theme)
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == 24
