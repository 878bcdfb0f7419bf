import platform
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from training.checkpoint import Progress
from training.resources import Clock, peak_memory_bytes


def test_a_clock_adds_stretches_and_leaves_out_what_lies_between():
    progress = Progress(seconds=10.0, cpu_seconds=5.0)
    taken = 0.0
    for _ in range(2):
        started = time.perf_counter()
        clock = Clock(progress)
        time.sleep(0.1)
        clock.stop()
        taken += time.perf_counter() - started
        time.sleep(0.2)
    assert 0.2 <= progress.seconds - 10 <= taken
    # Sleep takes no processor.
    assert progress.cpu_seconds - 5 < 0.1


def test_a_clock_counts_the_time_of_the_processor():
    progress = Progress()
    clock = Clock(progress)
    started = time.process_time()
    while time.process_time() - started < 0.1:
        pass
    clock.stop()
    assert progress.cpu_seconds >= 0.1


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU it is the GPU's memory that counts")
def test_peak_memory_is_that_of_the_process_in_bytes():
    [kibibytes] = re.findall(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    # What the kernel reports may include the process that started this one, but not a thousand times as much.
    assert 0.9 <= peak_memory_bytes() / (1024 * int(kibibytes)) < 10


_FAULTS = """
import resource, torch
from training.resources import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
def use():
    torch.ones(16 * 1024 * 1024).sum()
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(40):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep memory")
def test_memory_that_is_kept_is_not_mapped_anew():
    given_back, kept = (
        int(subprocess.run([sys.executable, "-c", _FAULTS.format(keep=keep)], capture_output=True, check=True).stdout)
        for keep in (False, True)
    )
    # 64 MiB in pages, 40 times, against a few times, where the place of the last could not be had again.
    assert given_back > 4 * max(kept, 10)
