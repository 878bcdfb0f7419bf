"""Which test examples become a bundle's golden examples: those whose answer no rounding can change."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.manifest import Arithmetic
from model.policies import expected_f1
from training.data.dataset import Example
from training.evaluate import Answers

GOLDEN_COUNT = 5
# Larger files would make the bundle large; two seconds of 16-bit stereo have 350 kB.
MAX_GOLDEN_BYTES = {"image": 64 * 1024, "audio": 512 * 1024}
# In logits; sums taken in another order on another processor differ by about 1e-5.
MIN_MARGIN = 1e-2
# Where the graph rounds as it goes, such a difference can become one of a whole step.
MIN_MARGINS: dict[Arithmetic, float] = {"float32": MIN_MARGIN, "float16": 0.1, "int8": 0.5}


def decision_margin(answers: Answers) -> npt.NDArray[np.float32]:
    """How far each example is from another label set: `[N]`, in logits.

    The smaller of two gaps: to another number of labels by the policy, and between the last label in and the first out.
    """
    present_NC = answers.probabilities_NC != 0
    weakest_in_N = np.where(present_NC, answers.logits_NC, np.inf).min(axis=1)
    strongest_out_N = np.where(present_NC, -np.inf, answers.logits_NC).max(axis=1)
    return np.minimum(_count_margin(answers), weakest_in_N - strongest_out_N).astype(np.float32)


def _count_margin(answers: Answers) -> npt.NDArray[np.floating] | float:
    match answers.policy:
        case "predicted_count":
            return _lead(answers.count_logits_NK)
        case "expected_f1":
            # F1 lies in [0, 1]: where no count logit moves by more than d, no difference of expectations does either.
            return _lead(expected_f1(answers.count_logits_NK))
        case "predicted_f1":
            assert answers.f1_logits_NK is not None
            # They move about as far as the logits that they are computed from: the fit gives small weights.
            return _lead(answers.f1_logits_NK)
        case "positive_logits":
            return np.abs(answers.logits_NC).min(axis=1)
        case "learned_threshold":
            assert answers.t_N is not None
            cut_N = answers.logits_NC.max(axis=1) - answers.t_N
            return np.abs(answers.logits_NC - cut_N[:, None]).min(axis=1)
        case "fixed_count" | "fixed_rate":
            return np.inf


def _lead(scores_NK: npt.NDArray[np.floating]) -> npt.NDArray[np.floating] | float:
    """How far the best score of each row is above the next."""
    if scores_NK.shape[1] < 2:
        return np.inf
    best_N2 = np.sort(scores_NK, axis=1)[:, -2:]
    return best_N2[:, 1] - best_N2[:, 0]


def choose_golden(answers: Answers, examples: Sequence[Example], min_margin: float = MIN_MARGIN) -> list[int]:
    """Positions of up to `GOLDEN_COUNT` right answers with a wide margin and different label sets.

    An answer within `min_margin` of another label set is never taken. Where the model is right too rarely, wide margins
    of wrong answers fill up: a golden example says what the model answers, not what is true.
    """
    example_N = np.arange(len(answers.targets_NC)) if answers.example_N is None else answers.example_N
    found = _by_example(answers, example_N, examples)
    order = np.lexsort((-found.margin_E, ~found.several_E, ~found.right_E))
    chosen: dict[bytes, int] = {}
    for index in map(int, order[found.margin_E[order] >= min_margin]):
        if _fits(examples[index]):
            chosen.setdefault((answers.probabilities_NC[example_N == index] != 0).tobytes(), index)
        if len(chosen) == GOLDEN_COUNT:
            break
    return list(chosen.values())


class _Found(NamedTuple):
    """Of E examples: whether all labels are right, whether there is more than one to find, and the margin."""

    right_E: npt.NDArray[np.bool_]
    several_E: npt.NDArray[np.bool_]
    margin_E: npt.NDArray[np.float32]


def _by_example(answers: Answers, example_N: npt.NDArray[np.int64], examples: Sequence[Example]) -> _Found:
    """Put the words of a sentence together; any other example has one row of answers."""
    count, class_count = len(examples), answers.targets_NC.shape[1]
    true_EC = np.zeros((count, class_count), np.bool_)
    np.logical_or.at(true_EC, example_N, answers.targets_NC)
    right_E = np.ones(count, np.bool_)
    np.logical_and.at(right_E, example_N, ((answers.probabilities_NC != 0) == answers.targets_NC).all(axis=1))
    margin_E = np.full(count, np.inf, np.float32)
    np.minimum.at(margin_E, example_N, decision_margin(answers))
    # Of a word without a label nothing is known here, and so nothing of its sentence.
    expected_rows = [1 if example.words is None else len(example.words) for example in examples]
    margin_E[np.bincount(example_N, minlength=count) != expected_rows] = -np.inf
    return _Found(right_E, true_EC.sum(axis=1) > 1, margin_E)


def _fits(example: Example) -> bool:
    return example.file is None or example.file.stat().st_size <= MAX_GOLDEN_BYTES[example.modality]
