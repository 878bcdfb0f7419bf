"""A channel to the session process that the event loop listens to: who asks on it waits without a thread."""

import asyncio
import socket
from typing import Any

from service import session_messages


class SessionChannel(asyncio.Protocol):
    """One question at a time; it belongs to the loop on which it was opened."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._transport: asyncio.WriteTransport | None = None
        self._received = bytearray()
        self._answer: asyncio.Future[Any] | None = None

    @classmethod
    async def open(cls, connection: socket.socket) -> "SessionChannel":
        """A channel over a connected socket, which it closes at its end."""
        connection.setblocking(False)
        _, channel = await asyncio.get_running_loop().create_unix_connection(cls, sock=connection)
        return channel

    async def ask(self, question: Any) -> Any:
        """The answer to a question. Where this is cancelled the channel is of no use any more.

        Raises:
            EOFError: the other side has gone.
        """
        if self._transport is None or self._transport.is_closing():
            raise EOFError
        self._answer = self.loop.create_future()
        self._transport.writelines(session_messages.encode(question))
        try:
            return await self._answer
        finally:
            self._answer = None  # an idle channel keeps nothing of what was asked or answered

    def close(self) -> None:
        """Close the connection; whoever waits on it is told so."""
        if self._transport and not self.loop.is_closed():
            self._transport.abort()

    def close_soon(self) -> None:
        """As `close`, from any thread."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.close)

    def connection_made(self, transport: asyncio.WriteTransport) -> None:  # type: ignore[override]
        """Called by the loop."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        self._received += data
        length = session_messages.size(self._received)
        if length is None or len(self._received) < length or self._answer is None or self._answer.done():
            return
        content, self._received = self._received, bytearray()
        try:
            self._answer.set_result(session_messages.decode(content))
        except Exception as error:
            self._answer.set_exception(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._transport = None
        if self._answer and not self._answer.done():
            self._answer.set_exception(EOFError())
