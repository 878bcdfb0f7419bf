"""From a sparse row of probabilities to the label set that a caller reads (SPEC 2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class ScoredLabel(NamedTuple):
    """A label that is present, and its probability."""

    label: str
    probability: float


@dataclass(frozen=True)
class SparseRow:
    """The non-zero entries of one row of probabilities.

    Attributes:
        label_index: int64 `[m]`, positions in the label space.
        label_probability: float32 `[m]`, in (0, 1].
        sparsity_rate: The rate that the map was asked for, in [0, 1].
    """

    label_index: npt.NDArray[np.int64]
    label_probability: npt.NDArray[np.float32]
    sparsity_rate: float


@dataclass(frozen=True)
class LabelSet:
    """The labels of one input, the most probable first."""

    labels: tuple[ScoredLabel, ...]
    sparsity_rate: float

    @property
    def label_count(self) -> int:
        """Number of labels, that is of non-zero probabilities."""
        return len(self.labels)


def label_set(row: SparseRow, labels: Sequence[str]) -> LabelSet:
    """Name the non-zero entries of a row, in descending probability; equal ones in the order of the label space."""
    order = np.lexsort((row.label_index, -row.label_probability))
    scored = tuple(ScoredLabel(labels[row.label_index[i]], float(row.label_probability[i])) for i in order)
    return LabelSet(labels=scored, sparsity_rate=row.sparsity_rate)
