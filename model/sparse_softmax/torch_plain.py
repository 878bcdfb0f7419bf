"""r-softmax in plain torch operations: any device, float32 and float64, forward and backward (SPEC 1.3, 1.4, 1.5).

Shape suffixes: R the rows (every axis but the last), C classes, 1 and 2 an axis of that length.
"""

import torch
from torch import Tensor


def probabilities(logits_RC: Tensor, rate: Tensor) -> Tensor:
    """The probabilities alone."""
    return forward(logits_RC, rate, exact_gradient=False)[0]


def forward(logits_RC: Tensor, rate: Tensor, exact_gradient: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Also find the cut, and how it moves with the logits.

    Returns:
        probabilities_RC, cut_R1, and anchors_R2, shares_R2: the entries that the cut moves with, and how much.
    """
    cut_R1, anchors_R2, shares_R2 = _find_cut(logits_RC, rate, exact_gradient)
    probabilities_RC, support_RC = _cut_softmax(logits_RC, cut_R1)
    return round_to(logits_RC.dtype, probabilities_RC, support_RC), cut_R1, anchors_R2, shares_R2


def backward(
    logits_RC: Tensor,
    probabilities_RC: Tensor,
    cut_R1: Tensor,
    anchors_R2: Tensor,
    shares_R2: Tensor,
    gradient_RC: Tensor,
) -> Tensor:
    """With p = w e^x / sum and w = x - cut: every entry pulls on its logit, and through its weight on the cut."""
    pull_RC = probabilities_RC * (gradient_RC - (probabilities_RC * gradient_RC).sum(dim=-1, keepdim=True))
    weight_RC = logits_RC - cut_R1
    # Also all of a row whose cut is the maximum: equal shares do not move.
    outside_RC = weight_RC <= 0
    weight_pull_RC = (pull_RC / weight_RC).masked_fill_(outside_RC, 0)
    logits_gradient_RC = pull_RC.masked_fill_(outside_RC, 0).add_(weight_pull_RC)
    return logits_gradient_RC.scatter_add_(-1, anchors_R2, -shares_R2 * weight_pull_RC.sum(dim=-1, keepdim=True))


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
