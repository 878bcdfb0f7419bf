"""Requests at a fixed rate, whatever becomes of them: how a server under too much load looks from outside.

The answers' statuses and times are kept apart, which wrk cannot do. Connections are kept alive and used one after
another; the client costs some 50 microseconds a request.
"""

import asyncio
import contextlib
import itertools
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import uvloop


@dataclass
class Flood:
    """What came of it, in milliseconds since each request was sent.

    Attributes:
        seconds: In which requests were sent.
        good_in_time: Good answers within these; the other good ones came after the last request.
        late_ms: How much later than planned each request was sent: what the client itself adds to the times.
        unsent: Requests for which no connection was free.
    """

    seconds: float
    good_in_time: int = 0
    late_ms: list[float] = field(default_factory=list)
    good_ms: list[float] = field(default_factory=list)
    refused_ms: list[float] = field(default_factory=list)
    other_statuses: list[int] = field(default_factory=list)
    broken: int = 0
    unsent: int = 0


def flood(
    port: int, requests: Iterator[bytes], per_second: float, seconds: float, connections: int, refusal: int = 503
) -> Flood:
    """Send requests at this rate over at most so many connections; without a free one, a request is not sent."""
    return uvloop.run(_flood(port, requests, per_second, seconds, connections, refusal))


async def _flood(
    port: int, requests: Iterator[bytes], per_second: float, seconds: float, connections: int, refusal: int
) -> Flood:
    found = Flood(seconds)
    clients = [_Client(port, found, refusal, seconds) for _ in range(connections)]
    free = deque(clients)
    tasks: set[asyncio.Task[None]] = set()
    begin = time.perf_counter()
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
        task = asyncio.create_task(client.ask(next(requests), free))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    for client in clients:
        await client.leave()
    return found


class _Client:
    """A connection, opened again when the server has closed it."""

    def __init__(self, port: int, found: Flood, refusal: int, seconds: float) -> None:
        self._port = port
        self._end = time.perf_counter() + seconds
        self._found = found
        self._refusal = refusal
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes, free: "deque[_Client]") -> None:
        try:
            reader, writer = self._streams = self._streams or await asyncio.open_connection("127.0.0.1", self._port)
            begin = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            taken = (time.perf_counter() - begin) * 1e3
            status = int(head.split(b" ", 2)[1])
            lowered = head.lower()
            await reader.readexactly(int(lowered.partition(b"content-length:")[2].split(b"\r", 1)[0]))
            if b"connection: close" in lowered:
                await self.leave()
            self._count(status, taken)
        except (OSError, asyncio.IncompleteReadError):
            self._found.broken += 1
            await self.leave()
        finally:
            free.append(self)

    def _count(self, status: int, taken: float) -> None:
        if status == 200:
            self._found.good_ms.append(taken)
            self._found.good_in_time += time.perf_counter() < self._end
        elif status == self._refusal:
            self._found.refused_ms.append(taken)
        else:
            self._found.other_statuses.append(status)

    async def leave(self) -> None:
        """Close the connection."""
        streams, self._streams = self._streams, None
        if streams:
            streams[1].close()
            with contextlib.suppress(OSError):
                await streams[1].wait_closed()
