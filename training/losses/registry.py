"""Every loss by the name that a recipe calls it: its function, its settings, and its own way of deciding."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from training.config import ConfigError, LossConfig, LossName
from training.data.dataset import Task
from training.losses.as_softmax import as_softmax, as_softmax_multilabel
from training.losses.bce import bce
from training.losses.cross_entropy import am_softmax, cross_entropy
from training.losses.decisions import (
    ABOVE_HALF,
    ABOVE_P0,
    ARGMAX,
    POSITIVE_LOGIT,
    SUPPORT_OF_ENTMAX15,
    SUPPORT_OF_SPARSEHOURGLASS,
    SUPPORT_OF_SPARSEMAX,
    Decision,
)
from training.losses.fenchel_young import entmax15, sparsemax_huber
from training.losses.r_softmax import r_softmax_loss
from training.losses.reduction import Reduction
from training.losses.sparse_hinge import sparsehourglass_hinge, sparsemax_hinge
from training.losses.warm_up import delta_at
from training.losses.zlpr import zlpr

# (logits [B, C], targets [B, C], progress of the run in [0, 1]) -> loss of each row [B]
Loss = Callable[[Tensor, Tensor, float], Tensor]


@dataclass(frozen=True)
class Entry:
    """One loss.

    Attributes:
        function: Takes logits, targets, the settings, and `reduction`.
        decision: Its own rule for label sets; None where the count that the head predicts is the rule.
        settings: What the function takes of a recipe, after a part of the run.
        label_weights: Whether it takes `class_weight_C`, for label sets.
    """

    function: Callable[..., Tensor]
    decision: Decision | None
    settings: Callable[[LossConfig, float], dict[str, Any]] = lambda config, progress: {}
    label_weights: bool = True


def _delta(config: LossConfig, progress: float) -> dict[str, Any]:
    return {"delta": delta_at(progress, config.delta, config.delta_warm_up)}


def _delta_and_scaling(config: LossConfig, progress: float) -> dict[str, Any]:
    return {**_delta(config, progress), "delta_scaling": config.delta_scaling}


LOSSES: dict[LossName, Entry] = {
    "as_softmax": Entry(as_softmax_multilabel, POSITIVE_LOGIT, _delta_and_scaling),
    "zlpr": Entry(zlpr, POSITIVE_LOGIT),
    "r_softmax": Entry(r_softmax_loss, None),
    "softmax": Entry(cross_entropy, ABOVE_P0),
    "label_smoothing": Entry(cross_entropy, ABOVE_P0, lambda config, _: {"smoothing": config.smoothing}),
    "t_softmax": Entry(cross_entropy, ABOVE_P0, lambda config, _: {"temperature": config.temperature}),
    "am_softmax": Entry(am_softmax, ABOVE_P0, lambda config, _: {"margin": config.margin, "scale": config.scale}),
    "bce": Entry(bce, ABOVE_HALF),
    "sparsemax_huber": Entry(sparsemax_huber, SUPPORT_OF_SPARSEMAX, label_weights=False),
    "sparsemax_hinge": Entry(sparsemax_hinge, SUPPORT_OF_SPARSEMAX),
    "sparsehourglass_hinge": Entry(sparsehourglass_hinge, SUPPORT_OF_SPARSEHOURGLASS),
    "entmax15": Entry(entmax15, SUPPORT_OF_ENTMAX15, label_weights=False),
}


def build(config: LossConfig, task: Task = "multi_label", class_weight_C: Tensor | None = None) -> Loss:
    """The loss that a recipe names.

    For one class a row, a loss sees a label set of one; only AS-Softmax has a form of its own for it. There, too,
    targets are one-hot rows; for tokens, those that nothing is to be learned from have been left out.

    Args:
        config: A recipe's.
        task: What the targets are.
        class_weight_C: float32, above 0. For label sets it enters as the loss's function says; where there is one
            class a row, it multiplies the loss of the rows of that class.

    Raises:
        ConfigError: the loss takes no label weights for label sets.
    """
    return _for_label_sets(config, class_weight_C) if task == "multi_label" else _for_classes(config, class_weight_C)


def own_decision(name: LossName, task: Task = "multi_label") -> Decision | None:
    """How a loss decides without a count head; None where it cannot (r-softmax)."""
    return LOSSES[name].decision if task == "multi_label" else ARGMAX


def _for_label_sets(config: LossConfig, class_weight_C: Tensor | None) -> Loss:
    entry = LOSSES[config.name]
    if class_weight_C is not None and not entry.label_weights:
        takes = sorted(name for name, other in LOSSES.items() if other.label_weights)
        message = f"loss.label_weights: loss {config.name!r} takes none for label sets; these do: {', '.join(takes)}"
        raise ConfigError(message, loss=config.name)

    def loss(logits_BC: Tensor, targets_BC: Tensor, progress: float) -> Tensor:
        settings = entry.settings(config, progress)
        if class_weight_C is not None:
            settings["class_weight_C"] = class_weight_C.to(logits_BC.device)
        return entry.function(logits_BC, targets_BC, **settings, reduction="none")

    return loss


def _for_classes(config: LossConfig, class_weight_C: Tensor | None) -> Loss:
    entry = LOSSES[config.name]
    if config.name == "as_softmax":
        entry = Entry(_as_softmax_one_hot, ARGMAX, _delta)

    def loss(logits_BC: Tensor, targets_BC: Tensor, progress: float) -> Tensor:
        loss_B = entry.function(logits_BC, targets_BC, **entry.settings(config, progress), reduction="none")
        return loss_B if class_weight_C is None else loss_B * class_weight_C.to(logits_BC.device)[_class(targets_BC)]

    return loss


def _as_softmax_one_hot(logits_BC: Tensor, targets_BC: Tensor, delta: float, reduction: Reduction) -> Tensor:
    return as_softmax(logits_BC, _class(targets_BC), delta, reduction=reduction)


def _class(targets_BC: Tensor) -> Tensor:
    """The class of each one-hot row; argmax takes no bool."""
    return targets_BC.byte().argmax(dim=-1)
