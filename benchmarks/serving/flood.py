"""Requests at a fixed rate, whatever becomes of them: how a server under too much load looks from outside.

The answers' statuses and times are kept apart, which wrk cannot do. Connections are kept alive and used one after
another. The client shares the cores with the server: what it takes of them is written down too, and where it may it
goes first, since an answer that lies unread would be timed as one that is late.
"""

import asyncio
import contextlib
import itertools
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import uvloop

_NICENESS = -15


@dataclass
class Flood:
    """What came of it, in milliseconds since each request was sent.

    Attributes:
        seconds: In which requests were sent.
        good_in_time: Good answers within these; the other good ones came after the last request.
        late_ms: How much later than planned each request was sent: what the client itself adds to the times.
        unsent: Requests for which no connection was free.
        client_cores: What of a core the client itself has used.
        niceness: That of the client; below 0 it went before others.
        end: When no more were sent, by `time.perf_counter`.
    """

    seconds: float
    good_in_time: int = 0
    late_ms: list[float] = field(default_factory=list)
    good_ms: list[float] = field(default_factory=list)
    refused_ms: list[float] = field(default_factory=list)
    other_statuses: list[int] = field(default_factory=list)
    broken: int = 0
    unsent: int = 0
    client_cores: float = 0.0
    niceness: int = 0
    end: float = math.inf


def flood(
    port: int,
    requests: Iterator[bytes],
    per_second: float,
    seconds: float,
    connections: int,
    refusal: int = 503,
    begun: Callable[[], None] = lambda: None,
) -> Flood:
    """Send requests at this rate over at most so many connections; without a free one, a request is not sent.

    `begun` is called when the connections are open.
    """
    with going_first():
        return uvloop.run(_flood(port, requests, per_second, seconds, connections, refusal, begun))


@contextlib.contextmanager
def going_first() -> Iterator[None]:
    """Have what this thread does come before what others do, where that is allowed."""
    own = threading.get_native_id()
    niceness = os.getpriority(os.PRIO_PROCESS, own)
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, own, _NICENESS)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, own, niceness)


async def _flood(
    port: int,
    requests: Iterator[bytes],
    per_second: float,
    seconds: float,
    connections: int,
    refusal: int,
    begun: Callable[[], None],
) -> Flood:
    found = Flood(seconds, niceness=os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
    free: deque[_Client] = deque()
    free.extend(_Client(port, found, free, refusal) for _ in range(connections))
    for client in free:  # as wrk does: how fast callers are let in is another question
        await client.connect()
    begun()
    used = time.process_time()
    begin = time.perf_counter()
    found.end = begin + seconds
    for number in itertools.count():
        due = begin + number / per_second
        if due > begin + seconds:
            break
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        elif number % 32 == 0:
            await asyncio.sleep(0)
        found.late_ms.append((time.perf_counter() - due) * 1e3)
        if not free:
            found.unsent += 1
            continue
        client = free.popleft()
        if client.transport is None:
            await client.connect()
        client.ask(next(requests))
    found.client_cores = (time.process_time() - used) / seconds
    async with asyncio.timeout(60):
        while len(free) < connections:
            await asyncio.sleep(0.01)
    for client in free:
        client.leave()
    return found


class _Client(asyncio.Protocol):
    """A connection, opened again when the server has closed it."""

    def __init__(self, port: int, found: Flood, free: "deque[_Client]", refusal: int) -> None:
        self.transport: asyncio.WriteTransport | None = None
        self._port = port
        self._found = found
        self._free = free
        self._refusal = refusal
        self._sent = 0.0
        self._received = b""

    async def connect(self) -> None:
        """Open the connection."""
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._port)

    def ask(self, request: bytes) -> None:
        """Send a request; the client is free again when it has its answer."""
        if self.transport is None:
            self._found.broken += 1
            self._free.append(self)
            return
        self._sent = time.perf_counter()
        self.transport.write(request)

    def leave(self) -> None:
        """Close the connection."""
        if self.transport:
            self.transport.close()

    def connection_made(self, transport: asyncio.WriteTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        lowered = head.lower()
        if not blank or len(body) < int(lowered.partition(b"content-length:")[2].split(b"\r", 1)[0]):
            return
        taken = (time.perf_counter() - self._sent) * 1e3
        self._count(int(head[9:12]), taken)
        self._received, self._sent = b"", 0.0
        if b"connection: close" in lowered and self.transport:
            self.transport.close()
            self.transport = None
        self._free.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self._sent:  # without an answer
            self._found.broken += 1
            self._received, self._sent = b"", 0.0
            self._free.append(self)

    def _count(self, status: int, taken: float) -> None:
        if status == 200:
            self._found.good_ms.append(taken)
            self._found.good_in_time += time.perf_counter() < self._found.end
        elif status == self._refusal:
            self._found.refused_ms.append(taken)
        else:
            self._found.other_statuses.append(status)
