"""The losses, by the name that a recipe calls them. Each takes logits `[B, C]` and multi-hot targets `[B, C]`."""

from collections.abc import Callable

from torch import Tensor

from training.config import LossConfig
from training.losses.as_softmax import as_softmax_multilabel
from training.losses.bce import bce
from training.losses.r_softmax import r_softmax_loss
from training.losses.warm_up import delta_at

__all__ = ["as_softmax_multilabel", "bce", "build", "delta_at", "r_softmax_loss"]

# (logits [B, C], targets [B, C], progress of the run in [0, 1]) -> loss of each row [B]
Loss = Callable[[Tensor, Tensor, float], Tensor]


def build(config: LossConfig) -> Loss:
    """The loss that a recipe names."""
    losses: dict[str, Loss] = {
        "as_softmax": lambda logits, targets, progress: as_softmax_multilabel(
            logits, targets, delta_at(progress, config.delta, config.delta_warm_up), reduction="none"
        ),
        "r_softmax": lambda logits, targets, _: r_softmax_loss(logits, targets, reduction="none"),
        "bce": lambda logits, targets, _: bce(logits, targets, reduction="none"),
    }
    return losses[config.name]
