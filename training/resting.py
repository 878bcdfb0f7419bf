"""What is known of each sample from when it was last looked at: whether the loss masked it, and so whether it rests."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# A sample that was masked again and again rests at most 2 to this power as long as the first time.
_MOST_DOUBLINGS = 5
_NEVER_SEEN = -1


class Rests:
    """Which samples of a training split were masked, and which rest for it.

    A masked sample rests for a number of epochs, and each time that it is masked again for twice as many.

    Attributes:
        state_2N: The epoch in which a sample was last masked, and how many times in a row it was: 0 where it was active
            when last seen, -1 where it has never been seen. Part of a checkpoint.
    """

    def __init__(self, sample_count: int, epochs: int) -> None:
        """Let nobody rest yet.

        Args:
            sample_count: Samples of the split.
            epochs: How long one rests the first time; 0 not at all.
        """
        self.epochs = epochs
        self.state_2N: npt.NDArray[np.int64] = np.full((2, sample_count), _NEVER_SEEN)
        self._merged_2N = self.state_2N.copy()

    @property
    def streaks(self) -> npt.NDArray[np.int64]:
        """How many times in a row each sample was masked; 0: it was active when last seen, -1: never seen."""
        return self.state_2N[1]

    def awake(self, epoch: int) -> npt.NDArray[np.int64]:
        """The positions that take part in an epoch: the same at any moment of it, so that it can be resumed."""
        # Those masked within the epoch itself rest from the next one on.
        return np.flatnonzero((self._until() <= epoch) | (self.state_2N[0] == epoch))

    def note(self, masked: Sequence[int], active: Sequence[int], epoch: int) -> None:
        """Note what has become of samples in an epoch: each was masked or active."""
        since_N, streak_N = self.state_2N
        since_N[masked] = epoch
        streak_N[masked] = np.maximum(streak_N[masked], 0) + 1
        streak_N[active] = 0

    def merge(self, states_P2N: npt.NDArray[np.int64]) -> None:
        """Take over what P processes, this one among them, have noted since they last merged."""
        # No two have seen the same sample: where one's state differs from what all had, it is the one that knows.
        for state_2N in states_P2N:
            news_N = (state_2N != self._merged_2N).any(axis=0)
            self.state_2N[:, news_N] = state_2N[:, news_N]
        self._merged_2N = self.state_2N.copy()

    def restore(self, state_2N: npt.NDArray[np.int64]) -> None:
        """Go on from the state of a checkpoint, which all processes have."""
        self.state_2N[:] = state_2N
        self._merged_2N = self.state_2N.copy()

    def begin(self, epoch: int) -> None:
        """Begin an epoch; where all would rest, nothing is left to learn, and all are looked at once more."""
        if not len(self.awake(epoch)):
            self.restore(np.full_like(self.state_2N, _NEVER_SEEN))

    def active_share(self) -> float:
        """Part of all samples that had a loss when last seen; one that has never been seen counts as such."""
        return float((self.streaks <= 0).mean())

    def _until(self) -> npt.NDArray[np.int64]:
        """The epoch from which each sample takes part again."""
        since_N, streak_N = self.state_2N
        rest_N = self.epochs * 2 ** np.clip(streak_N - 1, 0, _MOST_DOUBLINGS)
        return np.where(streak_N > 0, since_N + 1 + rest_N, 0)
