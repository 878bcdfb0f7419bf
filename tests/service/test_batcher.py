"""The queue and its runners, on a real model in a real session; only when a runner becomes free is arranged."""

import asyncio
import json
import threading

import numpy as np
import pytest

from model.errors import LabelsetError
from model.session import LET_THE_MODEL_DECIDE, Sparsity
from service.batcher import Batcher
from service.errors import NotReady
from service.logs import JsonFormatter, TextFormatter
from service.metrics import Metrics
from service.record import RequestRecord, take_in_hand
from service.repository import Repository
from service.settings import BatchLimits, Settings

TEXTS = ["It encrypts the disk.", "The group sent phishing mails to the staff of two banks.", "It lists processes."]


@pytest.fixture(scope="module")
def model():
    return Repository.open(Settings()).catalogue.get("text-demo")


class Gate:
    """Holds a model's runner up, and writes down the batches that it was given."""

    def __init__(self, model, monkeypatch):
        self.batches, self.opened = [], threading.Event()
        infer = model.predictor.infer

        def held(arrays, sparsities):
            self.batches.append([len(array) for array in arrays])
            assert self.opened.wait(20)
            if any(len(array) == POISON for array in arrays):
                raise RuntimeError("the session died of this row")
            return infer(arrays, sparsities)

        monkeypatch.setattr(model.predictor, "infer", held)


POISON = 3


@pytest.fixture
def gate(model, monkeypatch):
    made = Gate(model, monkeypatch)
    yield made
    made.opened.set()


@pytest.fixture
def batcher():
    made = []

    def make(rows=8, tokens=1000, runners=1):
        made.append(Batcher(BatchLimits(rows, tokens), runners, Metrics()))
        return made[-1]

    yield make
    for one in made:
        one.close()


def _inputs(*lengths, sparsity=LET_THE_MODEL_DECIDE):
    """Token ids that the model knows, of the given lengths."""
    return [(np.arange(5, 5 + length, dtype=np.int64), sparsity) for length in lengths]


async def _reached(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def test_the_answers_are_those_of_the_model_in_the_order_of_the_inputs(model, batcher):
    arrays = [model.preprocess(text) for text in TEXTS]
    expected = [model.predictor.infer([array])[0] for array in arrays]

    async def ask():
        return await batcher().infer(model, [(array, LET_THE_MODEL_DECIDE) for array in arrays])

    for answer, own in zip(asyncio.run(ask()), expected, strict=True):
        assert [label for label, _ in answer.labels] == [label for label, _ in own.labels]
        np.testing.assert_allclose([p for _, p in answer.labels], [p for _, p in own.labels], atol=1e-5)


def test_what_comes_while_a_runner_is_busy_goes_together_whoever_sent_it(model, batcher, gate):
    async def ask():
        one = batcher()
        first = asyncio.create_task(one.infer(model, _inputs(4)))
        await _reached(lambda: gate.batches)
        others = [asyncio.create_task(one.infer(model, _inputs(4, sparsity=Sparsity(label_count=k)))) for k in range(4)]
        await _reached(lambda: one.waiting == 4)
        gate.opened.set()
        return await first, [(await other)[0] for other in others]

    _, others = asyncio.run(ask())
    assert [len(batch) for batch in gate.batches] == [1, 4]
    assert [len(answer.labels) for answer in others] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("limits", "lengths", "batches"),
    [
        ({"rows": 3}, [4] * 7, [[4] * 3, [4] * 3, [4]]),
        # Padded to the longest: 2 * 9, not 9 + 8 + 4.
        ({"tokens": 18}, [9, 4, 8, 4, 4], [[9, 8], [4, 4, 4]]),
        ({"tokens": 18}, [4, 9, 4, 4, 9], [[4, 4, 4], [9, 9]]),
        # One alone may be longer than a batch.
        ({"tokens": 18}, [30, 30], [[30], [30]]),
    ],
)
def test_a_batch_holds_what_fits_the_oldest_first_and_texts_of_one_length(
    model, batcher, gate, limits, lengths, batches
):
    async def ask():
        one = batcher(**limits)
        first = asyncio.create_task(one.infer(model, _inputs(5)))
        await _reached(lambda: gate.batches)
        rest = asyncio.create_task(one.infer(model, _inputs(*lengths)))
        await _reached(lambda: one.waiting == len(lengths))
        gate.opened.set()
        await asyncio.gather(first, rest)

    asyncio.run(ask())
    assert gate.batches[1:] == batches


