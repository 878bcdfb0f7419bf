"""What training takes of the machine: time, and memory, which it keeps while it runs."""

import ctypes
import resource
import time

import torch

from training.checkpoint import Progress


class Clock:
    """Adds the time of a stretch of training, on the wall and on the processors, to a run's progress."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._started = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        """End the stretch."""
        self._progress.seconds += time.perf_counter() - self._started[0]
        self._progress.cpu_seconds += time.process_time() - self._started[1]


def peak_memory_bytes() -> int:
    """Of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# Of <malloc.h>, and the most that its calls take.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _LARGEST = -1, -3, 2**31 - 1


def keep_freed_memory() -> bool:
    """Let the C library keep what is freed, for the rest of the process; False where it cannot be told so.

    On a CPU each step frees and allocates gradients and activations of megabytes. Given back to the kernel each time,
    every page of them is cleared and mapped anew.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # only glibc has it
        return False
    return all(mallopt(parameter, _LARGEST) == 1 for parameter in (_TRIM_THRESHOLD, _MMAP_THRESHOLD))
