"""The numbers behind the figures of a report. Nothing here draws.

Shape suffixes: N examples, C labels, K counts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from training.evaluate import Answers

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Multihot = npt.NDArray[np.bool_]


class LabelQuality(NamedTuple):
    """How well one label is found: `frequency` examples carry it, `predicted` are said to."""

    label: str
    frequency: int
    predicted: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of a figure over several runs."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """That of some figures; the deviation is that of these very figures, not an estimate for others."""
        figures = np.array(list(values))
        return cls(float(figures.mean()), float(figures.std()))

    def __str__(self) -> str:
        return f"{self.mean:.4f} ± {self.deviation:.4f}"


def label_quality(predicted_NC: Multihot, target_NC: Multihot, labels: Sequence[str]) -> list[LabelQuality]:
    """Precision, recall and F1 of each label, the most frequent label first; 0 where nothing is there to divide by."""
    both_C = (predicted_NC & target_NC).sum(axis=0)
    frequency_C, predicted_C = target_NC.sum(axis=0), predicted_NC.sum(axis=0)
    return [
        LabelQuality(
            labels[index],
            int(frequency_C[index]),
            int(predicted_C[index]),
            precision=_share(both_C[index], predicted_C[index]),
            recall=_share(both_C[index], frequency_C[index]),
            f1=_share(2 * both_C[index], predicted_C[index] + frequency_C[index]),
        )
        for index in most_frequent(target_NC, len(labels))
    ]


def most_frequent(target_NC: Multihot, limit: int) -> list[int]:
    """Positions of the labels that most examples carry, in falling order; equals in the order of the label space."""
    order: list[int] = np.argsort(-target_NC.sum(axis=0), kind="stable")[:limit].tolist()
    return order


def count_confusion(predicted_NC: Multihot, target_NC: Multihot, limit: int) -> Integers:
    """How many examples have i labels (row) and are given j (column); the last row and column are `limit` and more."""
    true_N, said_N = (np.minimum(sets.sum(axis=1), limit) for sets in (target_NC, predicted_NC))
    size = max(true_N.max(initial=0), said_N.max(initial=0)) + 1
    confusion = np.zeros((size, size), dtype=np.int64)
    np.add.at(confusion, (true_N, said_N), 1)
    return confusion


def class_confusion(predicted_NC: Multihot, target_NC: Multihot, classes: Sequence[int]) -> Integers:
    """How many examples are of class i (row) and are taken for j (column), among `classes`."""
    return target_NC[:, classes].T.astype(np.int64) @ predicted_NC[:, classes].astype(np.int64)


def co_occurrence(sets_NC: Multihot, classes: Sequence[int]) -> Floats:
    """Share of the examples with label i (row) that also carry j (column); 0 in the diagonal, and where i is absent."""
    chosen_NC = sets_NC[:, classes].astype(np.int64)
    together = chosen_NC.T @ chosen_NC
    share: Floats = together / np.maximum(np.diag(together), 1)[:, None]
    np.fill_diagonal(share, 0)
    return share


def example_f1(predicted_NC: Multihot, target_NC: Multihot) -> Floats:
    """F1 of every example, 1 where both sets are empty."""
    size_N = predicted_NC.sum(axis=1) + target_NC.sum(axis=1)
    f1_N: Floats = np.where(size_N > 0, 2 * (predicted_NC & target_NC).sum(axis=1) / np.maximum(size_N, 1), 1.0)
    return f1_N


def difficulty(answers: Answers) -> Floats:
    """How little the model believed in the truth: cross-entropy of the labels, less its lowest, and of their count.

    The same measure whatever loss the model was trained with, so that reports can be compared. 0 is perfect.
    """
    target_NC = answers.targets_NC
    count_N = target_NC.sum(axis=1)
    log_probability_NC = _log_softmax(answers.logits_NC)
    # Lowest where the labels of an example share everything equally: log of their number.
    of_labels_N: Floats = np.where(target_NC, -log_probability_NC, 0).sum(axis=1) / np.maximum(count_N, 1)
    of_labels_N -= np.log(np.maximum(count_N, 1))
    if not answers.count_logits_NK.shape[1]:  # a head of one label an input counts nothing
        return of_labels_N
    log_count_NK = _log_softmax(answers.count_logits_NK)
    # More labels than the count head can say: its largest count is as close as it can come.
    sayable_N = np.minimum(count_N, log_count_NK.shape[1] - 1)
    loss_N: Floats = of_labels_N - log_count_NK[np.arange(len(count_N)), sayable_N]
    return loss_N


def _log_softmax(logits: npt.NDArray[np.floating]) -> Floats:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_probability: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return log_probability


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else 0.0
