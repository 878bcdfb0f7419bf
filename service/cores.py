"""How many processor cores this process may use, which is not how many the machine has."""

import math
import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(quota_file: Path = _QUOTA) -> int:
    """Cores that this process is bound to, or its container's share of them where that is less; at least 1.

    A container of two cores on a machine of 64 that takes itself for 64 starts 64 threads, which wait for one another.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = quota_file.read_text().split()
        return max(1, min(bound, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or "max": there is no limit
        return bound
