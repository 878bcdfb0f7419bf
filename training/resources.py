"""What training takes of the machine: time, and memory at its peak."""

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
