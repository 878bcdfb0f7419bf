"""Sums over pairs of classes without a tensor of pairs: what eq. 4 and the hinge losses are made of.

O(C log K) time and O(C) memory a row, where K is the largest number of labels in the batch. Shape suffixes: B rows,
C classes, K present labels in ascending order of their logits, J = K + 1, 1 an axis of that length.
"""

import torch
from torch import Tensor
from torch.nn import functional


def pair_hinge(logits_BC: Tensor, positive_BC: Tensor, margin_B1: Tensor, weight_BC: Tensor) -> Tensor:
    """Sum over the pairs (i present, j absent) of `weight_i max(0, margin - x_i + x_j)`, for each row.

    For an absent label the hinge is active with the present ones for which `x_i - margin` lies below `x_j`: the first
    few in ascending order. Their number is found by bisection, and the sums over them are read off running sums.

    Args:
        logits_BC: Scores, finite.
        positive_BC: Multi-hot, bool.
        margin_B1: By how much a present label has to lie above an absent one; it may require a gradient.
        weight_BC: Of each present label.
    """
    logits_BC = _without_offset(logits_BC)
    present_BK, class_BK = _present_ascending(logits_BC, positive_BC)
    threshold_BK = present_BK - margin_B1
    active_BC = torch.searchsorted(threshold_BK.detach(), logits_BC.detach())
    weight_BK = weight_BC.gather(-1, class_BK).to(logits_BC.dtype)
    weight_sum_BJ = _running_sum(weight_BK)
    threshold_sum_BJ = _running_sum(weight_BK * threshold_BK.masked_fill(threshold_BK.isinf(), 0.0))
    hinge_BC = weight_sum_BJ.gather(-1, active_BC) * logits_BC - threshold_sum_BJ.gather(-1, active_BC)
    return hinge_BC.masked_fill(positive_BC, 0.0).sum(dim=-1)


def pair_distance(logits_BC: Tensor, positive_BC: Tensor) -> Tensor:
    """Sum over the pairs (i, j) of present labels of `|x_i - x_j|`, each order of a pair counted, for each row."""
    present_BK, _ = _present_ascending(_without_offset(logits_BC), positive_BC)
    count_B1 = positive_BC.sum(dim=-1, keepdim=True)
    rank_K = torch.arange(present_BK.shape[-1], device=logits_BC.device)
    # In both orders, the one at rank r is the larger of r pairs and the smaller of n - 1 - r.
    times_BK = 2 * (2 * rank_K + 1 - count_B1)
    return (present_BK.masked_fill(present_BK.isinf(), 0.0) * times_BK).sum(dim=-1)


def _without_offset(logits_BC: Tensor) -> Tensor:
    """Differences do not see what all logits share, but it would cost them their digits."""
    return logits_BC - logits_BC.detach().amax(dim=-1, keepdim=True)


def _present_ascending(logits_BC: Tensor, positive_BC: Tensor) -> tuple[Tensor, Tensor]:
    """The logits of the present labels, ascending, then +inf in rows that have fewer than K; and their classes."""
    count_B = positive_BC.sum(dim=-1)
    most = max(int(count_B.max()), 1) if len(count_B) else 1
    present_BK, class_BK = logits_BC.masked_fill(~positive_BC, torch.inf).topk(most, dim=-1, largest=False)
    return present_BK, class_BK


def _running_sum(values_BK: Tensor) -> Tensor:
    """The sums of the first 0, 1, ... K values of each row."""
    return functional.pad(values_BK.cumsum(dim=-1), (1, 0))
