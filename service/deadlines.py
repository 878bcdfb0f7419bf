"""Ends connections on which something does not arrive in time.

They are looked at together, a few times in the shortest time that there is: timers for each part of each request would
be made and taken back, and hardly one is ever needed.

Time in which the process was stopped, as by `docker pause`, is not the callers' fault: what has come meanwhile lies
unread when the timers go off.
"""

import asyncio

_LOOKS_IN_THE_SHORTEST = 8
# A busy event loop is late by milliseconds, and by tens of them at worst.
_STOPPED_SECONDS = 0.1


def stopped_seconds(due: float) -> float:
    """How long the process was stopped, where a timer that was due then, by the loop's time, goes off now; mostly 0."""
    late = asyncio.get_running_loop().time() - due
    return late if late > _STOPPED_SECONDS else 0.0


class Deadlines:
    """What is due on which connection; it belongs to the event loop."""

    def __init__(self, shortest_seconds: float) -> None:
        """`shortest_seconds`: of all times that will be given; a connection ends at most an eighth of it too late."""
        self._look_seconds = shortest_seconds / _LOOKS_IN_THE_SHORTEST
        self._due: dict[asyncio.Transport, float] = {}
        self._look_due = 0.0
        self._looking: asyncio.TimerHandle | None = None

    def __contains__(self, transport: asyncio.Transport) -> bool:
        """Whether something has to arrive there."""
        return transport in self._due

    def set(self, transport: asyncio.Transport, seconds: float) -> None:
        """Abort the connection in so many seconds, whatever was said before."""
        loop = asyncio.get_running_loop()
        self._due[transport] = loop.time() + seconds
        if self._looking is None:
            self._look_later()

    def lift(self, transport: asyncio.Transport) -> None:
        """Do not abort the connection: what was waited for is there, or no longer waited for."""
        self._due.pop(transport, None)

    def _look_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._look_due = loop.time() + self._look_seconds
        self._looking = loop.call_later(self._look_seconds, self._look)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if stopped := stopped_seconds(self._look_due):
            self._due = {transport: due + stopped for transport, due in self._due.items()}
        late = [transport for transport, due in self._due.items() if due <= now]
        for transport in late:
            self.lift(transport)
            loop.call_soon(transport.abort)  # not here: one that fails must not keep the others from it
        self._looking = None
        if self._due:
            self._look_later()
