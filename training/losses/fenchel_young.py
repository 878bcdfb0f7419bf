"""The losses that belong to sparsemax and entmax-1.5, for soft targets (SPEC 3.7).

A Fenchel-Young loss of a map `p(x)` with entropy H is `L(x, eta) = (p - eta) . x + H(p) - H(eta)`: 0 exactly where the
map gives eta, with the gradient `p - eta`. Their decision is the support of the map.
"""

from collections.abc import Callable

from torch import Tensor

from model.sparse_softmax.torch_plain import computed_in
from training import maps
from training.losses.eta import label_distribution
from training.losses.reduction import Reduction, reduce


def sparsemax_huber(logits_BC: Tensor, targets_BC: Tensor, reduction: Reduction = "mean") -> Tensor:
    """The sparsemax loss with eta (Martins & Astudillo 2016); for two classes it is a Huber loss.

    A row without labels has loss 0. `reduction="none"` gives the loss of each row `[B]`.
    """
    return reduce(_fenchel_young(logits_BC, targets_BC, maps.sparsemax, _gini), reduction)


def entmax15(logits_BC: Tensor, targets_BC: Tensor, reduction: Reduction = "mean") -> Tensor:
    """The entmax-1.5 loss with eta (Peters, Niculae & Martins 2019).

    A row without labels has loss 0. `reduction="none"` gives the loss of each row `[B]`.
    """
    return reduce(_fenchel_young(logits_BC, targets_BC, maps.entmax15, _tsallis15), reduction)


def _fenchel_young(
    logits_BC: Tensor, targets_BC: Tensor, of_map: Callable[[Tensor], Tensor], entropy: Callable[[Tensor], Tensor]
) -> Tensor:
    positive_BC = targets_BC.bool()
    logits_BC = logits_BC.to(computed_in(logits_BC.dtype))
    # The loss does not see an offset that all logits share, but it would cost it its digits.
    logits_BC = logits_BC - logits_BC.detach().amax(dim=-1, keepdim=True)
    eta_BC = label_distribution(positive_BC, logits_BC.dtype)
    # p maximises p . x + H(p), so what it contributes to the gradient by moving is 0: it may stand still.
    probability_BC = of_map(logits_BC.detach())
    loss_B = ((probability_BC - eta_BC) * logits_BC).sum(dim=-1) + entropy(probability_BC) - entropy(eta_BC)
    return loss_B * positive_BC.any(dim=-1)


def _gini(p_BC: Tensor) -> Tensor:
    return (1 - p_BC.square().sum(dim=-1)) / 2


def _tsallis15(p_BC: Tensor) -> Tensor:
    return (1 - (p_BC * p_BC.sqrt()).sum(dim=-1)) / 0.75
