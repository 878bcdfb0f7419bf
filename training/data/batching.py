"""Which examples share a batch: a pure function of the seed and the epoch, so that a resumed run deals them again."""

import numpy as np
import numpy.typing as npt

# Batches whose examples are sorted together: enough for little padding, few enough to leave the order to chance.
_BUCKET_BATCHES = 50


def epoch_batches(
    positions: npt.NDArray[np.int64], lengths: npt.NDArray[np.int32] | None, batch_size: int, seed: int, epoch: int
) -> list[list[int]]:
    """Deal the positions of one epoch into batches; only the last dealt may be smaller.

    Args:
        positions: Of the examples that take part.
        lengths: Of every example of the data set, by position; examples of similar length then share a batch. None
            where all inputs have one size.
        batch_size: Examples a batch.
        seed: Of the run.
        epoch: Each epoch has an order of its own.
    """
    chance = np.random.default_rng((seed, epoch))
    order = chance.permutation(positions)
    if lengths is None:
        return [order[start : start + batch_size].tolist() for start in range(0, len(order), batch_size)]
    batches = []
    for start in range(0, len(order), batch_size * _BUCKET_BATCHES):
        bucket = order[start : start + batch_size * _BUCKET_BATCHES]
        bucket = bucket[np.argsort(lengths[bucket], kind="stable")]
        batches += [bucket[first : first + batch_size].tolist() for first in range(0, len(bucket), batch_size)]
    return [batches[number] for number in chance.permutation(len(batches))]


def share_of(batch: list[int], rank: int, processes: int) -> list[int]:
    """The part of a batch that one of several processes works on; empty where there are fewer examples than processes.

    Every so-many-th, so that long and short examples of a sorted batch are spread evenly.
    """
    return batch[rank::processes]
