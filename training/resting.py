"""Samples that the loss has masked rest: for a few epochs nobody looks at them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


class Rests:
    """Which samples of a training split rest, and until when.

    Attributes:
        until_N: Epoch from which a sample takes part again; part of a checkpoint.
    """

    def __init__(self, sample_count: int, epochs: int) -> None:
        """Let nobody rest yet.

        Args:
            sample_count: Samples of the split.
            epochs: How long one rests; 0 not at all.
        """
        self.epochs = epochs
        self.until_N: npt.NDArray[np.int64] = np.zeros(sample_count, np.int64)

    def awake(self, epoch: int) -> npt.NDArray[np.int64]:
        """The positions that take part in an epoch: the same at any moment of it, so that it can be resumed."""
        # Those masked within the epoch itself rest from the next one on.
        return np.flatnonzero((self.until_N <= epoch) | (self.until_N > epoch + self.epochs))

    def add(self, masked: Sequence[int], epoch: int) -> None:
        """Let samples rest that were masked in an epoch."""
        if self.epochs:
            self.until_N[masked] = epoch + 1 + self.epochs

    def begin(self, epoch: int) -> None:
        """Begin an epoch; where all would rest, nothing is left to learn, and all are looked at once more."""
        if not len(self.awake(epoch)):
            self.until_N[:] = 0

    def share(self, epoch: int) -> float:
        """Part of all samples that rest after an epoch."""
        return float((self.until_N > epoch + 1).mean())
