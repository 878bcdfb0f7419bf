"""A real service in a process of its own."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

REPOSITORY_ROOT = Path(__file__).parents[2]
START_TIMEOUT_SECONDS = 60


@dataclass
class ServiceProcess:
    """A running service."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def logged(self, pattern: str, count: int = 1) -> list[str]:
        """The lines of its log that match, once they are so many: those of requests may come a moment after these."""
        deadline = time.monotonic() + 20
        while True:
            lines = [line for line in self.log.read_text().splitlines() if re.search(pattern, line)]
            if len(lines) >= count:
                return lines
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)


Serve = Callable[..., ServiceProcess]


@pytest.fixture(scope="session")
def bundles() -> Path:
    """The embedded demo bundles: a repository of one image and one text model."""
    return REPOSITORY_ROOT / "bundles"


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Start services; keyword arguments are settings: `serve(max_batch_size=8)`."""
    running: list[subprocess.Popen[bytes]] = []

    def start(**settings: object) -> ServiceProcess:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        log = tmp_path_factory.mktemp("service") / "log"
        variables = {f"LABELSET_{name.upper()}": str(value) for name, value in settings.items()}
        command = [sys.executable, "-m", "labelset", "serve", "--port", str(port)]
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command,
                cwd=REPOSITORY_ROOT,
                env={**os.environ, **variables},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
            )
        running.append(process)
        service = ServiceProcess(f"http://127.0.0.1:{port}", process, log)
        _wait_until_ready(service)
        return service

    yield start
    for process in running:
        process.terminate()
    for process in running:
        process.wait(timeout=30)


def _wait_until_ready(service: ServiceProcess) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while service.process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{service.url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail(f"the service did not become ready:\n{service.log.read_text()}")
