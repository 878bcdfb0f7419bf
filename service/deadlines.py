"""Ends connections on which something does not arrive in time.

They are looked at together, a few times in the shortest time that there is: timers for each part of each request would
be made and taken back, and hardly one is ever needed.
"""

import asyncio

_LOOKS_IN_THE_SHORTEST = 8


class Deadlines:
    """What is due on which connection; it belongs to the event loop."""

    def __init__(self, shortest_seconds: float) -> None:
        """`shortest_seconds`: of all times that will be given; a connection ends at most an eighth of it too late."""
        self._look_seconds = shortest_seconds / _LOOKS_IN_THE_SHORTEST
        self._due: dict[asyncio.Transport, float] = {}
        self._looking: asyncio.TimerHandle | None = None

    def __contains__(self, transport: asyncio.Transport) -> bool:
        """Whether something has to arrive there."""
        return transport in self._due

    def set(self, transport: asyncio.Transport, seconds: float) -> None:
        """Abort the connection in so many seconds, whatever was said before."""
        loop = asyncio.get_running_loop()
        self._due[transport] = loop.time() + seconds
        if self._looking is None:
            self._looking = loop.call_later(self._look_seconds, self._look)

    def lift(self, transport: asyncio.Transport) -> None:
        """Do not abort the connection: what was waited for is there, or no longer waited for."""
        self._due.pop(transport, None)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        late = [transport for transport, due in self._due.items() if due <= now]
        for transport in late:
            self.lift(transport)
            loop.call_soon(transport.abort)  # not here: one that fails must not keep the others from it
        self._looking = loop.call_later(self._look_seconds, self._look) if self._due else None