def test_a_row_that_breaks_its_batch_fails_alone_and_its_request_is_named(model, batcher, gate, caplog):
    async def ask():
        one = batcher()
        take_in_hand(RequestRecord(request_id="mine"))
        first = asyncio.create_task(one.infer(model, _inputs(4)))
        await _reached(lambda: gate.batches)
        rest = asyncio.create_task(one.infer(model, _inputs(5, POISON, 6)))
        await _reached(lambda: one.waiting == 3)
        gate.opened.set()
        await first
        answers = await rest
        again = await one.infer(model, _inputs(7))
        return [isinstance(answer, LabelsetError) for answer in (*answers, *again)]

    assert asyncio.run(ask()) == [False, True, False, False]
    [line] = caplog.records
    assert line.getMessage() == "text-demo/1 failed to answer"
    assert TextFormatter().format(line).splitlines()[0] == "ERROR:     text-demo/1 failed to answer [mine]"
    assert json.loads(JsonFormatter().format(line))["request_id"] == "mine"


def test_who_has_left_is_not_computed(model, batcher, gate):
    async def ask():
        one = batcher()
        first = asyncio.create_task(one.infer(model, _inputs(4)))
        await _reached(lambda: gate.batches)
        left = asyncio.create_task(one.infer(model, _inputs(5, 6)))
        stays = asyncio.create_task(one.infer(model, _inputs(7)))
        await _reached(lambda: one.waiting == 3)
        left.cancel()
        await asyncio.sleep(0)
        gate.opened.set()
        await asyncio.gather(first, stays)
        assert one.waiting == 0

    asyncio.run(ask())
    assert gate.batches == [[4], [7]]


def test_who_has_left_takes_no_place_in_a_batch(model, batcher, gate):
    async def ask():
        one = batcher(rows=2)
        first = asyncio.create_task(one.infer(model, _inputs(4)))
        await _reached(lambda: gate.batches)
        stays = asyncio.create_task(one.infer(model, _inputs(5)))
        left = asyncio.create_task(one.infer(model, _inputs(5, 5, 5)))
        await _reached(lambda: one.waiting == 4)
        left.cancel()
        await asyncio.sleep(0)
        comes = asyncio.create_task(one.infer(model, _inputs(6)))
        await _reached(lambda: one.waiting == 5)
        gate.opened.set()
        await asyncio.gather(first, stays, comes)

    asyncio.run(ask())
    assert gate.batches == [[4], [5, 6]]


def test_a_session_that_answers_too_few_has_failed_and_nobody_waits_on(model, batcher, monkeypatch, caplog):
    infer = model.predictor.infer
    monkeypatch.setattr(model.predictor, "infer", lambda arrays, sparsities: infer(arrays, sparsities)[1:])

    async def ask():
        async with asyncio.timeout(20):
            return await batcher().infer(model, _inputs(4, 5))

    assert all(isinstance(answer, LabelsetError) for answer in asyncio.run(ask()))
    assert {record.getMessage() for record in caplog.records} == {"text-demo/1 failed to answer"}


def test_a_runner_outlives_the_loop_of_a_caller(model, batcher, gate):
    one = batcher()

    async def ask():
        return await one.infer(model, _inputs(4))

    async def leave():
        asking = asyncio.create_task(ask())
        await _reached(lambda: gate.batches)
        assert not asking.done()

    asyncio.run(leave())
    gate.opened.set()
    assert len(asyncio.run(asyncio.wait_for(ask(), 20))) == 1


def test_closing_answers_what_waits_and_takes_nothing_more(model, batcher, gate):
    async def ask():
        one = batcher()
        asked = [asyncio.create_task(one.infer(model, _inputs(4)))]
        await _reached(lambda: gate.batches)
        asked += [asyncio.create_task(one.infer(model, _inputs(4))) for _ in range(2)]
        await _reached(lambda: one.waiting == 2)
        gate.opened.set()
        await asyncio.to_thread(one.close)
        with pytest.raises(NotReady):
            await one.infer(model, _inputs(4))
        return len(await asyncio.gather(*asked))

    assert asyncio.run(ask()) == 3


def test_several_runners_work_at_the_same_time(model, batcher, gate):
    async def ask():
        one = batcher(rows=1, runners=3)
        asked = [asyncio.create_task(one.infer(model, _inputs(4))) for _ in range(3)]
        await _reached(lambda: len(gate.batches) == 3)
        gate.opened.set()
        await asyncio.gather(*asked)

    asyncio.run(ask())


def test_each_runner_takes_its_share_of_what_waits(model, batcher, gate):
    async def ask():
        one = batcher(rows=32, runners=2)
        first = asyncio.create_task(one.infer(model, _inputs(4, 4)))
        await _reached(lambda: len(gate.batches) == 2)  # both are at work
        rest = asyncio.create_task(one.infer(model, _inputs(*[5] * 7)))
        await _reached(lambda: one.waiting == 7)
        gate.opened.set()
        return await asyncio.gather(first, rest)

    asyncio.run(ask())
    assert sorted(map(len, gate.batches)) == [1, 1, 1, 2, 4]
