"""An answer that nobody waits for any more is not worth computing: its caller has left, or his time is up."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from service.errors import DeadlineExceeded, InvalidRequest

T = TypeVar("T")

TIMEOUT_HEADER = "timeout-ms"


async def while_wanted(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do the work for a request as long as its caller waits for it.

    Args:
        request: Its body has been read. Its header `timeout-ms` may say how long its caller waits from here on.
        work: Cancelled when the caller leaves, and when the time is up.

    Raises:
        InvalidRequest: the header is not a number of milliseconds.
        DeadlineExceeded: the time is up.
        ClientDisconnect: the caller has left.
    """
    answer, departure = asyncio.ensure_future(work), asyncio.ensure_future(_departure(request))
    try:
        timeout_ms = _timeout_ms(request)
        seconds = None if timeout_ms is None else timeout_ms / 1000
        ended, _ = await asyncio.wait({answer, departure}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if answer in ended:
            return answer.result()
        if departure in ended:
            raise ClientDisconnect
        raise DeadlineExceeded(f"the answer was not there within {timeout_ms} ms", timeout_ms=timeout_ms)
    finally:
        for task in (answer, departure):
            task.cancel()
        # An error of `answer` holds this frame, which held the task, which holds the error, and a model with it.
        del answer, departure, task


async def _departure(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _timeout_ms(request: Request) -> int | None:
    value = request.headers.get(TIMEOUT_HEADER)
    if value is None:
        return None
    # Ten digits are a hundred days; `isdecimal` alone would let other alphabets' digits through.
    if not (value.isascii() and value.isdecimal() and len(value) <= 10 and int(value) > 0):
        raise InvalidRequest(f"{TIMEOUT_HEADER} must be a number of milliseconds above 0, got {value[:20]!r}")
    return int(value)
