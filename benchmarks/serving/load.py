"""Load on a server: `wrk` with requests that are written out beforehand, because it shares the cores with the server.

A generator in Python would take more of them than some of the servers do.
"""

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

_SCRIPT = Path(__file__).with_name("load.lua")


class LoadFailed(Exception):
    """A server that cannot be reached any more."""


@dataclass(frozen=True)
class Load:
    """What came of some seconds of load; `refusals` are answers with an error status."""

    seconds: float
    answers: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    refusals: int
    broken: int
    timeouts: int

    @property
    def errors(self) -> int:
        """Requests without a good answer."""
        return self.refusals + self.broken + self.timeouts

    @property
    def per_second(self) -> float:
        """Good answers a second."""
        return (self.answers - self.refusals) / self.seconds


def require_wrk() -> None:
    """Say what to install where there is no `wrk`."""
    if not shutil.which("wrk"):
        raise click.ClickException("the load comes from `wrk`, which is not installed: apt-get install wrk")


def write_requests(requests: Sequence[bytes], file: Path) -> None:
    """Write whole requests for `load`."""
    file.write_bytes(b"".join(b"%d\n%b" % (len(request), request) for request in requests))


def load(port: int, requests: Path, connections: int, seconds: int, start: int = 0) -> Load:
    """Load a server with closed loops: every connection sends its next request when it has the answer to the last.

    Args:
        port: On this machine.
        requests: A file of `write_requests`; they are sent in order, again and again.
        connections: Kept alive.
        seconds: Whole ones, as wrk counts.
        start: How many requests to skip at first.
    """
    return finish(begin(port, requests, connections, seconds, start))


def begin(port: int, requests: Path, connections: int, seconds: int, start: int = 0) -> subprocess.Popen[str]:
    """Start what `load` does, to do something else meanwhile."""
    # One thread is enough: it spends some microseconds on a request.
    command = ["wrk", "--threads=1", f"--connections={connections}", f"--duration={seconds}s", "--timeout=20s"]
    url = f"http://127.0.0.1:{port}/"
    return subprocess.Popen(
        [*command, f"--script={_SCRIPT}", url, "--", str(requests), str(start)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(running: subprocess.Popen[str]) -> Load:
    """Wait for what `begin` started.

    Raises:
        LoadFailed: there was nobody to answer.
    """
    output, _ = running.communicate()
    lines = [line for line in output.splitlines() if line.startswith("JSON ")]
    if running.returncode != 0 or not lines:
        raise LoadFailed(f"wrk ended with exit status {running.returncode}: {output.strip()}")
    found = json.loads(lines[0].removeprefix("JSON "))
    if not found["answers"]:  # then all that is known of the times is that they are longer than the turn
        found |= dict.fromkeys(("p50_ms", "p99_ms", "max_ms"), found["seconds"] * 1e3)
    return Load(**found)
