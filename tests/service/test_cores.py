"""The cores that the service counts on."""

import itertools
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from service.cores import OwnCores, usable_cores
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


@pytest.mark.parametrize(
    ("given", "devices", "expected"),
    [
        ({}, ["cpu"], usable_cores() == BOUND),
        ({"runners": BOUND + 1}, ["cpu"], False),
        ({"runtime_threads": 2}, ["cpu"], False),
        ({"decode_threads": BOUND + 1}, ["cpu"], False),
        ({}, ["cuda", "cpu"], False),
    ],
)
def test_runners_keep_their_cores_where_there_is_one_for_each(given, devices, expected):
    assert Settings(**given).load_settings(devices).own_cores == expected


def test_threads_that_compute_share_the_cores_and_another_takes_the_place_of_one_that_has_ended():
    own, found = OwnCores(), []
    all_there = threading.Barrier(2 * BOUND)

    def compute():
        with own.one():
            all_there.wait(30)
            found.append(tuple(os.sched_getaffinity(0)))

    for _ in range(2):
        threads = [threading.Thread(target=compute) for _ in range(2 * BOUND)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(found) == sorted(2 * [(core,) for core in os.sched_getaffinity(0)])
        found.clear()


@pytest.mark.skipif(BOUND == 1 or usable_cores() != BOUND, reason="needs two cores, and all of them")
def test_runners_of_a_service_that_is_at_work_are_on_different_cores(serve):
    service = serve(device="cpu")
    texts = [f"{number} disks were encrypted" for number in range(64)]

    def ask(part):
        return httpx.post(f"{service.url}/predict", json={"texts": part}, timeout=60).status_code

    with ThreadPoolExecutor(8) as callers:
        assert set(callers.map(ask, [texts[n : n + 8] for n in range(0, 64, 8)] * 4)) == {200}
    pids = [task.read_text().split() for task in Path(f"/proc/{service.process.pid}/task").glob("*/children")]
    [process] = itertools.chain.from_iterable(pids)
    affinities = [os.sched_getaffinity(int(task.name)) for task in Path(f"/proc/{process}/task").iterdir()]
    bound = [tuple(cores) for cores in affinities if len(cores) == 1]
    assert len(bound) == len(set(bound)) > 1
