"""Asks a small question twenty times a second, as whoever balances loads does, from a process of its own.

`python -m benchmarks.serving.watch PORT` is it: it waits for a line with the seconds, and writes the milliseconds until
each good answer, and how many were none.
"""

import http.client
import itertools
import json
import subprocess
import sys
import time

import click

from benchmarks.serving.flood import going_first
from benchmarks.serving.ours import ROOT
from benchmarks.serving.server import ask

_PER_SECOND = 20


class Watch:
    """Somebody who watches a service; there from the start, asking from `begin` on.

    Attributes:
        taken_ms: Milliseconds until each good answer; known at the end.
        failures: Questions without one.
    """

    def __init__(self, port: int, seconds: float) -> None:
        self.taken_ms: list[float] = []
        self.failures = 0
        self._seconds = seconds
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.serving.watch", str(port)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self) -> None:
        """Ask for so many seconds."""
        assert self._process.stdin
        self._process.stdin.write(f"{self._seconds}\n")
        self._process.stdin.flush()

    def __enter__(self) -> "Watch":
        assert self._process.stdout
        assert self._process.stdout.readline(), "the watch does not start"
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        assert self._process.stdout
        if error is None:
            self.taken_ms, self.failures = json.loads(self._process.stdout.readline())
        self._process.kill()
        self._process.communicate()


def _main(port: int) -> None:
    click.echo("ready")
    seconds = float(sys.stdin.readline())
    taken_ms, failures = [], 0
    with going_first():
        begin = time.perf_counter()
        for number in itertools.count():
            # What is asked late because the answer before it was is timed from when it was to be asked.
            due = begin + number / _PER_SECOND
            if due > begin + seconds:
                break
            time.sleep(max(0.0, due - time.perf_counter()))
            try:
                good = ask(port, b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")[0] == 200
            except (OSError, http.client.HTTPException):
                good = False
            if good:
                taken_ms.append((time.perf_counter() - due) * 1e3)
            else:
                failures += 1
    click.echo(json.dumps([taken_ms, failures]))


if __name__ == "__main__":
    _main(int(sys.argv[1]))
