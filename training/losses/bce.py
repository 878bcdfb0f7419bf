"""Binary cross-entropy: what most multi-label classifiers are trained with, to compare with."""

from torch import Tensor
from torch.nn import functional

from model.sparse_softmax.torch_plain import computed_in
from training.losses.reduction import Reduction, reduce


def bce(
    logits_BC: Tensor, targets_BC: Tensor, class_weight_C: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """Sum over the classes of the binary cross-entropy; mean over the rows, or each row's `[B]`.

    Its decision rule is `sigmoid(logit) > 0.5`. A label's weight multiplies its term where it is present.
    """
    logits_BC = logits_BC.to(computed_in(logits_BC.dtype))
    loss_BC = functional.binary_cross_entropy_with_logits(
        logits_BC, targets_BC.to(logits_BC.dtype), reduction="none", pos_weight=class_weight_C
    )
    return reduce(loss_BC.sum(dim=-1), reduction)
