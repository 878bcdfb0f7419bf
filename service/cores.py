"""Which processor cores this process may use, which are not all that the machine has, and who stays on which."""

import math
import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def bound_cores() -> list[int]:
    """Cores that this process is bound to; none where the system does not bind processes to cores."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def usable_cores(quota_file: Path = _QUOTA) -> int:
    """Cores that this process is bound to, or its container's share of them where that is less; at least 1.

    A container of two cores on a machine of 64 that takes itself for 64 starts 64 threads, which wait for one another.
    """
    bound = len(bound_cores()) or os.cpu_count() or 1
    try:
        quota, period = quota_file.read_text().split()
        return max(1, min(bound, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or "max": there is no limit
        return bound


class OwnCores:
    """Keeps threads that compute each on a core of its own.

    The system puts two of them on one core now and then, and leaves another idle for a moment: one that has just woken
    goes where who woke it is, and a core that is idle only for moments takes none from the others.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._threads = Counter(dict.fromkeys(bound_cores(), 0))

    @contextmanager
    def one(self) -> Iterator[None]:
        """Keep this thread on the core that has the fewest of them; it ends within."""
        with self._changing:
            core = min(self._threads, key=lambda core: self._threads[core])
            self._threads[core] += 1
        with suppress(OSError):  # a core that this process has lost since: then it goes where it may
            os.sched_setaffinity(0, {core})
        try:
            yield
        finally:
            with self._changing:
                self._threads[core] -= 1
