"""Which test examples become a bundle's golden examples: those whose answer no rounding can change."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from training.data.dataset import Example
from training.evaluate import Answers

GOLDEN_COUNT = 5
# Larger files would make the bundle large; two seconds of 16-bit stereo have 350 kB.
MAX_GOLDEN_BYTES = {"image": 64 * 1024, "audio": 512 * 1024}
# In logits; sums taken in another order on another processor differ by about 1e-5.
MIN_MARGIN = 1e-2


def decision_margin(answers: Answers) -> npt.NDArray[np.float32]:
    """How far each example is from another label set: `[N]`, in logits.

    The smaller of two gaps: between the two best label counts, and between the last label in and the first one out.
    """
    best_N2 = np.sort(answers.count_logits_NK, axis=1)[:, -2:]
    count_gap_N = best_N2[:, -1] - best_N2[:, 0] if answers.count_logits_NK.shape[1] > 1 else np.inf
    present_NC = answers.probabilities_NC != 0
    weakest_in_N = np.where(present_NC, answers.logits_NC, np.inf).min(axis=1)
    strongest_out_N = np.where(present_NC, -np.inf, answers.logits_NC).max(axis=1)
    return np.minimum(count_gap_N, weakest_in_N - strongest_out_N).astype(np.float32)


def choose_golden(answers: Answers, examples: Sequence[Example]) -> list[int]:
    """Positions of up to `GOLDEN_COUNT` right answers with a wide margin and different label sets.

    An answer within `MIN_MARGIN` of another label set is never taken. Where the model is right too rarely, wide margins
    of wrong answers fill up: a golden example says what the model answers, not what is true.
    """
    found = _by_example(answers, examples)
    order = np.lexsort((-found.margin_E, ~found.several_E, ~found.right_E))
    chosen: dict[bytes, int] = {}
    for index in map(int, order[found.margin_E[order] >= MIN_MARGIN]):
        if _fits(examples[index]):
            chosen.setdefault(found.present_EC[index].tobytes(), index)
        if len(chosen) == GOLDEN_COUNT:
            break
    return list(chosen.values())


class _Found(NamedTuple):
    """Of E examples: the labels given, whether all are right, whether there is more than one true, and the margin."""

    present_EC: npt.NDArray[np.bool_]
    right_E: npt.NDArray[np.bool_]
    several_E: npt.NDArray[np.bool_]
    margin_E: npt.NDArray[np.float32]


def _by_example(answers: Answers, examples: Sequence[Example]) -> _Found:
    """Put the words of a sentence together; any other example has one row of answers."""
    count, class_count = len(examples), answers.targets_NC.shape[1]
    example_N = np.arange(len(answers.targets_NC)) if answers.example_N is None else answers.example_N
    present_NC = answers.probabilities_NC != 0
    present_EC, true_EC = np.zeros((2, count, class_count), np.bool_)
    np.logical_or.at(present_EC, example_N, present_NC)
    np.logical_or.at(true_EC, example_N, answers.targets_NC)
    right_E = np.ones(count, np.bool_)
    np.logical_and.at(right_E, example_N, (present_NC == answers.targets_NC).all(axis=1))
    margin_E = np.full(count, np.inf, np.float32)
    np.minimum.at(margin_E, example_N, decision_margin(answers))
    # Of a word without a label nothing is known here, and so nothing of its sentence.
    expected_rows = [1 if example.words is None else len(example.words) for example in examples]
    margin_E[np.bincount(example_N, minlength=count) != expected_rows] = -np.inf
    return _Found(present_EC, right_E, true_EC.sum(axis=1) > 1, margin_E)


def _fits(example: Example) -> bool:
    return example.file is None or example.file.stat().st_size <= MAX_GOLDEN_BYTES[example.modality]
