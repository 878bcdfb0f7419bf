"""The loss of the r-softmax paper (its eq. 4, SPEC 3.1)."""

from torch import Tensor

from model.sparse_softmax.torch_op import r_softmax_count
from model.sparse_softmax.torch_plain import computed_in
from training.losses.label_weights import weight_of_present
from training.losses.pair_hinge import pair_hinge
from training.losses.reduction import Reduction, reduce


def r_softmax_loss(
    logits_BC: Tensor, targets_BC: Tensor, class_weight_C: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """Squared distance to eta on the labels that are present, plus a hinge on every pair of present and absent.

    `|| y (p - eta) ||^2 + sum_{i present, j absent} max(0, eta_i - (x_i - x_j))` with `eta = y / |y|_1` and `p` the
    r-softmax whose number of non-zeros is the true number of labels. Its decision is the support of r-softmax at the
    label count that the head predicts.

    Args:
        logits_BC: Scores, finite.
        targets_BC: Multi-hot, bool or 0/1. A row without labels has loss 0: eta and the pairs are empty.
        class_weight_C: Of each label; multiplies the terms of the label where it is present.
        reduction: `none` gives the loss of each row `[B]`.
    """
    positive_BC = targets_BC.bool()
    logits_BC = logits_BC.to(computed_in(logits_BC.dtype))
    label_count_B = positive_BC.sum(dim=-1)
    eta_B1 = 1.0 / label_count_B.clamp(min=1).to(logits_BC.dtype).unsqueeze(-1)
    weight_BC = weight_of_present(positive_BC, class_weight_C)
    probability_BC = r_softmax_count(logits_BC, label_count_B)
    squared_B = ((probability_BC - eta_B1).square() * weight_BC).sum(dim=-1)
    return reduce(squared_B + pair_hinge(logits_BC, positive_BC, eta_B1, weight_BC), reduction)
