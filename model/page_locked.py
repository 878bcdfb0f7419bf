"""Arrays in page-locked memory, from which a GPU fetches its input by itself.

From ordinary memory the CUDA driver copies on a core first, while whoever runs the graph waits. Page-locking takes far
longer than such a copy, so memory that has been locked is kept, and used again for another array.
"""

import ctypes
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

# Smaller blocks would save nothing: memory is locked by the page.
_SMALLEST_BLOCK = 4096
# The block is page-locked for every GPU of the machine, not for the current one alone (cudaHostAllocPortable).
_FOR_EVERY_GPU = 1


class PageLockedMemory:
    """Blocks of memory that are lent to arrays and kept afterwards. May be used from several threads at once."""

    def __init__(self, allocate: Callable[[int], int | None], release: Callable[[int], None]) -> None:
        """Begin without any block.

        Args:
            allocate: Bytes -> the address of so many in page-locked memory, or None where there is no more.
            release: Gives back what `allocate` gave.
        """
        self._allocate = allocate
        self._release = release
        self._kept: dict[int, list[int]] = {}  # addresses of the blocks that are not lent, by their size

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """As `numpy.empty`, in page-locked memory, or in ordinary memory where there is no more of that."""
        dtype = np.dtype(dtype)
        # A power of two: batches differ in size, and the blocks should not.
        size = 1 << (max(_SMALLEST_BLOCK, math.prod(shape) * dtype.itemsize) - 1).bit_length()
        try:
            address: int | None = self._kept.setdefault(size, []).pop()
        except IndexError:
            address = self._allocate(size)
        return np.empty(shape, dtype) if address is None else np.asarray(_Lent(self, size, address, shape, dtype))

    def take_back(self, size: int, address: int) -> None:
        """Keep a block that no array lies in any more."""
        self._kept[size].append(address)

    def __del__(self) -> None:
        # What is lent refers to this memory, so that nothing is lent now.
        for addresses in self._kept.values():
            for address in addresses:
                self._release(address)


class _Lent:
    """A block as numpy reads it. Arrays and their views keep it alive; the last of them gives it back."""

    def __init__(
        self, memory: PageLockedMemory, size: int, address: int, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self._memory, self._size, self._address = memory, size, address
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": dtype.str, "data": (address, False)}

    def __del__(self) -> None:
        self._memory.take_back(self._size, self._address)


def of_cuda() -> PageLockedMemory:
    """Memory that CUDA locks, by the runtime library that this onnxruntime has loaded for a session on CUDA.

    Raises:
        OSError: there is no such library.
    """
    from onnxruntime import cuda_version

    # By the name alone, which finds the library that is loaded already, wherever it lies.
    runtime = ctypes.CDLL(f"libcudart.so.{cuda_version.split('.')[0]}")
    runtime.cudaHostAlloc.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t, ctypes.c_uint]
    runtime.cudaFreeHost.argtypes = [ctypes.c_void_p]

    def allocate(size: int) -> int | None:
        address = ctypes.c_void_p()
        failed = runtime.cudaHostAlloc(ctypes.byref(address), size, _FOR_EVERY_GPU)
        return None if failed else address.value

    return PageLockedMemory(allocate, runtime.cudaFreeHost)
