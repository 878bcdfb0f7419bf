"""The plain multi-label softmax loss, ZLPR: absent labels below 0, present ones above (SPEC 3.4 with delta = 1)."""

import torch
from torch import Tensor

from model.sparse_softmax.torch_plain import computed_in
from training.losses.reduction import Reduction, reduce


def zlpr(
    logits_BC: Tensor, targets_BC: Tensor, class_weight_C: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """`log(1 + sum over the absent of e^x) + log(1 + sum over the present of e^-x)`; its decision is `logit > 0`.

    Args:
        logits_BC: Scores.
        targets_BC: Multi-hot, bool or 0/1.
        class_weight_C: Of each label; multiplies `e^-x` where the label is present.
        reduction: `none` gives the loss of each row `[B]`.
    """
    positive_BC = targets_BC.bool()
    logits_BC = logits_BC.to(computed_in(logits_BC.dtype))
    return reduce(zlpr_of_kept(logits_BC, ~positive_BC, positive_BC, class_weight_C), reduction)


def zlpr_of_kept(logits_BC: Tensor, negative_BC: Tensor, positive_BC: Tensor, class_weight_C: Tensor | None) -> Tensor:
    """The loss of each row over these absent and these present labels; exactly 0 where there are none of either."""
    negated_BC = -logits_BC if class_weight_C is None else class_weight_C.log() - logits_BC
    return _log_one_plus_sum_exp(logits_BC, negative_BC) + _log_one_plus_sum_exp(negated_BC, positive_BC)


def _log_one_plus_sum_exp(x_BC: Tensor, keep_BC: Tensor) -> Tensor:
    """`log(1 + sum of exp(x) over the kept)` of each row, without overflow: the 1 is one more logit of value 0."""
    zero_B1 = x_BC.new_zeros((*x_BC.shape[:-1], 1))
    return torch.cat([x_BC.masked_fill(~keep_BC, -torch.inf), zero_B1], dim=-1).logsumexp(dim=-1)
