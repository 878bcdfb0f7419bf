"""The same is computed once for all who wait for it, and for nobody who has left."""

import asyncio
import contextlib
import time

import pytest

from service.record import RequestRecord, Stage, current_record, take_in_hand
from service.sharing import Sharing


class Work:
    """Counts how often it is begun and cancelled; goes on when it is let."""

    def __init__(self) -> None:
        self.begun = self.cancelled = 0
        self.may_end = asyncio.Event()

    async def run(self) -> str:
        self.begun += 1
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return f"result {self.begun}"


def _run(scenario):
    async def with_time():
        async with asyncio.timeout(20):
            return await scenario()

    return asyncio.run(with_time())


async def _callers(sharing, work, keys):
    tasks = [asyncio.create_task(sharing.get(key, work.run)) for key in keys]
    await asyncio.sleep(0.01)
    return tasks


def test_who_wants_the_same_at_the_same_time_gets_the_same():
    async def scenario():
        sharing, work = Sharing(), Work()
        tasks = await _callers(sharing, work, ["a", "b", "a", "a"])
        assert work.begun == 2
        work.may_end.set()
        first, _, *rest = await asyncio.gather(*tasks)
        assert [first, *rest] == [first] * 3
        # What is done is not kept.
        await sharing.get("a", work.run)
        return work.begun

    assert _run(scenario) == 3


def test_one_who_leaves_does_not_take_the_work_of_others_with_him():
    async def scenario():
        sharing, work = Sharing(), Work()
        first, second = await _callers(sharing, work, ["a", "a"])
        first.cancel()
        await asyncio.sleep(0.01)
        assert work.cancelled == 0
        work.may_end.set()
        return await second

    assert _run(scenario) == "result 1"


def test_when_the_last_has_left_the_work_ends_and_the_next_begins_anew():
    async def scenario():
        sharing, work = Sharing(), Work()
        tasks = await _callers(sharing, work, ["a", "a"])
        for task in tasks:
            task.cancel()
        # At once: before the cancelled work has come to its end.
        later = asyncio.create_task(sharing.get("a", work.run))
        await asyncio.gather(*tasks, return_exceptions=True)
        again = asyncio.create_task(sharing.get("a", work.run))
        await asyncio.sleep(0.01)
        work.may_end.set()
        return await later, await again, work.cancelled

    later, again, _ = _run(scenario)
    assert later == again


def test_what_goes_wrong_goes_wrong_for_all():
    async def fail():
        await asyncio.sleep(0.01)
        raise ValueError("broken")

    async def scenario():
        sharing = Sharing()
        asked = [sharing.get("a", fail) for _ in range(3)]
        return await asyncio.gather(*asked, return_exceptions=True)

    assert [str(error) for error in _run(scenario)] == ["broken"] * 3


def test_nobody_waits_for_work_that_was_given_up():
    async def scenario():
        sharing, work = Sharing(), Work()
        for _ in range(50):
            [task] = await _callers(sharing, work, ["a"])
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        work.may_end.set()
        return await sharing.get("a", work.run), work.cancelled

    assert _run(scenario) == ("result 51", 50)


def test_each_record_tells_the_stages_of_the_work_from_when_its_request_came():
    async def scenario():
        sharing, ends = Sharing(), {"first": asyncio.Event(), "second": asyncio.Event()}
        true_stages = {}

        async def work():
            for name, end in ends.items():
                start = time.perf_counter()
                await end.wait()
                true_stages[name] = current_record().stages[name] = Stage(start, time.perf_counter())

        async def request():
            take_in_hand(record := RequestRecord())
            with contextlib.suppress(asyncio.CancelledError):
                await sharing.get("a", work)
            return record

        async def come():
            task = asyncio.create_task(request())
            await asyncio.sleep(0.02)
            return task

        begins, comes_in_first, leaves_in_first = [await come() for _ in range(3)]
        leaves_in_first.cancel()
        ends["first"].set()
        await asyncio.sleep(0.02)
        comes_in_second, leaves_in_second = [await come() for _ in range(2)]
        begins.cancel()
        leaves_in_second.cancel()
        await asyncio.sleep(0.02)
        ends["second"].set()
        records = (begins, comes_in_first, leaves_in_first, comes_in_second, leaves_in_second)
        return true_stages, [await record for record in records]

    stages, (begins, comes_in_first, leaves_in_first, comes_in_second, leaves_in_second) = _run(scenario)
    assert begins.stages == stages
    first, second = comes_in_first.stages.values()
    assert list(comes_in_first.stages) == ["first", "second"]
    assert second == stages["second"]
    assert first.end == stages["first"].end
    assert first.start - stages["first"].start > 0.01
    assert comes_in_first.started <= first.start
    assert list(comes_in_second.stages) == ["second"]
    second = comes_in_second.stages["second"]
    assert second.end == stages["second"].end
    assert second.start - stages["second"].start > 0.01
    # Neither had seen the end of a stage.
    assert leaves_in_first.stages == leaves_in_second.stages == {}
