"""Which device a graph is computed on: what can be had here, and how onnxruntime is brought to use it."""

import contextlib
import ctypes
import functools
import logging
import re
import sys
import threading
from typing import TYPE_CHECKING, Literal

from model.errors import LabelsetError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, SessionOptions

Device = Literal["auto", "cpu", "cuda"]
UsedDevice = Literal["cpu", "cuda"]

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_CUDA_DRIVER = "libcuda.so.1"
_CUDA_OPTIONS = {
    # Batches come in every size. By default convolutions are tried out at the first batch of each, while its callers
    # wait; asking cuDNN which to take is quick.
    "cudnn_conv_algo_search": "HEURISTIC",
    # By default products of float32 are rounded to 10 bits, which can move probabilities by more than a bundle's golden
    # examples allow. Who wants that speed exports float16, and its label sets are checked at that precision.
    "use_tf32": "0",
}
# In a page of the runtime's own function signatures.
_CUDA_FAILURE = re.compile(r"CUDA failure [^;\n]*")

logger = logging.getLogger("labelset.model")
_loading_cuda = threading.Lock()


class DeviceUnavailable(LabelsetError):
    """The device that was asked for is not to be had."""

    code = "device_unavailable"


def available_devices() -> list[str]:
    """Devices for which this installation has what it needs, the preferred one first."""
    return ["cpu"] if _missing_for_cuda() else ["cuda", "cpu"]


def load_graph(path: str, options: "SessionOptions", device: Device) -> "tuple[InferenceSession, UsedDevice]":
    """Load a graph onto a device.

    Args:
        path: An ONNX file.
        options: Of the session.
        device: `auto` takes CUDA where it can be used, else the CPU.

    Returns:
        The session, and the device it is on.

    Raises:
        DeviceUnavailable: `cuda` was asked for and cannot be used; it says why.
        Exception: whatever onnxruntime raises for a graph that it cannot load.
    """
    from onnxruntime import InferenceSession

    missing = _missing_for_cuda()
    if device == "cuda" and missing:
        raise DeviceUnavailable(f"device must be one of {available_devices()} here, got 'cuda': {missing}")
    if device == "cpu" or missing:
        return InferenceSession(path, options, providers=[_CPU]), "cpu"
    _load_cuda()
    try:
        # Its own fallback prints to standard output, and says nothing to who asks where it computes.
        session = InferenceSession(path, options, providers=[(_CUDA, _CUDA_OPTIONS), _CPU], enable_fallback=0)
        failure = "" if _CUDA in session.get_providers() else "onnxruntime could not load its CUDA libraries"
    except Exception as error:
        of_cuda = _CUDA_FAILURE.search(str(error))
        failure = of_cuda.group().strip() if of_cuda else str(error)
        session = InferenceSession(path, options, providers=[_CPU])  # raises where it was the graph
    if not failure:
        return session, "cuda"
    if device == "cuda":
        raise DeviceUnavailable(f"device must be usable, got 'cuda': {failure}")
    logger.warning("CUDA cannot be used, the model is computed on the CPU: %s", failure)
    return session, "cpu"


@functools.cache
def _missing_for_cuda() -> str | None:
    """What is missing for CUDA; None where nothing is, which does not mean yet that the runtime can use it."""
    from onnxruntime import get_available_providers

    offered = get_available_providers()
    if _CUDA not in offered:
        return f"onnxruntime offers {offered}; the CUDA build comes with the extra 'gpu'"
    try:
        driver = ctypes.CDLL(_CUDA_DRIVER)
    except OSError as error:
        return f"there is no driver ({error})"
    failed = driver.cuInit(0)
    return f"the driver finds no GPU that it can use (CUDA error {failed})" if failed else None


def _load_cuda() -> None:
    """Load the CUDA libraries that pip has installed; the runtime itself looks in the folders of the system alone."""
    from onnxruntime import preload_dlls

    # It prints what it does not find. One at a time: standard output is that of all threads.
    with _loading_cuda, contextlib.redirect_stdout(sys.stderr):
        preload_dlls()
