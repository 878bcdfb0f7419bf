"""The same is computed once for all who wait for it, and for nobody who has left."""

import asyncio
import contextlib
import time

import pytest

from model.errors import LabelsetError
from model.session import LET_THE_MODEL_DECIDE, Sparsity
from service.batcher import Batcher
from service.catalogue import ServedModel
from service.metrics import Metrics
from service.record import RequestRecord, take_in_hand
from service.repository import Repository
from service.settings import BatchLimits, Settings


def _text(key):
    return f"It encrypts the disk of {key}."


class Shop:
    """A batcher with one runner, whose model answers when it is let, and how many inputs it was asked."""

    def __init__(self, model, monkeypatch):
        self.computed, self.is_open = 0, False
        self.began = 0.0
        self.model, self.batcher = model, Batcher(BatchLimits(8, 1000), 1, Metrics())
        infer = ServedModel.infer

        async def held(model, items, sparsities):
            self.computed += len(items)
            self.began = time.perf_counter()
            while not self.is_open:
                await asyncio.sleep(0.005)
            return await infer(model, items, sparsities)

        monkeypatch.setattr(ServedModel, "infer", held)

    async def ask(self, *keys):
        """What becomes of texts, as one request asks them."""
        return await self.batcher.ask(self.model, [(_text(key), LET_THE_MODEL_DECIDE) for key in keys]).outcomes()

    async def callers(self, *keys):
        tasks = [asyncio.create_task(self.ask(key)) for key in keys]
        await asyncio.sleep(0.02)
        return tasks


@pytest.fixture
def shop(host, monkeypatch):
    return Shop(Repository.open(Settings(), host).catalogue.get("text-demo"), monkeypatch)


def test_who_asks_the_same_at_the_same_time_gets_the_same(run, shop):
    async def scenario():
        tasks = await shop.callers("a", "b", "a", "a")
        shop.is_open = True
        [first], _, *rest = await asyncio.gather(*tasks)
        assert first.labels
        assert all(outcome is first for [outcome] in rest)
        assert shop.computed == 2
        # What is done is not kept.
        await shop.ask("a")

    run(scenario())
    assert shop.computed == 3


def test_one_who_leaves_does_not_take_the_work_of_others_with_him(run, shop):
    async def scenario():
        first, second = await shop.callers("a", "a")
        first.cancel()
        await asyncio.sleep(0.02)
        shop.is_open = True
        return await second

    [outcome] = run(scenario())
    assert outcome.labels
    assert shop.computed == 1


def test_when_the_last_has_left_nothing_is_computed_and_the_next_begins_anew(run, shop):
    async def scenario():
        [busy] = await shop.callers("busy")
        tasks = await shop.callers("a", "a")
        for task in tasks:
            task.cancel()
        # At once: before those who leave have heard of it.
        later = asyncio.create_task(shop.ask("a"))
        await asyncio.gather(*tasks, return_exceptions=True)
        again = asyncio.create_task(shop.ask("a"))
        await asyncio.sleep(0.02)
        shop.is_open = True
        await busy
        return await later, await again

    [later], [again] = run(scenario())
    assert later is again
    assert shop.computed == 2


def test_nobody_waits_for_what_was_given_up(run, shop):
    async def scenario():
        [busy] = await shop.callers("busy")
        for _ in range(20):
            [task] = await shop.callers("a")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        shop.is_open = True
        await busy
        return await shop.ask("a")

    [outcome] = run(scenario())
    assert outcome.labels
    assert shop.computed == 2


def test_what_goes_wrong_goes_wrong_for_all(run, shop, monkeypatch):
    async def broken(model, items, sparsities):
        await asyncio.sleep(0.01)
        raise ValueError("broken")

    monkeypatch.setattr(ServedModel, "infer", broken)

    async def scenario():
        return await asyncio.gather(*[shop.ask("a") for _ in range(3)])

    outcomes = [outcome for [outcome] in run(scenario())]
    assert [type(outcome) for outcome in outcomes] == [LabelsetError] * 3


def test_an_input_is_computed_once_whatever_is_asked_besides_it(run, shop):
    async def scenario():
        [busy] = await shop.callers("busy")
        tasks = [asyncio.create_task(shop.ask(*keys)) for keys in ("aaa", "ba", "a", "cbd")]
        await asyncio.sleep(0.02)
        tasks[1].cancel()
        shop.is_open = True
        await busy
        return [await task for task in (tasks[0], *tasks[2:])]

    [first, again, once_more], [alone], others = run(scenario())
    assert first is again is once_more is alone
    assert len({id(outcome) for outcome in [first, *others]}) == 4
    assert shop.computed == 1 + 4


def test_another_wish_is_another_question(run, shop):
    async def scenario():
        shop.is_open = True
        wishes = [Sparsity(label_count=1), Sparsity(label_count=2), Sparsity(label_count=1)]
        return await shop.batcher.ask(shop.model, [(_text("a"), wish) for wish in wishes]).outcomes()

    one, two, one_again = run(scenario())
    assert (len(one.labels), len(two.labels)) == (1, 2)
    assert one is one_again
    assert shop.computed == 2


def test_who_has_left_takes_no_memory_while_the_runners_are_busy(run, shop):
    async def scenario():
        [busy] = await shop.callers("busy")
        tasks = await shop.callers(*range(50))
        assert shop.batcher.waiting == 50
        for task in tasks[1:]:
            task.cancel()
        await asyncio.gather(*tasks[1:], return_exceptions=True)
        await asyncio.sleep(0)
        assert shop.batcher.waiting == 1
        shop.is_open = True
        await asyncio.gather(busy, tasks[0])

    run(scenario())
    assert shop.computed == 2


def test_each_record_tells_the_stages_from_when_its_request_came(run, shop):
    async def scenario():
        async def request():
            take_in_hand(record := RequestRecord())
            with contextlib.suppress(asyncio.CancelledError):
                await shop.ask("a")
            return record

        async def come():
            task = asyncio.create_task(request())
            await asyncio.sleep(0.05)
            return task

        [busy] = await shop.callers("busy")
        first, joined_in_queue, leaves = [await come() for _ in range(3)]
        leaves.cancel()
        shop.is_open = True
        await busy
        shop.is_open = False
        joined_at_work = await come()
        shop.is_open = True
        return [await task for task in (first, joined_in_queue, joined_at_work, leaves)]

    first, joined_in_queue, joined_at_work, left = run(scenario())
    assert list(first.stages) == ["queue", "decode", "infer"]
    assert first.stages["queue"].seconds >= 0.15
    assert list(joined_in_queue.stages) == ["queue", "decode", "infer"]
    assert first.stages["queue"].end == joined_in_queue.stages["queue"].end
    assert 0.05 <= first.stages["queue"].seconds - joined_in_queue.stages["queue"].seconds <= 0.14
    assert "queue" not in joined_at_work.stages
    assert joined_at_work.stages["infer"].end == first.stages["infer"].end
    assert sum(stage.seconds for stage in joined_at_work.stages.values()) < sum(
        stage.seconds for name, stage in first.stages.items() if name != "queue"
    )
    assert left.stages == {}
