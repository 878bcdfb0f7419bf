"""How each loss, on its own, reads a label set off the logits."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training import maps

Logits = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Decision:
    """The labels whose score lies above a threshold.

    Attributes:
        score: What is compared, from the logits `[N, C]`.
        threshold: What it is compared with; None where it has to be tuned (p0 of softmax).
    """

    score: Callable[[Tensor], Tensor]
    threshold: float | None = 0.0

    def scores(self, logits_NC: Logits) -> npt.NDArray[np.floating]:
        """What a threshold is tuned on."""
        return self.score(torch.from_numpy(logits_NC)).numpy()

    def __call__(self, logits_NC: Logits, threshold: float | None = None) -> npt.NDArray[np.bool_]:
        """The label sets, multi-hot.

        Args:
            logits_NC: Scores of the classes.
            threshold: In place of the rule's own.

        Raises:
            ValueError: the rule has no threshold of its own, and none is given.
        """
        threshold = self.threshold if threshold is None else threshold
        if threshold is None:
            raise ValueError("this decision has no threshold of its own: tune one on scores() and pass it")
        return self.scores(logits_NC) > threshold


def _identity(logits_NC: Tensor) -> Tensor:
    return logits_NC


def _winner(logits_NC: Tensor) -> Tensor:
    """1 for the largest logit of each row, the first of equal ones, and 0 for the others."""
    return torch.zeros_like(logits_NC).scatter(-1, logits_NC.argmax(dim=-1, keepdim=True), 1.0)


POSITIVE_LOGIT = Decision(_identity)
ABOVE_HALF = Decision(maps.sigmoid, threshold=0.5)
ABOVE_P0 = Decision(maps.softmax, threshold=None)
SUPPORT_OF_SPARSEMAX = Decision(maps.sparsemax)
SUPPORT_OF_ENTMAX15 = Decision(maps.entmax15)
SUPPORT_OF_SPARSEHOURGLASS = Decision(maps.sparsehourglass)
ARGMAX = Decision(_winner)
