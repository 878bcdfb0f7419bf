"""The report of a run: one page that holds all its pictures, and the same pictures as files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.config import Recipe
from training.data.dataset import LabelledData
from training.evaluate import Answers
from training.metrics import METRIC_TITLES
from training.overrides import flat_settings
from training.record import Result, Row
from training.report.curves import run_charts
from training.report.drawing import Chart, drawn
from training.report.hardest import hardest_samples
from training.report.heat_maps import co_occurrence_chart, co_occurrence_difference_chart, confusion_chart
from training.report.html import render
from training.report.label_chart import label_chart
from training.report.sentences import hardest_sentences
from training.report.statistics import (
    LabelQuality,
    class_confusion,
    co_occurrence,
    count_confusion,
    label_quality,
    most_frequent,
)
from training.report.units import duration, megabytes

PAGE = "report.html"
PICTURES = "report"
# Rows of a heat map that can still be told apart.
MOST_LABELS = 30
MOST_COUNTS = 10


def write_report(
    folder: Path, recipe: Recipe, data: LabelledData, answers: Answers, history: Sequence[Row], result: Result
) -> Path:
    """Write `report.html` and `report/*.png` into the folder of a run.

    Args:
        folder: Of the run.
        recipe: What was trained.
        data: On what.
        answers: Of the network on the test split, in its order.
        history: A row for each validation.
        result: The metrics.

    Returns:
        The page.
    """
    qualities = label_quality(answers.probabilities_NC != 0, answers.targets_NC, data.labels)
    of_words = data.task == "token_classification"
    curves = drawn(run_charts(history))
    of_answers = drawn(answer_charts(data, answers, qualities))
    pictures = folder / PICTURES
    pictures.mkdir(exist_ok=True)
    for figure in [*curves, *of_answers]:
        (pictures / f"{figure.chart.name}.png").write_bytes(figure.light)
    page = folder / PAGE
    page.write_text(
        render(
            "report.html.j2",
            title=recipe.name,
            recipe=recipe,
            data=data,
            result=result,
            metrics=metric_rows(result),
            costs=cost_rows(history, result),
            curves=curves,
            charts=of_answers,
            qualities=qualities,
            samples=[] if of_words else hardest_samples(answers, data.test, data.labels),
            sentences=hardest_sentences(answers, data.test, data.labels) if of_words else [],
            settings=flat_settings(recipe.model_dump(mode="json")),
        )
    )
    return page


def answer_charts(data: LabelledData, answers: Answers, qualities: Sequence[LabelQuality]) -> list[Chart]:
    """The figures of the answers, as they fit the task."""
    predicted_NC, target_NC = answers.probabilities_NC != 0, answers.targets_NC
    shown = most_frequent(target_NC, MOST_LABELS)
    names = [data.labels[index] for index in shown]
    charts = [label_chart(qualities)]
    if data.task != "multi_label":
        what = "class" if data.task == "multi_class" else "tag"
        note = f"Rows are the truth; the colour is the share of a row. {_of_many(names, data.labels)}"
        confusion = class_confusion(predicted_NC, target_NC, shown)
        return [*charts, confusion_chart("classes", f"Which {what} is taken for which", note, confusion, names, what)]
    confusion = count_confusion(predicted_NC, target_NC, MOST_COUNTS)
    counts = [f"{count}+" if count == MOST_COUNTS else str(count) for count in range(len(confusion))]
    note = "Test examples by their true and predicted number of labels; the colour is the share of a row."
    charts.append(confusion_chart("counts", "Number of labels", note, confusion, counts, "number of labels"))
    together = co_occurrence(target_NC, shown)
    if np.any(together):
        difference = co_occurrence(predicted_NC, shown) - together
        charts += [co_occurrence_chart(together, names), co_occurrence_difference_chart(difference, names)]
    return charts


def metric_rows(result: Result) -> list[tuple[str, float | None, float | None]]:
    """Title, validation figure, test figure."""
    names = [name for name in METRIC_TITLES if name in result.test or name in result.validation]
    return [(METRIC_TITLES[name], result.validation.get(name), result.test.get(name)) for name in names]


def cost_rows(history: Sequence[Row], result: Result) -> list[tuple[str, str]]:
    """What the run took: time, memory, size."""
    last = history[-1]
    rows = [
        ("training", duration(last["seconds"])),
        ("epochs", f"{last['epoch']:g}"),
        ("steps", str(last["step"])),
        ("peak memory", megabytes(max(row["peak_memory_bytes"] for row in history))),
    ]
    if result.bundle_bytes:
        rows.append(("bundle", megabytes(result.bundle_bytes)))
    return rows


def _of_many(names: Sequence[Any], labels: Sequence[str]) -> str:
    return f"The {len(names)} most frequent of {len(labels)}." if len(names) < len(labels) else ""
