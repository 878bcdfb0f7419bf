"""Which test examples become a bundle's golden examples: those whose answer no rounding can change."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from training.data.dataset import Example
from training.evaluate import Answers

GOLDEN_COUNT = 5
MAX_GOLDEN_IMAGE_BYTES = 64 * 1024
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
    right_N = ((answers.probabilities_NC != 0) == answers.targets_NC).all(axis=1)
    several_N = answers.targets_NC.sum(axis=1) > 1
    margin_N = decision_margin(answers)
    order = np.lexsort((-margin_N, ~several_N, ~right_N))
    chosen: dict[bytes, int] = {}
    for index in map(int, order[margin_N[order] >= MIN_MARGIN]):
        image = examples[index].image
        if image is None or image.stat().st_size <= MAX_GOLDEN_IMAGE_BYTES:
            chosen.setdefault((answers.probabilities_NC[index] != 0).tobytes(), index)
        if len(chosen) == GOLDEN_COUNT:
            break
    return list(chosen.values())
