"""The queue and its runners, on a real model in a real session; only when a runner becomes free is arranged."""

import asyncio
import itertools
import json

import numpy as np
import pytest

from model.errors import LabelsetError
from model.predictor import Predictor
from model.session import LET_THE_MODEL_DECIDE, Sparsity
from service.batcher import Batcher
from service.catalogue import ServedModel
from service.errors import NotReady
from service.logs import JsonFormatter, TextFormatter
from service.metrics import Metrics
from service.record import RequestRecord, take_in_hand
from service.repository import Repository
from service.session_calls import Inferred
from service.settings import BatchLimits, Settings

TEXTS = ["It encrypts the disk.", "The group sent phishing mails to the staff of two banks.", "It lists processes."]


@pytest.fixture(scope="module")
def model(host):
    return Repository.open(Settings(), host).catalogue.get("text-demo")


class Gate:
    """Holds a model's runner up, and writes down the batches that it was given."""

    def __init__(self, monkeypatch):
        self.batches, self.opened = [], False
        infer = ServedModel.infer

        async def held(model, items, sparsities):
            self.batches.append([len(item) // 4 for item in items])
            await _reached(lambda: self.opened)
            if any(len(item) // 4 == POISON for item in items):
                raise RuntimeError("the session died of this row")
            return await infer(model, items, sparsities)

        monkeypatch.setattr(ServedModel, "infer", held)

    def open(self):
        self.opened = True


POISON = 3


@pytest.fixture
def gate(monkeypatch):
    return Gate(monkeypatch)


def batcher(rows=8, tokens=1000, runners=1):
    return Batcher(BatchLimits(rows, tokens), runners, Metrics())


_numbers = itertools.count()


def _inputs(*lengths, sparsity=LET_THE_MODEL_DECIDE):
    """Texts that are taken for so many tokens; no two are the same, which would be computed once."""
    return [(f"{'disk' * (length - 1)}{next(_numbers):04d}", sparsity) for length in lengths]


async def _answers(batcher, model, inputs):
    return await batcher.ask(model, inputs).outcomes()


async def _reached(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def test_the_answers_are_those_of_the_model_in_the_order_of_the_inputs(run, model):
    expected = Predictor(model.bundle).predict(TEXTS)

    async def ask():
        return await _answers(batcher(), model, [(text, LET_THE_MODEL_DECIDE) for text in TEXTS])

    for answer, own in zip(run(ask()), expected, strict=True):
        assert [label for label, _ in answer.labels] == [label for label, _ in own.labels]
        np.testing.assert_allclose([p for _, p in answer.labels], [p for _, p in own.labels], atol=1e-5)


def test_what_comes_while_a_runner_is_busy_goes_together_whoever_sent_it(run, model, gate):
    async def ask():
        one = batcher()
        first = asyncio.create_task(_answers(one, model, _inputs(4)))
        await _reached(lambda: gate.batches)
        others = [
            asyncio.create_task(_answers(one, model, _inputs(4, sparsity=Sparsity(label_count=k)))) for k in range(4)
        ]
        await _reached(lambda: one.waiting == 4)
        gate.open()
        return await first, [(await other)[0] for other in others]

    _, others = run(ask())
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
def test_a_batch_holds_what_fits_the_oldest_first_and_texts_of_one_length(run, model, gate, limits, lengths, batches):
    async def ask():
        one = batcher(**limits)
        first = asyncio.create_task(_answers(one, model, _inputs(5)))
        await _reached(lambda: gate.batches)
        rest = asyncio.create_task(_answers(one, model, _inputs(*lengths)))
        await _reached(lambda: one.waiting == len(lengths))
        gate.open()
        await asyncio.gather(first, rest)

    run(ask())
    assert gate.batches[1:] == batches


def test_a_row_that_breaks_its_batch_fails_alone_and_its_request_is_named(run, model, gate, caplog):
    async def ask():
        one = batcher()
        take_in_hand(RequestRecord(request_id="mine"))
        first = asyncio.create_task(_answers(one, model, _inputs(4)))
        await _reached(lambda: gate.batches)
        rest = asyncio.create_task(_answers(one, model, _inputs(5, POISON, 6)))
        await _reached(lambda: one.waiting == 3)
        gate.open()
        await first
        answers = await rest
        again = await _answers(one, model, _inputs(7))
        return [isinstance(answer, LabelsetError) for answer in (*answers, *again)]

    assert run(ask()) == [False, True, False, False]
    [line] = caplog.records
    assert line.getMessage() == "text-demo/1 failed to answer"
    assert TextFormatter().format(line).splitlines()[0] == "ERROR:     text-demo/1 failed to answer [mine]"
    assert json.loads(JsonFormatter().format(line))["request_id"] == "mine"


def test_who_was_left_for_later_by_the_runner_comes_next_and_is_answered(run, host, bundles, huge_picture):
    pictures = Repository.open(Settings(models=bundles), host).catalogue.get("image-demo")
    small = pictures.facts.golden_examples[0].item
    taken = []
    infer = pictures.hosted.infer

    async def noted(items, sparsities):
        inferred = await infer(items, sparsities)
        taken.append([len(items), inferred.outcomes.count(None)])
        return inferred

    pictures.hosted.infer = noted
    # What stands behind the end of a picture is not read: no two are the same.
    items = [small, huge_picture, *[small + bytes([number]) for number in range(6)]]
    answers = run(_answers(batcher(rows=8), pictures, [(item, LET_THE_MODEL_DECIDE) for item in items]))
    assert taken == [[8, 6], [6, 0]]
    assert [bool(answer.labels) for answer in (answers[0], *answers[2:])] == [True] * 7


def test_a_text_does_not_wait_for_younger_ones_that_were_left_for_later(run, model, monkeypatch):
    taken = []
    infer = ServedModel.infer

    async def one_of_them(model, items, sparsities):
        taken.append([len(item) // 4 for item in items])
        [outcome], seconds = await infer(model, items[:1], sparsities[:1])
        return Inferred([outcome, *[None] * (len(items) - 1)], seconds)

    monkeypatch.setattr(ServedModel, "infer", one_of_them)
    answers = run(_answers(batcher(rows=2), model, _inputs(9, 4, 9, 9, 9)))
    assert taken == [[9, 9], [4, 9], [9, 9], [9, 9], [9]]
    assert [bool(answer.labels) for answer in answers] == [True] * 5


def test_who_has_left_is_not_computed(run, model, gate):
    async def ask():
        one = batcher()
        first = asyncio.create_task(_answers(one, model, _inputs(4)))
        await _reached(lambda: gate.batches)
        left = asyncio.create_task(_answers(one, model, _inputs(5, 6)))
        stays = asyncio.create_task(_answers(one, model, _inputs(7)))
        await _reached(lambda: one.waiting == 3)
        left.cancel()
        await asyncio.sleep(0)
        gate.open()
        await asyncio.gather(first, stays)
        assert one.waiting == 0

    run(ask())
    assert gate.batches == [[4], [7]]


def test_who_has_left_takes_no_place_in_a_batch(run, model, gate):
    async def ask():
        one = batcher(rows=2)
        first = asyncio.create_task(_answers(one, model, _inputs(4)))
        await _reached(lambda: gate.batches)
        stays = asyncio.create_task(_answers(one, model, _inputs(5)))
        left = asyncio.create_task(_answers(one, model, _inputs(5, 5, 5)))
        await _reached(lambda: one.waiting == 4)
        left.cancel()
        await asyncio.sleep(0)
        comes = asyncio.create_task(_answers(one, model, _inputs(6)))
        await _reached(lambda: one.waiting == 2)
        gate.open()
        await asyncio.gather(first, stays, comes)

    run(ask())
    assert gate.batches == [[4], [5, 6]]


def test_a_session_that_answers_too_few_has_failed_and_nobody_waits_on(run, model, monkeypatch, caplog):
    infer = ServedModel.infer

    async def answers_too_few(model, items, sparsities):
        return await infer(model, items[1:], sparsities[1:])

    monkeypatch.setattr(ServedModel, "infer", answers_too_few)

    async def ask():
        async with asyncio.timeout(20):
            return await _answers(batcher(), model, _inputs(4, 5))

    assert all(isinstance(answer, LabelsetError) for answer in run(ask()))
    assert {record.getMessage() for record in caplog.records} == {"text-demo/1 failed to answer"}


def test_closing_answers_what_waits_and_takes_nothing_more(run, model, gate):
    async def ask():
        one = batcher()
        asked = [asyncio.create_task(_answers(one, model, _inputs(4)))]
        await _reached(lambda: gate.batches)
        asked += [asyncio.create_task(_answers(one, model, _inputs(4))) for _ in range(2)]
        await _reached(lambda: one.waiting == 2)
        gate.open()
        await one.close()
        with pytest.raises(NotReady):
            await _answers(one, model, _inputs(4))
        return len(await asyncio.gather(*asked))

    assert run(ask()) == 3


def test_several_runners_work_at_the_same_time(run, model, gate):
    async def ask():
        one = batcher(rows=1, runners=3)
        asked = [asyncio.create_task(_answers(one, model, _inputs(4))) for _ in range(3)]
        await _reached(lambda: len(gate.batches) == 3)
        gate.open()
        await asyncio.gather(*asked)

    run(ask())


def test_each_runner_takes_its_share_of_what_waits(run, model, gate):
    async def ask():
        one = batcher(rows=32, runners=2)
        first = asyncio.create_task(_answers(one, model, _inputs(4, 4)))
        await _reached(lambda: len(gate.batches) == 2)  # both are at work
        rest = asyncio.create_task(_answers(one, model, _inputs(*[5] * 14)))
        await _reached(lambda: one.waiting == 14)
        gate.open()
        return await asyncio.gather(first, rest)

    run(ask())
    assert list(map(len, gate.batches))[:4] == [1, 1, 7, 4]  # of the three that are left, as many as are there


class Turns:
    """Holds each batch up by itself, and writes down how large it is, and how long its texts are."""

    def __init__(self, monkeypatch):
        self.batches, self.lengths, self._ends = [], [], []
        infer = ServedModel.infer

        async def held(model, items, sparsities):
            self.batches.append(len(items))
            self.lengths.append([len(item) // 4 for item in items])
            self._ends.append(asyncio.Event())
            await self._ends[-1].wait()
            return await infer(model, items, sparsities)

        monkeypatch.setattr(ServedModel, "infer", held)

    def end(self, number):
        self._ends[number].set()


def test_a_runner_waits_for_a_few_while_another_is_at_work_but_not_for_long(run, model, monkeypatch):
    turns = Turns(monkeypatch)

    async def ask():
        one = batcher(runners=2)
        first = asyncio.create_task(_answers(one, model, _inputs(*[5] * 8)))
        await _reached(lambda: turns.batches == [4, 4])
        turns.end(0)
        asked = [asyncio.create_task(_answers(one, model, _inputs(5))) for _ in range(3)]
        await asyncio.sleep(0)
        assert turns.batches == [4, 4]
        # The fourth is enough, whenever it comes; without it they are computed a moment later.
        asked += [asyncio.create_task(_answers(one, model, _inputs(5)))]
        await _reached(lambda: turns.batches == [4, 4, 4])
        turns.end(2)
        asked += [asyncio.create_task(_answers(one, model, _inputs(5)))]
        await _reached(lambda: turns.batches == [4, 4, 4, 1])
        for number in (1, 3):
            turns.end(number)
        await asyncio.gather(first, *asked)
        # Nobody else is at work: what comes is computed at once.
        alone = asyncio.create_task(_answers(one, model, _inputs(5)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert turns.batches == [4, 4, 4, 1, 1]
        turns.end(4)
        await alone

    run(ask())


def test_a_text_of_a_rare_length_that_was_passed_over_twice_goes_before_those_that_were_not(run, model, monkeypatch):
    turns = Turns(monkeypatch)

    async def ask():
        one = batcher(rows=3)
        asked = [asyncio.create_task(_answers(one, model, _inputs(5, 10, 25, 60, 5, 5, 5, 5)))]
        await _reached(lambda: turns.lengths == [[5, 5, 5]])
        turns.end(0)
        await _reached(lambda: turns.lengths[1:] == [[10, 5, 5]])
        asked.append(asyncio.create_task(_answers(one, model, _inputs(5, 5, 5))))
        await _reached(lambda: one.waiting == 5)
        turns.end(1)
        await _reached(lambda: turns.lengths[2:] == [[25, 60, 5]])  # nearer to 25 are three fives
        turns.end(2)
        await _reached(lambda: turns.lengths[3:] == [[5, 5]])
        turns.end(3)
        await asyncio.gather(*asked)

    run(ask())
