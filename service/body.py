"""The body of a request: an endless one must not fill the memory, and one that stalls must not hold anything."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.deadlines import stopped_seconds
from service.errors import BodyTooLarge, BodyTooSlow
from service.presence import PRESENCE


class BodyLimits:
    """Middleware: whoever reads a body meets `BodyTooLarge` or `BodyTooSlow` where it goes past a limit."""

    def __init__(self, app: ASGIApp, max_body_bytes: int, seconds: float) -> None:
        self._app = app
        self._max_bytes = max_body_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, its body counted and timed."""
        if scope["type"] == "http":
            receive = _Body(scope, receive, self._max_bytes, self._seconds).receive
        await self._app(scope, receive, send)


class _Body:
    """What has been received of one body."""

    def __init__(self, scope: Scope, receive: Receive, max_bytes: int, seconds: float) -> None:
        self._scope = scope
        self._receive = receive
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._received = 0
        self._is_whole = False

    async def receive(self) -> Message:
        """The next message, of which the body consists."""
        if self._is_whole:  # what still comes is that the caller leaves
            return await self._receive()
        if not self._received:
            # Before the first byte: a client that waits for `100 Continue` then sends none.
            self._check(self._declared())
        presence = self._scope.get(PRESENCE)
        if presence and presence.has_sent_all:
            message = await self._receive()
        else:
            message = await self._receive_in_time()
        self._is_whole = not message.get("more_body", False)
        self._received += len(message.get("body", b""))
        self._check(self._received)
        return message

    async def _receive_in_time(self) -> Message:
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._receive()
        except TimeoutError:
            if stopped := stopped_seconds(self._deadline):  # how much of it had come is not known: all time again
                self._deadline += stopped + self._seconds
                return await self._receive_in_time()
            raise BodyTooSlow(f"a request's body must arrive within {self._seconds:g} seconds") from None

    def _declared(self) -> int:
        header = dict(self._scope["headers"]).get(b"content-length", b"")
        return int(header) if header.isdigit() else 0

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            raise BodyTooLarge(
                f"a request's body must have at most {self._max_bytes} bytes, got {size} or more", limit=self._max_bytes
            )
