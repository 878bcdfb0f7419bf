"""An answer that nobody waits for any more is not worth computing: its caller has left, or his time is up."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import closing
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from service.errors import DeadlineExceeded, InvalidRequest

T = TypeVar("T")

TIMEOUT_HEADER = "timeout-ms"
# Where in the scope of a request our own server says how it stands with its caller; of another server it is not there.
PRESENCE = "labelset.presence"


class Presence:
    """What the connection of a request knows of its caller.

    As ASGI has it, a request asks its server whether its caller has left; but that takes a task which waits for it.

    Attributes:
        has_sent_all: Whether the whole body is here.
    """

    __slots__ = ("_resume_reading", "_tell", "has_left", "has_sent_all")

    def __init__(self, resume_reading: Callable[[], None]) -> None:
        """`resume_reading`: goes on listening to a caller who has sent enough for a while."""
        self.has_sent_all = self.has_left = False
        self._resume_reading = resume_reading
        self._tell: Callable[[], None] | None = None

    def when_he_leaves(self, tell: Callable[[], None]) -> None:
        """Have one function called when he leaves, in place of the one before; soon, where he has left already."""
        self._tell = tell
        if self.has_left:
            asyncio.get_running_loop().call_soon(self.leave)
        else:
            self._resume_reading()

    def forget(self) -> None:
        """Call nothing any more."""
        self._tell = None

    def leave(self) -> None:
        """He leaves, as the connection says."""
        self.has_left = True
        if self._tell:
            self._tell()


async def while_wanted(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do the work for a request as long as its caller waits for it.

    The work is done in the task of the request, which is cancelled when there is a reason to end it.

    Args:
        request: Its body has been read. Its header `timeout-ms` may say how long its caller waits from here on.
        work: Cancelled when the caller leaves, and when the time is up.

    Raises:
        InvalidRequest: the header is not a number of milliseconds.
        DeadlineExceeded: the time is up.
        ClientDisconnect: the caller has left.
    """
    task = asyncio.current_task()
    assert task is not None
    reasons: list[Exception] = []

    def end(reason: Exception) -> None:
        if not reasons:
            reasons.append(reason)
            task.cancel()

    with closing(work):  # it may not have begun
        timer = _timer(request, end)
        forget = _when_he_leaves(request, lambda: end(ClientDisconnect()))
        try:
            return await work
        except asyncio.CancelledError:
            # The server may have cancelled the task as well, and goes before.
            if not reasons or task.uncancel():
                raise
            # Held nowhere else: it holds this frame, which would hold it, and a model with it.
            raise reasons.pop() from None
        finally:
            forget()
            if timer:
                timer.cancel()


def _when_he_leaves(request: Request, tell: Callable[[], None]) -> Callable[[], object]:
    """Have a function called when the caller leaves; gives one that puts an end to that."""
    presence: Presence | None = request.scope.get(PRESENCE)
    if presence is None:
        return asyncio.create_task(_departure(request, tell)).cancel
    presence.when_he_leaves(tell)
    return presence.forget


async def _departure(request: Request, tell: Callable[[], None]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    tell()


def _timer(request: Request, end: Callable[[Exception], None]) -> asyncio.TimerHandle | None:
    timeout_ms = _timeout_ms(request)
    if timeout_ms is None:
        return None
    too_late = DeadlineExceeded(f"the answer was not there within {timeout_ms} ms", timeout_ms=timeout_ms)
    return asyncio.get_running_loop().call_later(timeout_ms / 1000, end, too_late)


def _timeout_ms(request: Request) -> int | None:
    value = request.headers.get(TIMEOUT_HEADER)
    if value is None:
        return None
    # Ten digits are a hundred days; `isdecimal` alone would let other alphabets' digits through.
    if not (value.isascii() and value.isdecimal() and len(value) <= 10 and int(value) > 0):
        raise InvalidRequest(f"{TIMEOUT_HEADER} must be a number of milliseconds above 0, got {value[:20]!r}")
    return int(value)
