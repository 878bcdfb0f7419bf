"""AS-Softmax: only the opponents that are not yet beaten are learned from (SPEC 3.2, 3.4)."""

from typing import Literal

import torch
from torch import Tensor

from model.sparse_softmax.torch_plain import computed_in
from training.losses.reduction import Reduction, reduce
from training.losses.zlpr import zlpr_of_kept

IGNORED = -100


def as_softmax(
    logits_BC: Tensor, target_B: Tensor, delta: float, ignore_index: int = IGNORED, reduction: Reduction = "mean"
) -> Tensor:
    """Adaptive sparse softmax loss for one class a row; its decision rule is argmax.

    The cross-entropy among the target and the classes whose softmax probability is less than `delta` below the
    target's.

    Args:
        logits_BC: Scores `[..., C]`, finite.
        target_B: The right class of each row `[...]`, int64, or `ignore_index`.
        delta: Margin in (0, 1]; 1 masks nothing and is plain softmax.
        ignore_index: Marks a row that nothing is learned from: its loss is 0, and the mean leaves it out.
        reduction: `none` gives the loss of each row `[...]`.

    Returns:
        The mean over the rows, or the rows' losses; exactly 0 for a row whose opponents are all beaten.

    Raises:
        ValueError: delta is outside (0, 1].
    """
    _require_delta(delta)
    logits_BC = logits_BC.to(computed_in(logits_BC.dtype))
    ignored_B = target_B == ignore_index
    target_B1 = target_B.masked_fill(ignored_B, 0).unsqueeze(-1)
    if delta < 1:
        probability_BC = logits_BC.detach().softmax(dim=-1)
        beaten_BC = probability_BC.gather(-1, target_B1) - probability_BC > delta
        logits_BC = logits_BC.masked_fill(beaten_BC, -torch.inf)
    loss_B = -logits_BC.log_softmax(dim=-1).gather(-1, target_B1).squeeze(-1).masked_fill(ignored_B, 0.0)
    return loss_B if reduction == "none" else loss_B.sum() / (~ignored_B).sum().clamp(min=1)


def as_softmax_multilabel(
    logits_BC: Tensor,
    targets_BC: Tensor,
    delta: float,
    delta_scaling: Literal["none", "label_count"] = "none",
    class_weight_C: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Adaptive sparse softmax loss for multi-hot targets; its decision rule is `logit > 0`.

    A negative stays in the loss while its softmax probability is less than `delta` below that of the weakest positive,
    a positive while its own is less than `delta` above that of the strongest negative. A row without positives
    keeps all its negatives, and the reverse.

    Args:
        logits_BC: Scores, finite.
        targets_BC: Multi-hot, bool or 0/1.
        delta: Margin in (0, 1]; 1 masks nothing and is the plain multi-label softmax loss (ZLPR).
        delta_scaling: `label_count` divides delta by a row's number of labels, because the weakest of n positives has
            at most the probability 1/n, and nothing lies further below it. Then 1 masks, too.
        class_weight_C: Of each label, as in ZLPR.
        reduction: `none` gives the loss of each row `[B]`.

    Returns:
        The mean over the rows, or the rows' losses; exactly 0 for a row whose opponents are all beaten.

    Raises:
        ValueError: delta is outside (0, 1].
    """
    _require_delta(delta)
    positive_BC = targets_BC.bool()
    logits_BC = logits_BC.to(computed_in(logits_BC.dtype))
    negative_BC = ~positive_BC
    if delta_scaling == "label_count":
        delta_B1 = delta / positive_BC.sum(dim=-1, keepdim=True).clamp(min=1)
        negative_BC, positive_BC = _unbeaten(logits_BC.detach(), positive_BC, delta_B1)
    elif delta < 1:
        negative_BC, positive_BC = _unbeaten(logits_BC.detach(), positive_BC, delta)
    return reduce(zlpr_of_kept(logits_BC, negative_BC, positive_BC, class_weight_C), reduction)


def _unbeaten(logits_BC: Tensor, positive_BC: Tensor, delta_B1: Tensor | float) -> tuple[Tensor, Tensor]:
    """The negatives and the positives that stay in the loss."""
    probability_BC = logits_BC.softmax(dim=-1)
    weakest_positive_B1 = probability_BC.masked_fill(~positive_BC, torch.inf).amin(dim=-1, keepdim=True)
    strongest_negative_B1 = probability_BC.masked_fill(positive_BC, -torch.inf).amax(dim=-1, keepdim=True)
    # Infinite where a row has none of that kind: then nothing has been beaten, and all of the other kind stays.
    keep_negative_BC = (weakest_positive_B1 - probability_BC <= delta_B1) | weakest_positive_B1.isinf()
    keep_positive_BC = (probability_BC - strongest_negative_B1 <= delta_B1) | strongest_negative_B1.isinf()
    return ~positive_BC & keep_negative_BC, positive_BC & keep_positive_BC


def _require_delta(delta: float) -> None:
    if not 0 < delta <= 1:
        raise ValueError(f"delta must be in (0, 1], got {delta}")
