"""The clock on the wall jumps, as it does when a machine wakes up or its time is set: nothing here is decided by it.

The whole machine's clock is nobody's to set: a small library, loaded before the C library, gives a service a clock of
its own, which is told from a file by how many seconds it is wrong.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long wrong_by(void) {
    long seconds = 0;
    FILE *file = fopen(getenv("WRONG_BY"), "r");
    if (file) { if (fscanf(file, "%ld", &seconds) != 1) seconds = 0; fclose(file); }
    return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(clock, now);
    if (!status && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += wrong_by();
    return status;
}

time_t time(time_t *into) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (into) *into = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}
"""
OVER_A_YEAR = 400 * 24 * 3600


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    if not shutil.which("cc"):
        pytest.skip("needs a C compiler, cc")
    library = tmp_path / "clock.so"
    subprocess.run(
        ["cc", "-x", "c", "-shared", "-fPIC", "-O2", "-o", str(library), "-", "-ldl"],
        input=SOURCE, text=True, check=True,
    )  # fmt: skip
    (tmp_path / "wrong-by").write_text("0")
    return library


def _year(victim) -> int:
    """The year that it is for the service: JSON lines of its log say when they were written."""
    victim.require_unharmed()
    return int(victim.log.read_text().splitlines()[-1].partition('"time": "')[2][:4])


@pytest.mark.parametrize("jump", [OVER_A_YEAR, -OVER_A_YEAR], ids=["a year forward", "a year back"])
def test_a_clock_that_jumps_changes_nothing_but_the_dates_in_the_log(start, clock, tmp_path, jump):
    wrong_by = tmp_path / "wrong-by"
    victim = start(
        variables={"LD_PRELOAD": str(clock), "WRONG_BY": str(wrong_by)},
        log_format="json", head_seconds=3, watch_seconds=0.5, batch_seconds=20, leave_seconds=0.2,
    )  # fmt: skip
    before, process = _year(victim), victim.session_process
    with socket.create_connection(victim.address, timeout=30) as connection:
        opened = time.monotonic()
        partial = wrong_by.with_suffix(".new")
        partial.write_text(str(jump))
        os.replace(partial, wrong_by)
        # Neither at once nor never: its three seconds are those that have passed.
        assert connection.recv(1) == b""
        assert 2.5 < time.monotonic() - opened < 25
    assert _year(victim) > before if jump > 0 else _year(victim) < before
    started = time.monotonic()
    for number in range(20):
        headers = {"timeout-ms": "20000"}
        assert victim.client.post("/predict", json={"text": f"a {number}"}, headers=headers).status_code == 200
    assert time.monotonic() - started < 20
    # A batch whose time would be over by the other clock was not killed for it.
    assert victim.session_process == process
    os.kill(process, signal.SIGKILL)
    assert victim.ask().status_code == 200
    victim.process.terminate()
    assert victim.process.wait(timeout=30) == -signal.SIGTERM
