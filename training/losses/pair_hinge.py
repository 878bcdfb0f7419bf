"""Sums over pairs of classes in O(C log C) time and O(C) memory a row: what eq. 4 and the hinge losses are made of."""

import torch
from torch import Tensor


def pair_hinge(logits_BC: Tensor, positive_BC: Tensor, margin_B1: Tensor, weight_BC: Tensor) -> Tensor:
    """Sum over the pairs (i present, j absent) of `weight_i max(0, margin - x_i + x_j)`, for each row.

    For a present label the hinge is active for the absent ones above `x_i - margin`, and their sum is read off the
    running sums of the sorted absent logits.

    Args:
        logits_BC: Scores, finite.
        positive_BC: Multi-hot, bool.
        margin_B1: By how much a present label has to lie above an absent one; it may require a gradient.
        weight_BC: Of each present label; 0 for the absent ones.
    """
    # Absent logits, descending; the present ones sink to the end and never count.
    descending_BC = logits_BC.masked_fill(positive_BC, -torch.inf).sort(dim=-1, descending=True).values
    running_sum_BC = descending_BC.masked_fill(descending_BC.isneginf(), 0.0).cumsum(dim=-1)
    threshold_BC = logits_BC - margin_B1
    # Number of absent logits above each threshold; searchsorted wants ascending values.
    active_BC = torch.searchsorted(-descending_BC.detach(), -threshold_BC.detach(), right=False)
    last_BC = (active_BC - 1).clamp(min=0)
    sum_above_BC = running_sum_BC.gather(-1, last_BC)
    hinge_BC = torch.where(active_BC > 0, sum_above_BC - active_BC * threshold_BC, 0.0)
    return (hinge_BC * weight_BC).sum(dim=-1)


def pair_distance(logits_BC: Tensor, positive_BC: Tensor) -> Tensor:
    """Sum over the pairs (i, j) of present labels of `|x_i - x_j|`, each order of a pair counted, for each row."""
    # Distances do not see an offset that all logits share, but it would cost them their digits.
    logits_BC = logits_BC - logits_BC.detach().amax(dim=-1, keepdim=True)
    # The present logits, ascending; the absent ones rise to the end.
    ascending_BC = logits_BC.masked_fill(~positive_BC, torch.inf).sort(dim=-1).values
    count_B1 = positive_BC.sum(dim=-1, keepdim=True)
    rank_C = torch.arange(logits_BC.shape[-1], device=logits_BC.device)
    # The one at rank r is the larger in r pairs and the smaller in n - 1 - r.
    times_BC = 2 * (2 * rank_C + 1 - count_B1)
    return torch.where(ascending_BC.isinf(), 0.0, ascending_BC * times_BC).sum(dim=-1)
