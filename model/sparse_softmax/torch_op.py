"""The sparse probability maps for training, and the symbol by which r-softmax enters an ONNX graph.

Meaning: SPEC.md. This module knows nothing of heads, losses or label counts predicted by a network.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from model.sparse_softmax import torch_kernel, torch_native
from model.sparse_softmax.torch_plain import computed_in, round_to

Gradient = Literal["constant_t", "exact"]


def weighted_softmax(logits: Tensor, weights: Tensor) -> Tensor:
    """Softmax in which every class counts as often as its weight says (SPEC 1.1).

    Args:
        logits: [..., C] scores; -inf marks a masked class.
        weights: [..., C], finite, at least 0, and not all 0 in a row. A weight of 0 receives no gradient.

    Returns:
        [..., C], the type of `logits`.

    Raises:
        ValueError: a weight or a row of weights that is not allowed, or another shape.
    """
    _require_logits(logits)
    if not torch.compiler.is_compiling():
        if weights.shape != logits.shape:
            shapes = f"{tuple(logits.shape)}, got {tuple(weights.shape)}"
            raise ValueError(f"weights must have the shape of the logits, {shapes}")
        _require((weights >= 0) & weights.isfinite(), weights, "weights must be finite and at least 0")
        _require(weights.any(dim=-1), weights.sum(dim=-1), "the sum of a row's weights must be above 0")
    return _weigh(logits, weights)


def t_softmax(logits: Tensor, t: float | Tensor) -> Tensor:
    """Softmax without the classes that lie `t` or more below the maximum (SPEC 1.2).

    Args:
        logits: [..., C] scores; -inf marks a masked class.
        t: Finite and above 0: one value, or one per row. It may require a gradient.

    Returns:
        [..., C], the type of `logits`.

    Raises:
        ValueError: a `t` that is not allowed, or another number of rows.
    """
    _require_logits(logits)
    scores = logits.to(computed_in(logits.dtype))
    t = _one_per_row(t, logits, "t", scores.dtype)
    if not torch.compiler.is_compiling():
        _require((t > 0) & t.isfinite(), t, "t must be finite and above 0")
    highest = scores.amax(dim=-1, keepdim=True)
    weights = torch.relu(scores - highest + t.unsqueeze(-1)).clamp(max=torch.finfo(scores.dtype).max)
    return _weigh(logits, weights)


def r_softmax(logits: Tensor, rate: float | Tensor, gradient: Gradient = "constant_t") -> Tensor:
    """Softmax in which the lowest classes, the fraction `rate` of the unmasked, are exactly 0 (SPEC 1.3).

    Args:
        logits: [..., C] scores; -inf marks a masked class.
        rate: The sparsity rate r in [0, 1]: one value, or one per row; a tensor should be float64.
        gradient: How the cut moves with the logits (SPEC 1.5): "constant_t" as in the paper, at a fixed distance below
            the maximum; "exact" with the two entries between which it lies.

    Returns:
        [..., C], the type of `logits`; each row sums to 1, or is all zeros where every class is masked.

    Raises:
        ValueError: a rate outside [0, 1], or another number of rows. Not checked while a graph is traced.
    """
    _require_logits(logits)
    rates = _one_per_row(rate, logits, "sparsity rate", torch.float64)
    if not torch.compiler.is_compiling():
        least, largest = _range(rate, rates)
        if not (least >= 0 and largest <= 1):
            raise ValueError(f"sparsity rate must be in [0, 1], got {largest if least >= 0 else least}")
    return _apply(logits, rates, gradient)


def r_softmax_count(logits: Tensor, label_count: int | Tensor, gradient: Gradient = "constant_t") -> Tensor:
    """r-softmax that leaves at most `label_count` classes (SPEC 1.3).

    Args:
        logits: [..., C] scores; -inf marks a masked class.
        label_count: k, at least 0: one value, or one per row. 0 gives a row of zeros; more than there are unmasked
            classes means all of them.
        gradient: As in `r_softmax`.

    Returns:
        [..., C], the type of `logits`.

    Raises:
        ValueError: a negative count, or another number of rows. Not checked while a graph is traced.
    """
    _require_logits(logits)
    counts = _one_per_row(label_count, logits, "label count", torch.float64)
    none_is_empty = False
    if not torch.compiler.is_compiling():
        least, _ = _range(label_count, counts)
        if not least >= 0:
            raise ValueError(f"label count must be at least 0, got {least}")
        none_is_empty = least > 0
    unmasked = _count_unmasked(logits)
    wanted_zeros = (unmasked - counts).clamp(min=0)
    some = unmasked.clamp(min=1) if isinstance(unmasked, Tensor) else unmasked
    probabilities = _apply(logits, wanted_zeros / some, gradient)
    # A product, not a selection: a row of NaN stays NaN at k = 0.
    return probabilities if none_is_empty else probabilities * (counts > 0).to(logits.dtype).unsqueeze(-1)


def implementation(logits: Tensor) -> str:
    """What answers `r_softmax` of such logits: "native (avx512)" or the like, or "torch"."""
    scores = logits.detach().to(computed_in(logits.dtype))
    return f"native ({torch_native.instructions(scores)})" if torch_native.serves(scores) else "torch"


def onnx_translation_table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """How `torch.onnx.export(dynamo=True, custom_translation_table=...)` writes the op: one bare node.

    The exporter inlines every function it is given, so the body is attached afterwards (`onnx_function.attach`).
    """
    # Only an export needs onnxscript, and it is slow to import.
    from onnx.defs import OpSchema
    from onnxscript import DOUBLE, FLOAT, values

    from model.sparse_softmax.onnx_function import DOMAIN, NAME

    schema = OpSchema(
        NAME,
        DOMAIN,
        1,
        inputs=[
            OpSchema.FormalParameter("logits", "tensor(float)"),
            OpSchema.FormalParameter("rate", "tensor(double)"),
        ],
        outputs=[OpSchema.FormalParameter("probabilities", "tensor(float)")],
    )
    node = values.Op(values.Opset(DOMAIN, 1), NAME, schema)

    def write_node(logits: FLOAT, rate: DOUBLE) -> FLOAT:
        return node(logits, rate)

    return {torch.ops.labelset.r_softmax.default: write_node}


def _weigh(logits: Tensor, weights: Tensor) -> Tensor:
    """Weighted softmax in logarithms, where neither weights nor logits can overflow; autograd follows it."""
    scores = logits.to(computed_in(logits.dtype))
    support = (weights > 0) & (scores != -torch.inf)
    exponents = torch.where(support, scores, -torch.inf)
    exponents = exponents - exponents.amax(dim=-1, keepdim=True).detach().clamp(min=torch.finfo(scores.dtype).min)
    log_weights = torch.where(support, weights, 1).to(torch.promote_types(weights.dtype, scores.dtype)).log()
    exponents = exponents + log_weights.to(scores.dtype)
    probabilities = round_to(logits.dtype, exponents.softmax(dim=-1), support)
    broken_row = (logits.isnan() | (logits == torch.inf)).any(dim=-1, keepdim=True)
    # In a row that is masked as a whole the softmax is 0 / 0.
    return probabilities.masked_fill(~support, 0).masked_fill(broken_row, torch.nan)


def _apply(logits: Tensor, rate: Tensor, gradient: Gradient) -> Tensor:
    if gradient not in ("constant_t", "exact"):
        raise ValueError(f'gradient must be "constant_t" or "exact", got {gradient!r}')
    # Only the library's CUDA kernels read half precision themselves, and a graph knows nothing of them.
    as_it_is = logits.dtype == torch.float16 and torch_kernel.is_eager(logits) and torch_native.serves(logits)
    scores = logits if as_it_is else logits.to(computed_in(logits.dtype))
    probabilities = torch_kernel.r_softmax(scores, rate, gradient == "exact")
    if probabilities.dtype == logits.dtype:
        return probabilities
    # The backward pass sees the float32 probabilities: one in half precision is too coarse to be divided by a small
    # weight. What rounding adds to keep a survivor above 0 has no gradient.
    rounded = probabilities.to(logits.dtype)
    return rounded + (round_to(logits.dtype, probabilities, probabilities != 0) - rounded).detach()


def _count_unmasked(logits: Tensor) -> int | Tensor:
    """The number of unmasked classes of each row, or of all; an `int` where no class is masked."""
    # To count takes a CPU longer than a softmax; to find the lowest logit, a tenth of one.
    shortcut = logits.is_cpu and torch_kernel.is_eager(logits) and logits.numel() > 0
    if shortcut and logits.detach().amin().item() > -torch.inf:
        return logits.shape[-1]
    # Not dim=-1: in a graph, onnxruntime 1.31 reduces an empty batch to the wrong shape along a negative axis.
    return (logits != -torch.inf).sum(dim=logits.ndim - 1)


def _require_logits(logits: Tensor) -> None:
    if not logits.is_floating_point():
        raise TypeError(f"logits must be of a floating-point type, got {logits.dtype}")
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise ValueError(f"logits must have at least one class, got shape {tuple(logits.shape)}")


def _one_per_row(value: float | Tensor, logits: Tensor, name: str, dtype: torch.dtype) -> Tensor:
    values = torch.as_tensor(value, dtype=dtype, device=logits.device)
    rows = logits.shape[:-1]
    if values.ndim > 0 and not torch.compiler.is_compiling() and values.shape != rows:
        raise ValueError(f"{name} must be one value or have one per row, {tuple(rows)}, got {tuple(values.shape)}")
    return values


def _range(value: float | Tensor, values: Tensor) -> tuple[float, float]:
    """The least and the largest of the values, both NaN where one is; 0 of no values."""
    if values.ndim == 0:
        # Not from the tensor, where a number was given: a GPU would have to be waited for.
        return float(value), float(value)
    if values.numel() == 0:
        return 0.0, 0.0
    least, largest = values.aminmax()
    return least.item(), largest.item()


def _require(allowed: Tensor, values: Tensor, rule: str) -> None:
    if not allowed.all():
        raise ValueError(f"{rule}, got {values[~allowed][0].item()}")
