"""The door of the server: everybody who waits before it is let in at each turn of the event loop.

Uvloop's own lets in one caller a turn, and where a thousand are served a turn takes tens of milliseconds: whoever came
new then, a probe of `/readyz` too, waited for seconds.
"""

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

# More than come in a turn; whoever was let in before is served in between.
_AT_A_TURN = 256
_BACKLOG = 2048
# What an `accept` fails with where files or memory are used up: others must leave first.
_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_SECONDS_UNTIL_THERE_MAY_BE_ROOM = 0.5

logger = logging.getLogger("labelset.service")


class Door:
    """Lets callers in from a listening socket."""

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None,
        handshake_seconds: float,
        max_handshakes: int,
    ) -> None:
        """A door that is not open yet.

        Args:
            listener: It is listened to once the door is open.
            protocol: Makes what speaks with one caller.
            tls: Over TLS, where there is a context for it.
            handshake_seconds: Time for a caller to begin it.
            max_handshakes: Who would begin one more at the same time is sent away.
        """
        self._listener = listener
        self._protocol = protocol
        self._tls = tls
        self._handshake_seconds = handshake_seconds if tls else None
        self._max_handshakes = max_handshakes
        self._loop = asyncio.get_running_loop()
        self._coming: set[asyncio.Task[None]] = set()
        self._opening: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Let in who waits, and who comes from now on."""
        self._listener.setblocking(False)
        self._listener.listen(_BACKLOG)
        self._loop.add_reader(self._listener, self._let_in)

    def close(self) -> None:
        """Let nobody in any more; who is in stays."""
        # Nobody may be left between the two, whom the system has let in and we do not: he would be thrown out.
        self._let_in()
        self._loop.remove_reader(self._listener)
        self._listener.close()
        if self._opening:
            self._opening.cancel()

    def _let_in(self) -> None:
        for _ in range(_AT_A_TURN):
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._wait_for_room(error)
                if not isinstance(error, ConnectionAbortedError):  # that one has left while he waited
                    return
                continue
            if self._tls and len(self._coming) >= self._max_handshakes:
                connection.close()
            else:
                task = self._loop.create_task(self._introduce(connection))
                self._coming.add(task)
                task.add_done_callback(self._coming.discard)

    async def _introduce(self, connection: socket.socket) -> None:
        with suppress(OSError):  # he has left, or does not speak TLS
            await self._loop.connect_accepted_socket(
                self._protocol, connection, ssl=self._tls, ssl_handshake_timeout=self._handshake_seconds
            )

    def _wait_for_room(self, error: OSError) -> None:
        logger.warning("nobody can be let in for a moment: %s", error)
        self._loop.remove_reader(self._listener)
        self._opening = self._loop.call_later(_SECONDS_UNTIL_THERE_MAY_BE_ROOM, self.open)
