"""r-softmax as torch knows it: an autograd function, and registered operators for whatever is not plain eager mode.

Rows that the compiled library knows go to it where there is one, all others to plain torch operations. The arguments
are trusted here: `torch_op` checks them, and brings half precision to float32.
"""

from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable

from model.sparse_softmax import torch_native, torch_plain


def r_softmax(logits: Tensor, rate: Tensor, exact_gradient: bool) -> Tensor:
    """r-softmax of float32 or float64 logits, by the shortest way that all who follow the computation can follow."""
    needs_gradient = logits.requires_grad and torch.is_grad_enabled()
    if is_eager(logits):
        # Past the dispatcher, which would take as long as the softmax of a small batch.
        if needs_gradient or forward_ad._current_level >= 0:  # which it then refuses
            return _RSoftmax.apply(_contiguous(logits), rate, exact_gradient)  # type: ignore[no-any-return, no-untyped-call]
        return _probabilities(logits, rate)
    if _is_forward_mode():
        raise NotImplementedError("r-softmax has no forward-mode derivative, only that of a backward pass (SPEC 1.5)")
    # A graph for inference holds the bare symbol; so does a forward pass that no gradient will follow.
    if torch.compiler.is_exporting() or not needs_gradient:
        probabilities: Tensor = operator(logits, rate)
    else:
        probabilities, *_ = operator_with_cut(logits, rate, exact_gradient)
    return probabilities


def is_eager(tensor: Tensor) -> bool:
    """Whether this is memory with numbers in it, and nobody but autograd follows what is done to it."""
    # Of the functorch transforms, dispatch modes and tracers, torch has no public question.
    return (
        not torch.compiler.is_compiling()
        and type(tensor) in (Tensor, torch.nn.Parameter)
        and not torch._C._are_functorch_transforms_active()
        and torch._C._len_torch_dispatch_stack() == 0
        and torch._C._get_tracing_state() is None
    )


def _is_forward_mode() -> bool:
    """Whether a functorch transform pushes tangents through, which a registered operator would drop."""
    if torch.compiler.is_compiling() or not torch._C._are_functorch_transforms_active():
        return False
    forward_mode = torch._C._functorch.TransformType.Jvp
    return any(transform.key() == forward_mode for transform in torch._C._functorch.get_interpreter_stack() or [])


class _RSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, rate: Tensor, exact_gradient: bool) -> Tensor:
        ctx.implementation = _implementation(logits)
        probabilities, *cut = ctx.implementation.forward(logits, rate, exact_gradient)
        saved = logits, probabilities, *cut
        ctx.dtypes = [tensor.dtype for tensor in saved]
        ctx.save_for_backward(*saved)
        return probabilities  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        with torch.no_grad():
            saved = [_contiguous(tensor) for tensor in ctx.saved_tensors]
            # Hooks on saved tensors may have changed their type, and gradients may come in batches: the library reads
            # memory and would not notice.
            is_plain_memory = is_eager(gradient) and not torch._C._functorch.is_legacy_batchedtensor(gradient)
            is_as_saved = is_plain_memory and [tensor.dtype for tensor in saved] == ctx.dtypes
            implementation = ctx.implementation if is_as_saved else torch_plain
            result = implementation.backward(*saved, _contiguous(gradient))
        if torch.is_grad_enabled() and is_plain_memory:
            result = _DifferentiatedOnce.apply(result, ctx.saved_tensors[0], gradient)  # type: ignore[no-untyped-call]
        return result, None, None


class _DifferentiatedOnce(torch.autograd.Function):
    """Ties a gradient to what it was computed from, so that to differentiate it is an error, not 0 (SPEC 1.5)."""

    @staticmethod
    def forward(ctx: Any, result: Tensor, *_sources: Tensor) -> Tensor:
        return result.view_as(result)

    @staticmethod
    def backward(ctx: Any, *_gradients: Tensor) -> Any:
        raise RuntimeError("trying to differentiate r-softmax twice: it has no second derivative (SPEC 1.5)")


@torch.library.custom_op("labelset::r_softmax", mutates_args=())
def operator(logits: Tensor, rate: Tensor) -> Tensor:
    """r-softmax as graphs name it: two tensors in, one out."""
    return _probabilities(logits, rate)


@operator.register_fake
def _(logits: Tensor, rate: Tensor) -> Tensor:
    return logits.new_empty(logits.shape)


@torch.library.custom_op("labelset::r_softmax_with_cut", mutates_args=())
def operator_with_cut(logits: Tensor, rate: Tensor, exact_gradient: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """r-softmax for training; the results are those of `torch_plain.forward`."""
    logits = _contiguous(logits)
    return _implementation(logits).forward(logits, rate, exact_gradient)  # type: ignore[no-any-return]


@operator_with_cut.register_fake
def _(logits: Tensor, rate: Tensor, exact_gradient: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rows = logits.shape[:-1]
    anchors = logits.new_empty((*rows, 2), dtype=torch.int64)
    return logits.new_empty(logits.shape), logits.new_empty((*rows, 1)), anchors, logits.new_empty((*rows, 2))


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    probabilities, *cut = output
    ctx.mark_non_differentiable(*cut)
    ctx.save_for_backward(inputs[0], probabilities, *cut)


@once_differentiable
def _backward(ctx: Any, gradient: Tensor, *_none: None) -> tuple[Tensor, None, None]:
    # Plain operations: a compiler traces and fuses them.
    saved = *ctx.saved_tensors, gradient
    return torch_plain.backward(*saved), None, None


operator_with_cut.register_autograd(_backward, setup_context=_save_for_backward)


def _probabilities(logits: Tensor, rate: Tensor) -> Tensor:
    logits = _contiguous(logits)
    return _implementation(logits).probabilities(logits, rate)  # type: ignore[no-any-return]


def _implementation(logits: Tensor) -> ModuleType:
    return torch_native if torch_native.serves(logits) else torch_plain


def _contiguous(tensor: Tensor) -> Tensor:
    """The numbers in a row, as the library reads them: also without the sign that a view may only carry as a flag."""
    return tensor.resolve_neg().contiguous()
