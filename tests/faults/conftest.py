"""Services to be harmed, each a process of its own, and the check that one has come through: it answers as before."""

import hashlib
import itertools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

REPOSITORY_ROOT = Path(__file__).parents[2]
SENTENCE = "The group sent phishing mails to the staff of two banks and encrypted their disks."
NUMBERS = itertools.count()


@dataclass
class Victim:
    """A running service."""

    process: subprocess.Popen[bytes]
    address: tuple[str, int]
    log: Path
    client: httpx.Client

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.address)

    @property
    def session_process(self) -> int:
        """The process in which it computes."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").parents[1].glob("*/children")
        pids = [int(pid) for thread in children for pid in thread.read_text().split()]
        [found] = [pid for pid in pids if b"session_process" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        return found

    def ask(self, text: str = "", **options: object) -> httpx.Response:
        """A text that nobody has asked before: the answers to equal ones are shared."""
        return self.client.post("/predict", json={"text": f"{text or SENTENCE} {next(NUMBERS)}", **options})

    def require_unharmed(self, *, may_hold_traces: bool = False) -> None:
        """It answers, and nothing happened that it did not foresee."""
        assert self.ask(model="text-demo").status_code == 200
        assert self.client.get("/readyz").status_code == 200
        assert may_hold_traces or "Traceback" not in self.log.read_text()


Start = Callable[..., Victim]


@contextmanager
def _starting(folder: Path) -> Iterator[Start]:
    started: list[Victim] = []

    def start(
        command: Sequence[str] = (),
        variables: dict[str, str] | None = None,
        log: Path | None = None,
        **settings: object,
    ) -> Victim:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = probe.getsockname()
        log = log or folder / f"log-{len(started)}"
        own = {f"LABELSET_{name.upper()}": str(value) for name, value in settings.items()}
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*command, sys.executable, "-m", "labelset", "serve", "--port", str(address[1])],
                cwd=REPOSITORY_ROOT,
                env={**os.environ, **own, **(variables or {})},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
            )
        client = httpx.Client(base_url="http://{}:{}".format(*address), timeout=60)
        victim = Victim(process, address, log, client)
        started.append(victim)
        _wait_until_ready(victim)
        return victim

    yield start
    for victim in started:
        victim.client.close()
        victim.process.kill()
        victim.process.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start services of one's own; keyword arguments are settings: `start(max_batch_rows=4)`.

    `command` stands before that of the service (`["prlimit", "--nofile=100"]`), `variables` in its environment, and
    `log` is where its lines go.
    """
    with _starting(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def start_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start services, as `start` does, for all tests of a module."""
    with _starting(tmp_path_factory.mktemp("here")) as start:
        yield start


@pytest.fixture(scope="module")
def victim(start_here: Start) -> Victim:
    """A service as it is by default, for what it is to come through unharmed, one thing after another."""
    return start_here()


def _wait_until_ready(victim: Victim) -> None:
    deadline = time.monotonic() + 60
    while victim.process.poll() is None and time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            if victim.client.get("/readyz").status_code == 200:
                return
        time.sleep(0.1)
    pytest.fail(f"the service did not become ready:\n{victim.log.read_text()}")


@pytest.fixture(scope="session")
def seal() -> Callable[[Path], None]:
    """Let the manifest of an edited bundle name the files as they are now."""

    def seal_bundle(folder: Path) -> None:
        manifest = json.loads((folder / "bundle.json").read_text())
        manifest["files"] = {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sorted(manifest["files"])
        }
        (folder / "bundle.json").write_text(json.dumps(manifest))

    return seal_bundle
