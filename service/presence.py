"""A caller who has left is not worth computing for."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from service.errors import NotReady

T = TypeVar("T")


async def while_present(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do the work for a request as long as its caller is there.

    Args:
        request: Its body has been read.
        work: Cancelled when the caller leaves.

    Raises:
        ClientDisconnect: the caller has left.
        NotReady: the server ended the request, whose time was up when it had to stop.
    """
    answer = asyncio.ensure_future(work)
    departure = asyncio.ensure_future(_departure(request))
    try:
        await asyncio.wait({answer, departure}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientDisconnect
        return answer.result()
    except asyncio.CancelledError:
        # Nobody else cancels a request. Passed on, it would be a trace in the log and a bare 500 for the caller.
        raise NotReady("the service is shutting down") from None
    finally:
        for task in (answer, departure):
            task.cancel()


async def _departure(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
