"""The loss of the r-softmax paper (its eq. 4, SPEC 3.1)."""

import torch
from torch import Tensor

from model.sparse_softmax.torch_op import r_softmax_count
from training.losses.reduction import Reduction, reduce


def r_softmax_loss(logits_BC: Tensor, targets_BC: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Squared distance to eta on the labels that are present, plus a hinge on every pair of present and absent.

    `|| y (p - eta) ||^2 + sum_{i present, j absent} max(0, eta_i - (x_i - x_j))` with `eta = y / |y|_1` and `p` the
    r-softmax whose number of non-zeros is the true number of labels. O(C log C) time and O(C) memory a row: for a
    present label the hinge is active for the absent ones above `x_i - eta_i`, and their sum is read off the running
    sums of the sorted absent logits.

    Args:
        logits_BC: Scores, finite.
        targets_BC: Multi-hot, bool or 0/1. A row without labels has loss 0: eta and the pairs are empty.
        reduction: `none` gives the loss of each row `[B]`.
    """
    positive_BC = targets_BC.bool()
    logits_BC = logits_BC.float() if logits_BC.dtype in (torch.float16, torch.bfloat16) else logits_BC
    label_count_B = positive_BC.sum(dim=-1)
    eta_B1 = 1.0 / label_count_B.clamp(min=1).to(logits_BC.dtype).unsqueeze(-1)
    probability_BC = r_softmax_count(logits_BC, label_count_B)
    squared_B = ((probability_BC - eta_B1).square() * positive_BC).sum(dim=-1)
    return reduce(squared_B + _pair_hinge(logits_BC, positive_BC, eta_B1), reduction)


def _pair_hinge(logits_BC: Tensor, positive_BC: Tensor, eta_B1: Tensor) -> Tensor:
    """Sum over the pairs (i present, j absent) of `max(0, eta - x_i + x_j)`, for each row."""
    # Absent logits, descending; the present ones sink to the end and never count.
    descending_BC = logits_BC.masked_fill(positive_BC, -torch.inf).sort(dim=-1, descending=True).values
    running_sum_BC = descending_BC.masked_fill(descending_BC.isneginf(), 0.0).cumsum(dim=-1)
    threshold_BC = logits_BC - eta_B1
    # Number of absent logits above each threshold; searchsorted wants ascending values.
    active_BC = torch.searchsorted(-descending_BC.detach(), -threshold_BC.detach(), right=False)
    last_BC = (active_BC - 1).clamp(min=0)
    sum_above_BC = running_sum_BC.gather(-1, last_BC)
    hinge_BC = torch.where(active_BC > 0, sum_above_BC - active_BC * threshold_BC, 0.0)
    return (hinge_BC * positive_BC).sum(dim=-1)
