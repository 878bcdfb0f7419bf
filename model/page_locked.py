"""Arrays in page-locked memory, from which a GPU fetches its input by itself.

From ordinary memory the CUDA driver copies on a core first, while whoever runs the graph waits. Page-locking takes far
longer than such a copy, so memory that has been locked is kept, and used again for another array.
"""

import contextlib
import ctypes
import functools
import logging
import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

# Of all sessions together. Such memory is taken from all others on the machine; batches of larger pictures do without.
_MAX_BYTES = 256 * 1024 * 1024
# Smaller blocks would save nothing: memory is locked by the page.
_SMALLEST_BLOCK = 4096
# The block is page-locked for every GPU of the machine, not for the current one alone (cudaHostAllocPortable).
_FOR_EVERY_GPU = 1

logger = logging.getLogger("labelset.model")


class PageLockedMemory:
    """Blocks of memory that are lent to arrays and kept afterwards. May be used from several threads at once."""

    def __init__(
        self, allocate: Callable[[int], int | None], release: Callable[[int], object], max_bytes: int = _MAX_BYTES
    ) -> None:
        """Begin without any block.

        Args:
            allocate: Bytes -> the address of so many in page-locked memory, or None where there is no more.
            release: Gives back what `allocate` gave.
            max_bytes: Of all blocks, lent or kept.
        """
        self._allocate = allocate
        self._release = release
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: dict[int, list[int]] = {}  # addresses of the blocks that are not lent, by their size
        self._growing = threading.Lock()

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """As `numpy.empty`, of numbers, in page-locked memory; in ordinary memory where there is no more of that."""
        dtype = np.dtype(dtype)
        # A power of two: batches differ in size, and the blocks should not.
        size = 1 << (max(_SMALLEST_BLOCK, math.prod(shape) * dtype.itemsize) - 1).bit_length()
        try:
            address: int | None = self._kept.setdefault(size, []).pop()
        except IndexError:
            address = self._grow(size)
        return np.empty(shape, dtype) if address is None else np.asarray(_Lent(self, size, address, shape, dtype))

    def take_back(self, size: int, address: int) -> None:
        """Keep a block that no array lies in any more."""
        self._kept[size].append(address)  # without the lock: this may happen anywhere, also while it is held

    def _grow(self, size: int) -> int | None:
        if size > self._max_bytes:
            return None
        with self._growing:
            if self._bytes + size > self._max_bytes:
                self._shrink()
            if self._bytes + size > self._max_bytes:
                return None
            address = self._allocate(size)
            if address is not None:
                self._bytes += size
            return address

    def _shrink(self) -> None:
        """Give back what is not lent: blocks of other sizes, from batches of another time."""
        for size, addresses in list(self._kept.items()):
            with contextlib.suppress(IndexError):  # another thread may take the last one
                while True:
                    self._release(addresses.pop())
                    self._bytes -= size


class _Lent:
    """A block as numpy reads it. Arrays and their views keep it alive; the last of them gives it back."""

    def __init__(
        self, memory: PageLockedMemory, size: int, address: int, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self._memory, self._size, self._address = memory, size, address
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": dtype.str, "data": (address, False)}

    def __del__(self) -> None:
        self._memory.take_back(self._size, self._address)


@functools.cache
def of_cuda() -> PageLockedMemory:
    """Memory that CUDA locks, by the runtime library that this onnxruntime has loaded for a session on CUDA.

    Without that library, as where onnxruntime was built for a system of its own, all arrays lie in ordinary memory.
    """
    from onnxruntime import cuda_version

    try:
        # By the name alone, which finds the library that is loaded already, wherever it lies.
        runtime = ctypes.CDLL(f"libcudart.so.{cuda_version.split('.')[0]}")
    except OSError as error:
        logger.warning("a GPU is fed from ordinary memory: %s", error)
        return PageLockedMemory(lambda size: None, lambda address: None)
    runtime.cudaHostAlloc.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t, ctypes.c_uint]
    runtime.cudaFreeHost.argtypes = [ctypes.c_void_p]

    def allocate(size: int) -> int | None:
        address = ctypes.c_void_p()
        if runtime.cudaHostAlloc(ctypes.byref(address), size, _FOR_EVERY_GPU):
            runtime.cudaGetLastError()  # which forgets it: else the graph's next kernel would be taken to have failed
            return None
        return address.value

    return PageLockedMemory(allocate, runtime.cudaFreeHost)
