"""The probability maps that r-softmax is compared with, by name (SPEC 1.1, 1.2, 1.6); all over the last axis.

r-softmax itself, and the t-softmax and weighted softmax that it is made of, are those of `model.sparse_softmax`.
"""

from collections.abc import Callable

import entmax
import torch
from torch import Tensor

from model.sparse_softmax.torch_op import t_softmax, weighted_softmax
from model.sparse_softmax.torch_plain import computed_in


def softmax(logits: Tensor, threshold: float = 0.0) -> Tensor:
    """Softmax in which what does not lie above `threshold` (p0, in [0, 1)) is 0; the rest is left as it is.

    Args:
        logits: [..., C] scores; -inf marks a masked class.
        threshold: p0. A row sums to 1 only where nothing was cut.
    """
    probabilities = logits.softmax(dim=-1)
    return probabilities * (probabilities > threshold)


def sigmoid(logits: Tensor) -> Tensor:
    """Each class on its own: no distribution."""
    return logits.sigmoid()


def sparsemax(logits: Tensor) -> Tensor:
    """The nearest point of the probability simplex (Martins & Astudillo 2016); as a rule it has zeros."""
    return _in_float32(entmax.sparsemax, logits)


def entmax15(logits: Tensor) -> Tensor:
    """Half-way between softmax and sparsemax (Peters, Niculae & Martins 2019)."""
    return _in_float32(entmax.entmax15, logits)


def sparsehourglass(logits: Tensor, q: float = 1.0) -> Tensor:
    """`sparsemax(a x)` with `a` of `hourglass_scale` (Laha et al. 2018).

    Args:
        logits: [..., C] scores, finite.
        q: Above 0. A large q approaches sparsemax, a small one normalisation by the sum.
    """
    return _in_float32(lambda x: entmax.sparsemax(hourglass_scale(x, q) * x), logits)


def hourglass_scale(logits: Tensor, q: float = 1.0) -> Tensor:
    """`a = (1 + C q) / (|sum_i x_i| + C q)`, one for each row `[..., 1]`."""
    class_count = logits.shape[-1]
    return (1 + class_count * q) / (logits.sum(dim=-1, keepdim=True).abs() + class_count * q)


def top_k_softmax(logits: Tensor, k: int) -> Tensor:
    """Softmax over the k largest logits; the others are 0. Of equal logits at the cut, any.

    Args:
        logits: [..., C] scores; -inf marks a masked class.
        k: At least 1; more than there are classes means all of them.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    largest = logits.topk(min(k, logits.shape[-1]), dim=-1).indices
    kept = torch.full_like(logits, -torch.inf).scatter(-1, largest, logits.gather(-1, largest))
    return kept.softmax(dim=-1)


def _in_float32(of_map: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    """Sums over many classes lose too much in half precision."""
    return of_map(logits.to(computed_in(logits.dtype))).to(logits.dtype)


MAPS: dict[str, Callable[..., Tensor]] = {
    "softmax": softmax,
    "sigmoid": sigmoid,
    "sparsemax": sparsemax,
    "entmax15": entmax15,
    "sparsehourglass": sparsehourglass,
    "top_k_softmax": top_k_softmax,
    "t_softmax": t_softmax,
    "weighted_softmax": weighted_softmax,
}
