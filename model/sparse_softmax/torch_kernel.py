"""r-softmax as a registered torch operator: the forward, and the backward written by hand (SPEC 1.5).

The arguments are trusted here; `torch_op` checks them. Plain torch operations, so one file serves every device.

Shape suffixes: R the rows (every axis but the last), C classes, 1 and 2 an axis of that length.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


@torch.library.custom_op("labelset::r_softmax", mutates_args=())
def r_softmax(logits: Tensor, rate: Tensor) -> Tensor:
    """r-softmax as graphs name it: two tensors in, one out."""
    probabilities, _, _, _ = _forward(logits, rate, exact_gradient=False)
    return probabilities


@r_softmax.register_fake
def _(logits: Tensor, rate: Tensor) -> Tensor:
    return torch.empty_like(logits)


@torch.library.custom_op("labelset::r_softmax_with_cut", mutates_args=())
def r_softmax_with_cut(logits: Tensor, rate: Tensor, exact_gradient: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """r-softmax for training: also returns the cut, and how it moves with the logits.

    Returns:
        probabilities_RC, cut_R1, and anchors_R2, shares_R2: the entries that the cut moves with, and how much.
    """
    return _forward(logits, rate, exact_gradient)


@r_softmax_with_cut.register_fake
def _(logits: Tensor, rate: Tensor, exact_gradient: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rows = logits.shape[:-1]
    cut_R1 = logits.new_empty((*rows, 1), dtype=computed_in(logits.dtype))
    anchors_R2 = logits.new_empty((*rows, 2), dtype=torch.int64)
    return torch.empty_like(logits), cut_R1, anchors_R2, cut_R1.new_empty((*rows, 2))


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, cut_R1, anchors_R2, shares_R2 = output
    ctx.mark_non_differentiable(cut_R1, anchors_R2, shares_R2)
    ctx.save_for_backward(inputs[0], cut_R1, anchors_R2, shares_R2)


@once_differentiable
def _backward(ctx: Any, gradient_RC: Tensor, *_none: None) -> tuple[Tensor, None, None]:
    """With p = w e^x / sum and w = x - cut: every entry pulls on its logit, and through its weight on the cut."""
    logits_RC, cut_R1, anchors_R2, shares_R2 = ctx.saved_tensors
    scores_RC = logits_RC.to(cut_R1.dtype)
    gradient_RC = gradient_RC.to(cut_R1.dtype)
    # Not the saved output: in float16 a probability is too coarse to be divided by a small weight.
    probabilities_RC, _ = _cut_softmax(scores_RC, cut_R1)
    pull_RC = probabilities_RC * (gradient_RC - (probabilities_RC * gradient_RC).sum(dim=-1, keepdim=True))
    weight_RC = scores_RC - cut_R1
    # Also all of a row whose cut is the maximum: equal shares do not move.
    outside_RC = weight_RC <= 0
    weight_pull_RC = (pull_RC / weight_RC).masked_fill_(outside_RC, 0)
    logits_gradient_RC = pull_RC.masked_fill_(outside_RC, 0).add_(weight_pull_RC)
    logits_gradient_RC.scatter_add_(-1, anchors_R2, -shares_R2 * weight_pull_RC.sum(dim=-1, keepdim=True))
    return logits_gradient_RC.to(logits_RC.dtype), None, None


r_softmax_with_cut.register_autograd(_backward, setup_context=_save_for_backward)


def _forward(logits_RC: Tensor, rate: Tensor, exact_gradient: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    scores_RC = logits_RC.to(computed_in(logits_RC.dtype))
    cut_R1, anchors_R2, shares_R2 = _find_cut(scores_RC, rate, exact_gradient)
    probabilities_RC, support_RC = _cut_softmax(scores_RC, cut_R1)
    return round_to(logits_RC.dtype, probabilities_RC, support_RC), cut_R1, anchors_R2, shares_R2


def _find_cut(scores_RC: Tensor, rate: Tensor, exact_gradient: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Find Q of every row, and with which entries and how much it moves; NaN where the row must become NaN."""
    unmasked_R1 = (scores_RC != -torch.inf).sum(dim=-1, keepdim=True)
    last_R1 = (unmasked_R1 - 1).clamp(min=0)
    rate_R1 = rate.unsqueeze(-1)
    allowed_R1 = (rate_R1 >= 0) & (rate_R1 <= 1)
    position_R1 = torch.where(allowed_R1, rate_R1, 1) * last_R1
    fraction_R1 = position_R1.frac()

    # Ranks count from the largest entry: only as many need sorting as survive in the fullest row, and one more.
    lower_rank_R1 = last_R1 - position_R1.long()
    upper_rank_R1 = (lower_rank_R1 - 1).clamp(min=0)
    ranks_R2 = torch.cat([lower_rank_R1, upper_rank_R1], dim=-1)
    sorted_count = int(ranks_R2.max()) + 1 if ranks_R2.numel() else 1
    descending, order = scores_RC.topk(sorted_count, dim=-1)

    lower_R1, upper_R1 = descending.gather(-1, ranks_R2).double().chunk(2, dim=-1)
    cut_R1 = _interpolate(lower_R1, upper_R1, fraction_R1).masked_fill(unmasked_R1 == 0, 0)
    # NaN sorts above +inf.
    finite_R1 = descending[..., :1] < torch.inf
    cut_R1 = cut_R1.to(scores_RC.dtype).masked_fill(~(finite_R1 & allowed_R1), torch.nan)

    if exact_gradient:
        anchors_R2 = order.gather(-1, ranks_R2)
        shares_R2 = torch.cat([1 - fraction_R1, fraction_R1], dim=-1)
    else:
        anchors_R2 = order[..., :1].expand_as(ranks_R2).contiguous()
        shares_R2 = torch.tensor([1, 0], device=scores_RC.device).expand_as(ranks_R2).contiguous()
    return cut_R1, anchors_R2, shares_R2.to(scores_RC.dtype)


