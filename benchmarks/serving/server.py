"""A contestant's server while it runs: started, checked, loaded in its turns, frozen between them."""

import http.client
import socket
import time
from pathlib import Path

from benchmarks.serving.contestant import Contestant
from benchmarks.serving.environments import PeerUnavailable
from benchmarks.serving.load import Load, LoadFailed, load, write_requests
from benchmarks.serving.processes import Processes, free_port
from benchmarks.serving.workloads import Workload
from model.preprocess import Item

_START_SECONDS = 180
# A server that was frozen finds its memory, and a core that slept wakes up, before its turn counts.
_WARMING_SECONDS = 1


class Server:
    """One contestant, one variant of it, one model."""

    def __init__(self, contestant: Contestant, variant: str, workload: Workload, folder: Path) -> None:
        """Start it with files of its own under `folder` and wait until it answers.

        Raises:
            PeerUnavailable: it cannot be installed, or does not come to answer as the model does.
        """
        self.contestant, self.variant, self.workload = contestant, variant, workload
        self.port = free_port()
        # A short name: there will be sockets below, whose paths are limited to a hundred characters.
        own = folder / str(self.port)
        own.mkdir()
        launch = contestant.launch(workload, variant, self.port, own)
        self.processes = Processes(launch.command, launch.environment, launch.folder, own / "log")
        try:
            self._wait_until_it_answers(workload.items[0])
            self._check()
        except BaseException:
            self.processes.end()
            raise
        self.requests = own / "requests"
        write_requests([contestant.request(workload, variant, item) for item in workload.items], self.requests)

    @property
    def name(self) -> str:
        """The contestant's."""
        return self.contestant.name

    def turn(self, connections: int, seconds: int, round_number: int = 0) -> Load:
        """Load it, after some load that does not count.

        Raises:
            LoadFailed: it does not answer any more.
        """
        self.thaw()
        try:
            start = round_number * 97 % len(self.workload.items)
            load(self.port, self.requests, connections, _WARMING_SECONDS, start)
            # Whom wrk has left is still worked for: the turn begins when that is over, as one more answer tells.
            ask(self.port, self.contestant.request(self.workload, self.variant, self.workload.items[0]))
            return load(self.port, self.requests, connections, seconds, start)
        except (OSError, http.client.HTTPException) as error:
            raise LoadFailed(f"{error!r}") from error
        finally:
            self.freeze()

    def freeze(self) -> None:
        """Let the others have the cores."""
        if self.contestant.bears_freezing:
            self.processes.freeze()

    def thaw(self) -> None:
        """Go on."""
        self.processes.thaw()

    def end(self) -> None:
        """End its processes."""
        self.processes.end()

    def _wait_until_it_answers(self, item: Item) -> None:
        deadline = time.monotonic() + _START_SECONDS
        request = self.contestant.request(self.workload, self.variant, item)
        while True:
            try:
                status, body = ask(self.port, request)
                if status == 200:
                    return
                found = f"its answer is {status}: {body[:300]!r}"
            except (OSError, http.client.HTTPException) as error:
                found = f"{error!r}"
            if not self.processes.alive or time.monotonic() > deadline:
                raise PeerUnavailable(f"it does not start: {found}; its log ends {self.processes.tail()}")
            time.sleep(0.3)

    def _check(self) -> None:
        for item, labels in zip(self.workload.items, self.workload.expected, strict=False):
            status, body = ask(self.port, self.contestant.request(self.workload, self.variant, item))
            found = self.contestant.labels(body) if status == 200 else body
            if found != labels:
                raise PeerUnavailable(f"it should have answered {labels}, got {status}: {found!r}")


def ask(port: int, request: bytes, seconds: float = 30) -> tuple[int, bytes]:
    """Send a whole request over a connection of its own; its answer's status and body."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.sendall(request)
        response = http.client.HTTPResponse(connection)
        response.begin()
        return response.status, response.read()
