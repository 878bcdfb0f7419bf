"""Cross-entropy of a softmax with eta, and its variants: smoothed, with a temperature, with a margin (SPEC 3.7).

Their decision for label sets is `p > p0`, with a threshold that has to be tuned: softmax itself has no zeros.
"""

from torch import Tensor

from model.sparse_softmax.torch_plain import computed_in
from training.losses.eta import label_distribution
from training.losses.reduction import Reduction, reduce


def cross_entropy(
    logits_BC: Tensor,
    targets_BC: Tensor,
    smoothing: float = 0.0,
    temperature: float = 1.0,
    class_weight_C: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """`- sum_i t_i log softmax(x / temperature)_i` with `t = (1 - smoothing) eta + smoothing / C`.

    Args:
        logits_BC: Scores, finite.
        targets_BC: Multi-hot, bool or 0/1. A row without labels has loss 0: there is no eta.
        smoothing: Label smoothing, in [0, 1): the part of the target that is spread over all classes.
        temperature: T-softmax, above 0.
        class_weight_C: Of each label; multiplies its term of the sum.
        reduction: `none` gives the loss of each row `[B]`.
    """
    positive_BC = targets_BC.bool()
    logits_BC = logits_BC.to(computed_in(logits_BC.dtype))
    target_BC = label_distribution(positive_BC, logits_BC.dtype)
    if smoothing > 0:
        has_labels_B1 = positive_BC.any(dim=-1, keepdim=True)
        target_BC = (1 - smoothing) * target_BC + smoothing / logits_BC.shape[-1] * has_labels_B1
    if class_weight_C is not None:
        target_BC = target_BC * class_weight_C
    return reduce(-(target_BC * (logits_BC / temperature).log_softmax(dim=-1)).sum(dim=-1), reduction)


def am_softmax(
    logits_BC: Tensor,
    targets_BC: Tensor,
    margin: float,
    scale: float,
    class_weight_C: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Additive-margin softmax (Wang et al. 2018): cross-entropy on `scale * (x - margin)` for the present, `scale * x`.

    The paper's logits are cosines; here they are what the head gives. With several labels the margin is taken off each.

    Args:
        logits_BC: Scores, finite.
        targets_BC: Multi-hot, bool or 0/1. A row without labels has loss 0.
        margin: At least 0.
        scale: Above 0.
        class_weight_C: As in `cross_entropy`.
        reduction: `none` gives the loss of each row `[B]`.
    """
    logits_BC = logits_BC.to(computed_in(logits_BC.dtype))
    return cross_entropy(
        scale * (logits_BC - margin * targets_BC.bool()),
        targets_BC,
        class_weight_C=class_weight_C,
        reduction=reduction,
    )
