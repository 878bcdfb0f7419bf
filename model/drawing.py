"""Answers as a terminal shows them, and as JSON."""

from collections.abc import Sequence
from typing import Any

from model.labels import LabelSet, ScoredLabel
from model.predictor import Answer
from model.words import WordLabels

_BAR_WIDTH = 30


def draw(answer: Answer) -> str:
    """An answer as lines for a terminal."""
    return draw_words(answer) if isinstance(answer, WordLabels) else draw_labels(answer.labels)


def document(answer: Answer) -> dict[str, Any]:
    """An answer as JSON."""
    if isinstance(answer, WordLabels):
        words = [{**word._asdict(), "labels": _documents(label_set)} for word, label_set in answer.words]
        return {"words": words, "truncated": answer.truncated}
    return {
        "labels": _documents(answer),
        "label_count": answer.label_count,
        "sparsity_rate": answer.sparsity_rate,
    }


def draw_labels(labels: Sequence[ScoredLabel]) -> str:
    """A label set as lines for a terminal: name, probability and a bar."""
    if not labels:
        return "    (no label)"
    width = max(len(label) for label, _ in labels)
    return "\n".join(
        f"    {label:<{width}}  {probability:.3f}  {'█' * max(1, round(probability * _BAR_WIDTH))}"
        for label, probability in labels
    )


def draw_words(answer: WordLabels) -> str:
    """The words of a text as lines for a terminal, each with its labels and their probabilities."""
    width = max(len(word.text) for word, _ in answer.words)
    return "\n".join(f"    {word.text:<{width}}  {_drawn(label_set)}" for word, label_set in answer.words)


def _drawn(label_set: LabelSet | None) -> str:
    if label_set is None:
        return "(not read)"
    return "  ".join(f"{label} {probability:.3f}" for label, probability in label_set.labels) or "(no label)"


def _documents(label_set: LabelSet | None) -> list[dict[str, Any]]:
    return [scored._asdict() for scored in label_set.labels] if label_set else []
