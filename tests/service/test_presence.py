"""Work for a caller goes on as long as he is there and the server lets it."""

import asyncio

import pytest
from starlette.requests import ClientDisconnect, Request

from service.errors import NotReady
from service.presence import while_present


class Work:
    """Something that never ends by itself."""

    def __init__(self) -> None:
        self.cancelled = False

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


def _request(left: asyncio.Event) -> Request:
    async def receive():
        await left.wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http"}, receive)


def test_when_the_caller_leaves_the_work_ends():
    async def ask():
        left, work = asyncio.Event(), Work()
        asked = asyncio.create_task(while_present(_request(left), work.run()))
        await asyncio.sleep(0.01)
        left.set()
        with pytest.raises(ClientDisconnect):
            await asked
        await asyncio.sleep(0)
        return work.cancelled

    assert asyncio.run(ask())


def test_when_the_server_ends_a_request_the_work_ends_and_the_caller_is_told_why():
    async def ask():
        work = Work()
        asked = asyncio.create_task(while_present(_request(asyncio.Event()), work.run()))
        await asyncio.sleep(0.01)
        asked.cancel()
        with pytest.raises(NotReady, match="shutting down"):
            await asked
        await asyncio.sleep(0)
        return work.cancelled

    assert asyncio.run(ask())
