"""Hinge losses for sparsemax and sparsehourglass (Laha et al. 2018): 0 exactly where the map gives eta (SPEC 3.7).

The map gives eta where the present logits are equal and lie far enough above the absent ones. Their decision is the
support of the map.
"""

from torch import Tensor

from model.sparse_softmax.torch_plain import computed_in
from training.losses.label_weights import weight_of_present
from training.losses.pair_hinge import pair_distance, pair_hinge
from training.losses.reduction import Reduction, reduce
from training.maps import hourglass_scale


def sparsemax_hinge(
    logits_BC: Tensor, targets_BC: Tensor, class_weight_C: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """`sum_{i, j present} |x_i - x_j| + sum_{i present, j absent} max(0, eta_i - (x_i - x_j))`.

    Args:
        logits_BC: Scores, finite.
        targets_BC: Multi-hot, bool or 0/1. A row without labels has loss 0.
        class_weight_C: Of each label; multiplies its hinges where it is present.
        reduction: `none` gives the loss of each row `[B]`.
    """
    logits_BC = logits_BC.to(computed_in(logits_BC.dtype))
    return reduce(_distance_and_hinge(logits_BC, targets_BC.bool(), 1.0, class_weight_C), reduction)


def sparsehourglass_hinge(
    logits_BC: Tensor, targets_BC: Tensor, class_weight_C: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """The same with the margin `eta_i / a`, where sparsehourglass is `sparsemax(a x)`; convex, as `1 / a` is.

    Args: as in `sparsemax_hinge`.
    """
    logits_BC = logits_BC.to(computed_in(logits_BC.dtype))
    return reduce(
        _distance_and_hinge(logits_BC, targets_BC.bool(), hourglass_scale(logits_BC), class_weight_C), reduction
    )


def _distance_and_hinge(
    logits_BC: Tensor, positive_BC: Tensor, scale_B1: Tensor | float, class_weight_C: Tensor | None
) -> Tensor:
    count_B1 = positive_BC.sum(dim=-1, keepdim=True).clamp(min=1).to(logits_BC.dtype)
    margin_B1 = 1 / (scale_B1 * count_B1)
    weight_BC = weight_of_present(positive_BC, class_weight_C)
    return pair_distance(logits_BC, positive_BC) + pair_hinge(logits_BC, positive_BC, margin_B1, weight_BC)
