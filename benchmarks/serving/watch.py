"""Asks a small question twenty times a second, as whoever balances loads does, from a process of its own.

`python -m benchmarks.serving.watch PORT` is it: it waits for a line with the seconds, and writes the milliseconds until
each answer.
"""

import contextlib
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator

import click

from benchmarks.serving.flood import going_first
from benchmarks.serving.ours import ROOT
from benchmarks.serving.server import ask

_SECONDS_BETWEEN = 0.05


@contextlib.contextmanager
def watching(port: int, seconds: float) -> Iterator[list[float]]:
    """Ask for so many seconds; at the end the list holds the times."""
    taken_ms: list[float] = []
    command = [sys.executable, "-m", "benchmarks.serving.watch", str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            process.stdout.readline()
            process.stdin.write(f"{seconds}\n")
            process.stdin.flush()
            yield taken_ms
            taken_ms += json.loads(process.stdout.readline())
        finally:
            process.kill()


def _main(port: int) -> None:
    click.echo("ready")
    seconds = float(sys.stdin.readline())
    taken_ms = []
    with going_first():
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            before = time.perf_counter()
            with contextlib.suppress(OSError, http.client.HTTPException):
                if ask(port, b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")[0] == 200:
                    taken_ms.append((time.perf_counter() - before) * 1e3)
            time.sleep(_SECONDS_BETWEEN)
    click.echo(json.dumps(taken_ms))


if __name__ == "__main__":
    _main(int(sys.argv[1]))
