"""The cores that the service counts on."""

import os
import subprocess
import sys

import pytest

from service.cores import usable_cores
from service.settings import Settings

BOUND = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("100000 100000", 1), ("50000 100000", 1), ("max 100000", BOUND), ("10000000000 100000", BOUND), ("", BOUND)],
)
def test_a_container_s_share_limits_them(tmp_path, quota, cores):
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert usable_cores(tmp_path / "cpu.max") == cores


def test_a_part_of_a_core_is_a_core(tmp_path):
    (tmp_path / "cpu.max").write_text("100001 100000\n")
    assert usable_cores(tmp_path / "cpu.max") == min(2, BOUND)


def test_without_a_quota_they_are_those_that_the_process_is_bound_to(tmp_path):
    code = f"""
import os, pathlib
os.sched_setaffinity(0, [{min(os.sched_getaffinity(0))}])
from service.cores import usable_cores
from service.settings import Settings
settings = Settings(device="cpu")
print(usable_cores(pathlib.Path({str(tmp_path / "none")!r})), settings.decode_threads, settings.runner_count([]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1", "1"]


@pytest.mark.parametrize(
    ("given", "runners", "threads"),
    [
        ({}, usable_cores(), 1),
        ({"runners": 1}, 1, usable_cores()),
        ({"runners": 64}, 64, 1),
        ({"runners": 3, "runtime_threads": 5}, 3, 5),
    ],
)
def test_on_a_cpu_runners_and_their_threads_are_as_many_as_the_cores(given, runners, threads):
    settings = Settings(device="cpu", **given)
    assert (settings.runner_count(["cuda", "cpu"]), settings.load_settings(["cuda", "cpu"]).threads) == (
        runners,
        threads,
    )


def test_where_cores_would_be_idle_while_runners_decode_others_help_them():
    on_a_gpu = Settings(decode_threads=8)
    assert (on_a_gpu.runner_count(["cuda", "cpu"]), on_a_gpu.load_settings(["cuda", "cpu"]).decode_threads) == (2, 8)
    assert Settings(decode_threads=8, runners=8).load_settings(["cpu"]).decode_threads == 0
