"""r-softmax by the compiled library, for float32 rows: called through ctypes, so that nothing is built against torch.

The functions are those of `native/labelset.h`. A library with CUDA kernels has each of them a second time, as
`labelset_cuda_...`: with `is_half` after the logits, a stream in place of the number of threads, and an error code.

Shape suffixes: R the rows (every axis but the last), C classes, 1 and 2 an axis of that length. All are contiguous.
"""

import ctypes
from functools import cache

import torch
from torch import Tensor

from model.sparse_softmax import native

_POINTER, _INT64, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
_ARGUMENTS = {
    "r_softmax": [_POINTER, _POINTER, _INT64, _INT64, _INT64, _POINTER, _INT],
    "r_softmax_forward": [_POINTER, _POINTER, _INT64, _INT64, _INT64, _INT, *[_POINTER] * 4, _INT],
    "r_softmax_backward": [*[_POINTER] * 6, _INT64, _INT64, _POINTER, _INT],
}
_FLOAT32 = 0  # is_half


def serves(logits: Tensor) -> bool:
    """Whether there is a library, and it computes this type on this device."""
    library = _library()
    if library is None or logits.dtype != torch.float32:
        return False
    return logits.device.type == "cpu" or (logits.device.type == "cuda" and _has_cuda(library))


def instructions(logits: Tensor) -> str:
    """What the library runs these logits on: "cuda", or the instructions of this CPU, as "avx512"."""
    library = _library()
    assert library is not None
    return "cuda" if logits.device.type == "cuda" else library.labelset_cpu_path().decode()


def probabilities(logits_RC: Tensor, rate: Tensor) -> Tensor:
    """The probabilities alone."""
    probabilities_RC = torch.empty_like(logits_RC)
    rates, rate_step = _rates(logits_RC, rate)
    _call("r_softmax", logits_RC, rates, rate_step, *_shape(logits_RC), probabilities_RC)
    return probabilities_RC


def forward(logits_RC: Tensor, rate: Tensor, exact_gradient: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Also find the cut, and how it moves with the logits.

    Returns:
        probabilities_RC, cut_R1, and anchors_R2, shares_R2: the entries that the cut moves with, and how much.
    """
    rows = logits_RC.shape[:-1]
    probabilities_RC = torch.empty_like(logits_RC)
    cut_R1, shares_R2 = logits_RC.new_empty((*rows, 1)), logits_RC.new_empty((*rows, 2))
    anchors_R2 = logits_RC.new_empty((*rows, 2), dtype=torch.int64)
    rates, rate_step = _rates(logits_RC, rate)
    results = probabilities_RC, cut_R1, anchors_R2, shares_R2
    _call("r_softmax_forward", logits_RC, rates, rate_step, *_shape(logits_RC), exact_gradient, *results)
    return results


def backward(
    logits_RC: Tensor,
    probabilities_RC: Tensor,
    cut_R1: Tensor,
    anchors_R2: Tensor,
    shares_R2: Tensor,
    gradient_RC: Tensor,
) -> Tensor:
    """The gradient of the logits from that of the probabilities."""
    logits_gradient_RC = torch.empty_like(logits_RC)
    cut = cut_R1, anchors_R2, shares_R2
    _call("r_softmax_backward", logits_RC, probabilities_RC, *cut, gradient_RC, *_shape(logits_RC), logits_gradient_RC)
    return logits_gradient_RC


def _rates(logits_RC: Tensor, rate: Tensor) -> tuple[Tensor, int]:
    """float64 where the logits are, and the step from one row's rate to the next."""
    rate = rate.to(device=logits_RC.device, dtype=torch.float64)
    if rate.ndim == 0:
        return rate, 0
    # The library cannot see that there are fewer rates than rows: `expand` refuses them.
    return rate.expand(logits_RC.shape[:-1]).contiguous(), 1


def _shape(logits_RC: Tensor) -> tuple[int, int]:
    class_count = logits_RC.shape[-1]
    return logits_RC.numel() // class_count, class_count


def _call(name: str, logits: Tensor, *arguments: Tensor | int) -> None:
    library = _library()
    passed = [argument.data_ptr() if isinstance(argument, Tensor) else argument for argument in arguments]
    if logits.device.type == "cpu":
        getattr(library, f"labelset_{name}")(logits.data_ptr(), *passed, torch.get_num_threads())
        return
    with torch.cuda.device(logits.device):
        stream = torch.cuda.current_stream().cuda_stream
        code = getattr(library, f"labelset_cuda_{name}")(logits.data_ptr(), _FLOAT32, *passed, stream)
    if code != 0:
        raise RuntimeError(f"labelset_cuda_{name} must return 0, got CUDA error {code}")


@cache
def _library() -> ctypes.CDLL | None:
    path = native.library_path()
    if path is None:
        return None
    library = ctypes.CDLL(str(path))
    library.labelset_cpu_path.restype = ctypes.c_char_p
    for name, arguments in _ARGUMENTS.items():
        function = getattr(library, f"labelset_{name}")
        function.argtypes, function.restype = arguments, None
        if _has_cuda(library):
            function = getattr(library, f"labelset_cuda_{name}")
            function.argtypes, function.restype = [arguments[0], _INT, *arguments[1:-1], _POINTER], _INT
    return library


@cache
def _has_cuda(library: ctypes.CDLL) -> bool:
    return hasattr(library, "labelset_cuda_r_softmax")