def _interpolate(lower: Tensor, upper: Tensor, fraction: Tensor) -> Tensor:
    """Exactly these operations in exactly this order: every implementation has to round alike (no `lerp`)."""
    gap = upper - lower
    # Only float64 logits lie so far apart that the gap overflows.
    return torch.where(gap.isinf(), (1 - fraction) * lower + fraction * upper, lower + fraction * gap)


def _cut_softmax(scores_RC: Tensor, cut_R1: Tensor) -> tuple[Tensor, Tensor]:
    """The probabilities, and which of them are not zero, once the cut is known."""
    highest_R1 = scores_RC.amax(dim=-1, keepdim=True)
    # A row that is masked as a whole has no maximum for its entries to tie with.
    highest_R1 = highest_R1.masked_fill(highest_R1 == -torch.inf, torch.inf)
    # The limit t -> 0: equal shares among the maxima.
    tied_R1 = cut_R1 >= highest_R1
    support_RC = torch.where(tied_R1, scores_RC == highest_R1, scores_RC > cut_R1)
    largest = torch.finfo(scores_RC.dtype).max
    weights_RC = (scores_RC - cut_R1).clamp(max=largest)
    # Relative to the weight of the maximum, so that neither a sum of huge weights nor one of tiny ones leaves the type.
    weights_RC = weights_RC.div_((highest_R1 - cut_R1).clamp(max=largest)).masked_fill_(tied_R1, 1)
    masses_RC = (scores_RC - highest_R1).exp_().mul_(weights_RC).masked_fill_(~support_RC, 0)
    total_R1 = masses_RC.sum(dim=-1, keepdim=True)
    # A row without support has no mass to divide by.
    probabilities_RC = masses_RC.div_(total_R1.masked_fill(total_R1 == 0, 1))
    return probabilities_RC.masked_fill_(cut_R1.isnan(), torch.nan), support_RC


def round_to(dtype: torch.dtype, probabilities_RC: Tensor, support_RC: Tensor) -> Tensor:
    """Round to the type of the logits, in which no survivor may become 0 (SPEC 1.4)."""
    smallest = 2.0**-24 if dtype == torch.float16 else torch.finfo(dtype).tiny
    rounded_RC = probabilities_RC.to(dtype)
    return torch.where(support_RC, rounded_RC.clamp(min=smallest), rounded_RC)


def computed_in(dtype: torch.dtype) -> torch.dtype:
    """float16 and bfloat16 are computed in float32 (SPEC 1.4)."""
    return torch.float64 if dtype == torch.float64 else torch.float32
