"""The event loop's end of a channel, over a real socket pair, on both loops that the service may run on."""

import asyncio
import contextlib
import socket
import threading

import numpy as np
import pytest
import uvloop

from service import session_messages
from service.session_channel import SessionChannel


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop])
def run(request):
    def run(coroutine):
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(asyncio.wait_for(coroutine, 30))

    return run


@pytest.fixture
def ends():
    here, there = socket.socketpair()
    with here, there:
        yield here, there


def test_questions_and_answers_of_any_size_go_over_one_after_another(run, ends):
    here, there = ends

    def echo():
        for _ in range(3):
            session_messages.send(there, session_messages.receive(there))

    async def ask():
        channel = await SessionChannel.open(here)
        answers = [await channel.ask(np.arange(size)) for size in (3, 700_000, 0)]
        channel.close()
        return answers

    other = threading.Thread(target=echo)
    other.start()
    answers = run(ask())
    other.join(timeout=20)
    assert [len(answer) for answer in answers] == [3, 700_000, 0]
    np.testing.assert_array_equal(answers[1], np.arange(700_000))


def test_an_answer_may_arrive_byte_by_byte(run, ends):
    here, there = ends

    async def ask():
        channel = await SessionChannel.open(here)
        asking = asyncio.create_task(channel.ask("?"))
        await asyncio.sleep(0.05)
        for byte in b"".join(session_messages.encode({"labels": [1, 2]})):
            there.send(bytes([byte]))
            await asyncio.sleep(0)
        answer = await asking
        channel.close()
        return answer

    assert run(ask()) == {"labels": [1, 2]}


@pytest.mark.parametrize("when", ["asking", "idle"])
def test_the_end_of_the_other_side_is_told(run, ends, when):
    here, there = ends

    async def ask():
        channel = await SessionChannel.open(here)
        if when == "idle":
            there.close()
            await asyncio.sleep(0.05)
            await channel.ask("?")
        asking = asyncio.create_task(channel.ask("?"))
        await asyncio.sleep(0.05)
        there.close()
        await asking

    with pytest.raises(EOFError):
        run(ask())


def test_who_is_not_waited_for_any_more_takes_no_answer_from_the_next(run, ends):
    here, there = ends

    async def ask():
        channel = await SessionChannel.open(here)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(channel.ask("?"), 0.05)
        channel.close()
        with contextlib.suppress(OSError):
            session_messages.send(there, "late")
        with pytest.raises(EOFError):
            await channel.ask("!")

    run(ask())
