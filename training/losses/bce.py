"""Binary cross-entropy: what most multi-label classifiers are trained with, to compare with."""

import torch
from torch import Tensor
from torch.nn import functional

from training.losses.reduction import Reduction, reduce


def bce(logits_BC: Tensor, targets_BC: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Sum over the classes of the binary cross-entropy; mean over the rows, or each row's `[B]`."""
    logits_BC = logits_BC.float() if logits_BC.dtype in (torch.float16, torch.bfloat16) else logits_BC
    loss_BC = functional.binary_cross_entropy_with_logits(logits_BC, targets_BC.to(logits_BC.dtype), reduction="none")
    return reduce(loss_BC.sum(dim=-1), reduction)
