"""The body of a request: an endless one must not fill the memory, and one that stalls must not hold anything.

Nor may many at once fill it: what the bodies of all open requests take together is bounded (`service/open_bodies.py`).
"""

import asyncio
from io import BytesIO

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.deadlines import stopped_seconds
from service.errors import BodyTooLarge, BodyTooSlow
from service.open_bodies import HeldBody, OpenBodies
from service.presence import PRESENCE

# Room is taken for so much of a body that is known to follow. All of it at once would be taken by a few callers who
# announce large bodies and send nothing; and none, by so many at the same time that each is refused in the middle.
_AHEAD_BYTES = 1024 * 1024
# Where in the scope of a request its body is, as far as it is counted.
_HELD = "labelset.held_body"


class BodyLimits:
    """Middleware: where a body goes past a limit, its reader meets `BodyTooLarge`, `BodyTooSlow` or `BodiesFull`."""

    def __init__(self, app: ASGIApp, max_body_bytes: int, open_bodies: OpenBodies, seconds: float) -> None:
        self._app = app
        self._max_bytes = max_body_bytes
        self._open_bodies = open_bodies
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, its body counted and timed."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        held = scope[_HELD] = HeldBody(self._open_bodies)
        try:
            await self._app(scope, _Body(scope, receive, held, self._max_bytes, self._seconds).receive, send)
        finally:  # also where the caller has left, or the request was cancelled
            held.let_go()


class _Body:
    """What has been received of one body."""

    def __init__(self, scope: Scope, receive: Receive, held: HeldBody, max_bytes: int, seconds: float) -> None:
        self._scope = scope
        self._receive = receive
        self._held = held
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._declared = 0
        self._received = 0
        self._is_whole = False

    async def receive(self) -> Message:
        """The next message, of which the body consists."""
        if self._is_whole:  # what still comes is that the caller leaves
            return await self._receive()
        if not self._received:
            # Before the first byte: a client that waits for `100 Continue` then sends none.
            self._declared = declared_bytes(self._scope)
            self._check(self._declared)
            self._held.require(self._declared)
            self._held.grow_to(min(self._declared, _AHEAD_BYTES))
        presence = self._scope.get(PRESENCE)
        if presence and presence.has_sent_all:
            message = await self._receive()
        else:
            message = await self._receive_in_time()
        self._is_whole = not message.get("more_body", False)
        self._received += len(message.get("body", b""))
        self._check(self._received)
        self._held.grow_to(max(self._received, min(self._declared, self._received + _AHEAD_BYTES)))
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

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            raise BodyTooLarge(
                f"a request's body must have at most {self._max_bytes} bytes, got {size} or more", limit=self._max_bytes
            )


def declared_bytes(scope: Scope) -> int:
    """How long the body of a request is, as its head says; 0 where that is not said."""
    header = dict(scope["headers"]).get(b"content-length", b"")
    # Python reads no number of thousands of digits; the first twenty are too large already.
    return int(header.lstrip(b"0")[:20] or b"0") if header.isdigit() else 0


async def whole_body(request: Request) -> bytes:
    """The whole body of a request.

    It grows in one piece, so that it takes as much as is counted. Starlette keeps every chunk until the last one is
    there: of a body that comes by the byte each would be an object, and joined the whole is there twice.
    """
    content = BytesIO()
    async for chunk in request.stream():
        content.write(chunk)
    return content.getvalue()


def hold_unpacked(request: Request, size: int) -> None:
    """Count a body that was compressed as large as it is unpacked.

    Raises:
        BodiesFull: there is no room for it.
    """
    held: HeldBody = request.scope[_HELD]
    held.grow_to(size)
