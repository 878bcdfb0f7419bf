"""r-softmax by the compiled library, for float32 rows, and float16 ones on a CUDA device.

It is called through ctypes: nothing is built against torch.

The functions are those of `native/labelset.h`. A library with CUDA kernels has each of them a second time, as
`labelset_cuda_...`: with `is_half` after the logits, a stream in place of the number of threads, and an error code.

Shape suffixes: R the rows (every axis but the last), C classes, 1 and 2 an axis of that length. All are contiguous.
"""

import ctypes
import os
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from model.sparse_softmax import native

_POINTER, _INT64, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
_ARGUMENTS = {
    "r_softmax": [_POINTER, _POINTER, _INT64, _INT64, _INT64, _POINTER, _INT],
    "r_softmax_forward": [_POINTER, _POINTER, _INT64, _INT64, _INT64, _INT, *[_POINTER] * 4, _INT],
    "r_softmax_backward": [*[_POINTER] * 6, _INT64, _INT64, _POINTER, _INT],
}


def serves(logits: Tensor) -> bool:
    """Whether there is a library, and it computes this type on this device."""
    library = _library()
    if library is None:
        return False
    if logits.is_cuda:
        return logits.dtype in (torch.float32, torch.float16) and _has_cuda(library)
    return logits.dtype == torch.float32 and logits.is_cpu


def instructions(logits: Tensor) -> str:
    """What the library runs these logits on: "cuda", or the instructions of this CPU, as "avx512"."""
    library = _library()
    assert library is not None
    return "cuda" if logits.is_cuda else library.labelset_cpu_path().decode()


def probabilities(logits_RC: Tensor, rate: Tensor) -> Tensor:
    """The probabilities alone."""
    probabilities_RC = torch.empty_like(logits_RC)
    rates, rate_step = _rates(logits_RC, rate)
    _call("r_softmax", logits_RC, rates.data_ptr(), rate_step, *_shape(logits_RC), probabilities_RC.data_ptr())
    return probabilities_RC


def forward(logits_RC: Tensor, rate: Tensor, exact_gradient: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Also find the cut, and how it moves with the logits.

    Returns:
        probabilities_RC, cut_R1, and anchors_R2, shares_R2: the entries that the cut moves with, and how much.
    """
    rows = logits_RC.shape[:-1]
    probabilities_RC = torch.empty_like(logits_RC)
    cut_R1 = logits_RC.new_empty((*rows, 1), dtype=torch.float32)
    shares_R2 = logits_RC.new_empty((*rows, 2), dtype=torch.float32)
    anchors_R2 = logits_RC.new_empty((*rows, 2), dtype=torch.int64)
    rates, rate_step = _rates(logits_RC, rate)
    _call(
        "r_softmax_forward",
        logits_RC,
        rates.data_ptr(),
        rate_step,
        *_shape(logits_RC),
        exact_gradient,
        probabilities_RC.data_ptr(),
        cut_R1.data_ptr(),
        anchors_R2.data_ptr(),
        shares_R2.data_ptr(),
    )
    return probabilities_RC, cut_R1, anchors_R2, shares_R2


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
    _call(
        "r_softmax_backward",
        logits_RC,
        probabilities_RC.data_ptr(),
        cut_R1.data_ptr(),
        anchors_R2.data_ptr(),
        shares_R2.data_ptr(),
        gradient_RC.data_ptr(),
        *_shape(logits_RC),
        logits_gradient_RC.data_ptr(),
    )
    return logits_gradient_RC


def _rates(logits_RC: Tensor, rate: Tensor) -> tuple[Tensor, int]:
    """float64 where the logits are, and the step from one row's rate to the next."""
    rate = rate.to(device=logits_RC.device, dtype=torch.float64)
    if rate.ndim == 0:
        return rate, 0
    rows = logits_RC.shape[:-1]
    # The library cannot see that there are fewer rates than rows: `expand` refuses them.
    return (rate if rate.shape == rows else rate.expand(rows)).contiguous(), 1


def _shape(logits_RC: Tensor) -> tuple[int, int]:
    class_count = logits_RC.shape[-1]
    return logits_RC.numel() // class_count, class_count


def _call(name: str, logits: Tensor, *arguments: int) -> None:
    library = _library()
    if logits.is_cpu:
        if getattr(library, "labelset_" + name)(logits.data_ptr(), *arguments, torch.get_num_threads()) != 0:
            raise MemoryError(f"labelset_{name}: no memory for the scratch of a row of {logits.shape[-1]} classes")
        return
    with torch.cuda.device(logits.device):
        is_half, stream = logits.dtype == torch.float16, torch.cuda.current_stream().cuda_stream
        code = getattr(library, "labelset_cuda_" + name)(logits.data_ptr(), is_half, *arguments, stream)
    if code != 0:
        raise RuntimeError(f"labelset_cuda_{name} must return 0, got CUDA error {code}")


@cache
def _library() -> ctypes.CDLL | None:
    """Load it once in a process. A library that we built and that does not load is done without.

    Raises:
        LibraryNotFound: the environment names a file that does not exist.
        LibraryUnusable: the environment names a file that does not load.
    """
    path = native.library_path()
    if path is None:
        return None
    try:
        return _load(path)
    except (OSError, AttributeError) as error:  # of the loader, and of ctypes where a function is missing
        if os.environ.get(native.ENVIRONMENT_VARIABLE):
            rule = f"{native.ENVIRONMENT_VARIABLE} must name a library that loads here"
            raise native.LibraryUnusable(f"{rule}: {error}") from error
        return None


def _load(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path.resolve()))  # the loader would look for a bare name among the system's libraries
    library.labelset_cpu_path.restype = ctypes.c_char_p
    for name, arguments in _ARGUMENTS.items():
        function = getattr(library, "labelset_" + name)
        function.argtypes, function.restype = arguments, _INT
        if _has_cuda(library):
            function = getattr(library, "labelset_cuda_" + name)
            function.argtypes, function.restype = [arguments[0], _INT, *arguments[1:-1], _POINTER], _INT
    return library


@cache
def _has_cuda(library: ctypes.CDLL) -> bool:
    return hasattr(library, "labelset_cuda_r_softmax")
