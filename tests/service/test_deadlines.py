"""Connections on which something is late are ended, and no others."""

import asyncio
import time

from service.deadlines import Deadlines


class Wire(asyncio.Transport):
    """A connection that knows when it was ended; one that is `broken` cannot even be."""

    def __init__(self, broken: bool = False) -> None:
        super().__init__()
        self.ended: float | None = None
        self._broken = broken

    def abort(self):
        self.ended = asyncio.get_running_loop().time()
        if self._broken:
            raise RuntimeError("foreseen by this test")


def test_what_is_late_is_ended_and_nothing_else():
    async def wait():
        deadlines, early, late, lifted, renewed = Deadlines(0.4), *(Wire() for _ in range(4))
        begin = asyncio.get_running_loop().time()
        for wire, seconds in ((early, 0.4), (late, 0.8), (lifted, 0.4), (renewed, 0.4)):
            deadlines.set(wire, seconds)
        assert lifted in deadlines
        deadlines.lift(lifted)
        assert lifted not in deadlines
        await asyncio.sleep(0.3)
        deadlines.set(renewed, 60)
        await asyncio.sleep(0.9)
        assert early not in deadlines
        assert (lifted.ended, renewed.ended) == (None, None)
        deadlines.lift(renewed)
        return early.ended - begin, late.ended - begin

    early, late = asyncio.run(wait())
    # The machine may be busy: only too early would be wrong for sure, and so would be the next time of the two.
    assert 0.4 <= early < 0.8 <= late


def test_one_that_cannot_be_ended_keeps_no_other_from_it():
    async def wait():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        deadlines, broken, sound = Deadlines(0.1), Wire(broken=True), Wire()
        deadlines.set(broken, 0.1)
        deadlines.set(sound, 0.1)
        await asyncio.sleep(1)
        return broken.ended, sound.ended

    assert None not in asyncio.run(wait())


def test_time_in_which_the_process_was_stopped_does_not_count():
    async def stop_in_between():
        deadlines, wire = Deadlines(1), Wire()
        deadlines.set(wire, 1)
        time.sleep(1.5)  # the loop stands still
        await asyncio.sleep(0.1)
        early = wire.ended
        await asyncio.sleep(1.5)
        return early, wire.ended

    early, late = asyncio.run(stop_in_between())
    assert early is None
    assert late is not None
