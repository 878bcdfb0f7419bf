"""The one way to reduce the losses of rows."""

from typing import Literal

from torch import Tensor

Reduction = Literal["none", "mean"]


def reduce(loss_B: Tensor, reduction: Reduction) -> Tensor:
    """The losses of the rows as they are, or their mean."""
    return loss_B if reduction == "none" else loss_B.mean()
