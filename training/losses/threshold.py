"""The loss of a learned t: where t-softmax should cut the logits of a row (SPEC 1.2, 2)."""

from torch import Tensor

from model.sparse_softmax.torch_plain import computed_in
from training.losses.reduction import Reduction
from training.losses.zlpr import zlpr


def threshold_loss(logits_BC: Tensor, t_B: Tensor, targets_BC: Tensor, reduction: Reduction = "mean") -> Tensor:
    """ZLPR of the logits above the cut `max x - t`: present labels should lie above it, absent ones below.

    Only t learns from it: what the logits are is for the loss of the classes to say. The distance of t-softmax's
    probabilities to eta is no substitute. Where one class survives it has no gradient, and it is small for a very large
    t too, where t-softmax is softmax and nothing is cut.

    Args:
        logits_BC: Scores, finite.
        t_B: Above 0, one a row.
        targets_BC: Multi-hot, bool or 0/1. t-softmax has no empty support; a row without labels asks for a small t.
        reduction: `none` gives the loss of each row `[B]`.
    """
    scores_BC = logits_BC.detach().to(computed_in(logits_BC.dtype))
    cut_B1 = scores_BC.amax(dim=-1, keepdim=True) - t_B.unsqueeze(-1)
    return zlpr(scores_BC - cut_B1, targets_BC, reduction=reduction)
