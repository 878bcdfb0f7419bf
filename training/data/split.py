"""Split examples into train, validation and test: by group, balanced over labels, the same every time for a seed."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from training.data.dataset import Example

SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}
_MAX_ORDERS = 50
# Error per label at which no other order is tried: sides are then off by about a hundredth.
_GOOD_ENOUGH = 1e-4
# A move counts as a gain from here on: rounding alone must not keep groups moving for ever.
_SMALLEST_GAIN = 1e-9


def split_by_group(examples: Sequence[Example], *, shares: Sequence[float], seed: int) -> list[list[Example]]:
    """Deal whole groups out, to each side its share of the examples and of every label as nearly as can be.

    The error of a split is the squared distance between the part of a label that a side has and the part it should
    have, summed over sides and labels. Groups are dealt one by one, each to the side where the error grows least; then
    groups change sides as long as that lessens it. Where groups are few and large the outcome hangs on the order they
    are dealt in, so the best of several orders is taken. A label that one group alone carries goes to the largest side.

    Args:
        examples: At least one.
        shares: One for each side, summing to 1.
        seed: Of the orders.
    """
    groups = _groups(examples)
    parts_GQ = _parts(groups)
    random_orders = np.random.default_rng(seed)
    best_error, best_sides = np.inf, np.zeros(len(groups), dtype=int)
    for _ in range(_MAX_ORDERS):
        sides, error = _deal(parts_GQ, np.array(shares), random_orders.permutation(len(groups)))
        if error < best_error:
            best_error, best_sides = error, sides
        if best_error < _GOOD_ENOUGH * parts_GQ.shape[1]:
            break
    split: list[list[Example]] = [[] for _ in shares]
    for group, side in zip(groups, best_sides, strict=True):
        split[side].extend(group)
    return split


def _groups(examples: Sequence[Example]) -> list[list[Example]]:
    groups: dict[object, list[Example]] = defaultdict(list)
    for position, example in enumerate(examples):
        groups[position if example.group is None else example.group].append(example)
    return list(groups.values())


# Shape suffixes: G groups, S sides, Q quantities to balance (the number of examples, then each label).
def _parts(groups: list[list[Example]]) -> np.ndarray:
    """[G, Q], the part of each quantity that each group carries: columns sum to 1."""
    labels = sorted({label for group in groups for example in group for label in example.labels})
    column = {label: position for position, label in enumerate(labels, start=1)}
    counts_GQ = np.zeros((len(groups), len(labels) + 1))
    for row, group in enumerate(groups):
        counts_GQ[row, 0] = len(group)
        for example in group:
            for label in example.labels:
                counts_GQ[row, column[label]] += 1
    return counts_GQ / counts_GQ.sum(axis=0)


def _deal(parts_GQ: np.ndarray, shares_S: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, float]:
    """The side of each group, [G], and the error of that split."""
    weights_Q = np.ones(parts_GQ.shape[1])
    weights_Q[0] = len(weights_Q)  # the number of examples weighs as much as all labels together
    excess_SQ = np.repeat(-shares_S[:, None], len(weights_Q), axis=1)
    sides = np.full(len(parts_GQ), -1)
    moved = True
    while moved:
        moved = False
        for group in order:
            part_Q, current = parts_GQ[group], sides[group]
            if current >= 0:
                excess_SQ[current] -= part_Q
            growth_S = (2 * excess_SQ + part_Q) * part_Q @ weights_Q
            best = int(growth_S.argmin())
            if current >= 0 and growth_S[current] - growth_S[best] < _SMALLEST_GAIN:
                best = current
            excess_SQ[best] += part_Q
            moved = moved or best != current
            sides[group] = best
    return sides, float((excess_SQ**2 @ weights_Q).sum())
