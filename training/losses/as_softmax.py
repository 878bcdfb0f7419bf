"""AS-Softmax for label sets: only the opponents that are not yet beaten are learned from (SPEC 3.4)."""

import torch
from torch import Tensor

from training.losses.reduction import Reduction, reduce


def as_softmax_multilabel(logits_BC: Tensor, targets_BC: Tensor, delta: float, reduction: Reduction = "mean") -> Tensor:
    """Adaptive sparse softmax loss for multi-hot targets; its decision rule is `logit > 0`.

    A negative stays in the loss while its softmax probability is less than `delta` below that of the weakest positive,
    a positive while its own is less than `delta` above that of the strongest negative. A row without positives
    keeps all its negatives, and the reverse.

    Args:
        logits_BC: Scores, finite.
        targets_BC: Multi-hot, bool or 0/1.
        delta: Margin in (0, 1]; 1 masks nothing and is the plain multi-label softmax loss (ZLPR).
        reduction: `none` gives the loss of each row `[B]`.

    Returns:
        The mean over the rows, or the rows' losses; 0 for a row whose opponents are all beaten.

    Raises:
        ValueError: delta is outside (0, 1].
    """
    if not 0 < delta <= 1:
        raise ValueError(f"delta must be in (0, 1], got {delta}")
    positive_BC = targets_BC.bool()
    logits_BC = logits_BC.float() if logits_BC.dtype in (torch.float16, torch.bfloat16) else logits_BC
    keep_negative_BC, keep_positive_BC = ~positive_BC, positive_BC
    if delta < 1:
        probability_BC = logits_BC.detach().softmax(dim=-1)
        weakest_positive_B1 = probability_BC.masked_fill(~positive_BC, torch.inf).amin(dim=-1, keepdim=True)
        strongest_negative_B1 = probability_BC.masked_fill(positive_BC, -torch.inf).amax(dim=-1, keepdim=True)
        # Infinite where a row has none of that kind: then nothing has been beaten, and all of the other kind stays.
        keep_negative_BC = keep_negative_BC & (
            (weakest_positive_B1 - probability_BC <= delta) | weakest_positive_B1.isinf()
        )
        keep_positive_BC = keep_positive_BC & (
            (probability_BC - strongest_negative_B1 <= delta) | strongest_negative_B1.isinf()
        )
    return reduce(
        _log_one_plus_sum_exp(logits_BC, keep_negative_BC) + _log_one_plus_sum_exp(-logits_BC, keep_positive_BC),
        reduction,
    )


def _log_one_plus_sum_exp(x_BC: Tensor, keep_BC: Tensor) -> Tensor:
    """`log(1 + sum of exp(x) over the kept)` of each row, without overflow: the 1 is one more logit of value 0."""
    zero_B1 = x_BC.new_zeros((*x_BC.shape[:-1], 1))
    return torch.cat([x_BC.masked_fill(~keep_BC, -torch.inf), zero_B1], dim=-1).logsumexp(dim=-1)
