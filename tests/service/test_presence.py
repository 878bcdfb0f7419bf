"""Work for a caller goes on as long as he is there and the server lets it."""

import asyncio

import pytest
from starlette.requests import ClientDisconnect, Request

from service.errors import DeadlineExceeded, InvalidRequest
from service.presence import while_wanted


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


def _request(left: asyncio.Event, headers: dict[bytes, bytes] | None = None) -> Request:
    async def receive():
        await left.wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http", "headers": list((headers or {}).items())}, receive)


def test_when_the_caller_leaves_the_work_ends():
    async def ask():
        left, work = asyncio.Event(), Work()
        asked = asyncio.create_task(while_wanted(_request(left), work.run()))
        await asyncio.sleep(0.01)
        left.set()
        with pytest.raises(ClientDisconnect):
            await asked
        await asyncio.sleep(0)
        return work.cancelled

    assert asyncio.run(ask())


def test_when_the_server_ends_a_request_the_work_ends():
    async def ask():
        work = Work()
        asked = asyncio.create_task(while_wanted(_request(asyncio.Event()), work.run()))
        await asyncio.sleep(0.01)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await asyncio.sleep(0)
        return work.cancelled

    assert asyncio.run(ask())


def test_a_server_that_ends_a_request_goes_before_a_caller_who_leaves_at_the_same_time():
    async def ask():
        left, work = asyncio.Event(), Work()
        asked = asyncio.create_task(while_wanted(_request(left), work.run()))
        await asyncio.sleep(0.01)
        left.set()
        asyncio.get_running_loop().call_soon(asked.cancel)
        with pytest.raises(asyncio.CancelledError):
            await asked
        return work.cancelled

    assert asyncio.run(ask())


def test_the_task_of_a_caller_who_has_left_can_go_on():
    async def ask():
        left = asyncio.Event()
        left.set()
        with pytest.raises(ClientDisconnect):
            await while_wanted(_request(left), Work().run())
        await asyncio.sleep(0)
        return asyncio.current_task().cancelling()

    assert asyncio.run(ask()) == 0


def test_when_the_callers_time_is_up_the_work_ends_and_he_is_told():
    async def ask():
        work = Work()
        with pytest.raises(DeadlineExceeded, match="not there within 20 ms"):
            await while_wanted(_request(asyncio.Event(), {b"timeout-ms": b"20"}), work.run())
        await asyncio.sleep(0)
        return work.cancelled

    assert asyncio.run(ask())


@pytest.mark.parametrize("value", [b"0", b"-5", b"1.5", b"soon", b"", b"99999999999", b"\xb2"])
def test_a_timeout_that_is_no_number_of_milliseconds_is_refused(value):
    async def ask():
        work = Work()
        with pytest.raises(InvalidRequest, match=r"^timeout-ms must be a number of milliseconds above 0, got "):
            await while_wanted(_request(asyncio.Event(), {b"timeout-ms": value}), work.run())

    asyncio.run(ask())
