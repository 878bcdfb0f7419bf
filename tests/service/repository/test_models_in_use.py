"""What comes before a model is served and what goes with it: requests, sessions, memory."""

import asyncio
import gc
import shutil
import weakref

import pytest

from model.predictor import Predictor
from model.session import LET_THE_MODEL_DECIDE
from service.admission import Admission
from service.batcher import Batcher
from service.catalogue import ServedModel
from service.metrics import Metrics
from service.pipeline import Pipeline
from service.repository import ModelRefused, Repository
from service.result_cache import ResultCache
from service.settings import Settings
from service.wishes import Wish, Wishes

SENTENCE = "The group sent phishing mails to the staff of two banks."


def test_before_it_is_served_a_model_has_answered_one_input_and_several_at_once(root, monkeypatch):
    batches = []
    infer = Predictor.infer

    def counted(predictor, arrays, sparsities=()):
        batches.append(len(arrays))
        return infer(predictor, arrays, sparsities)

    monkeypatch.setattr(Predictor, "infer", counted)
    Repository.open(Settings(models=root))
    assert {1, 2} < set(batches)


def test_the_card_outlives_the_folder(repository, root):
    shutil.rmtree(root / "mine")
    assert repository.catalogue.get("mine").card == "first"


class Gate:
    """Holds every session up until it is opened."""

    def __init__(self, monkeypatch):
        self.reached, self.opened = asyncio.Event(), asyncio.Event()
        infer = ServedModel.infer

        async def held(model, arrays, sparsities):
            self.reached.set()
            async with asyncio.timeout(20):
                await self.opened.wait()
            return await infer(model, arrays, sparsities)

        monkeypatch.setattr(ServedModel, "infer", held)


def sessions_of(model):
    """What must go with a model: its own object, and the runtime's session with the weights."""
    return [weakref.ref(model), weakref.ref(model.predictor.session._session)]


@pytest.mark.parametrize("way", ["unloaded", "replaced"])
def test_who_is_using_a_model_that_goes_gets_his_answer_and_then_its_session_goes(
    repository, index, root, write_version, monkeypatch, way
):
    """One request is being computed and one waits in the queue, when their model is unloaded or replaced."""
    settings = Settings(models=root, runners=1, max_batch_rows=1)
    pipeline = Pipeline(Admission(8), 1, Batcher(settings.batch_limits, settings.runners, Metrics()), ResultCache(1))
    model = repository.catalogue.get("mine")
    parts = sessions_of(model)
    if way == "replaced":
        write_version(root / "mine" / "1", "first, corrected")
        replacement = Repository.open(Settings(models=root))
    gate = Gate(monkeypatch)

    async def ask_and_change():
        nonlocal model
        asked = [
            asyncio.create_task(pipeline.answer(model, [text], Wishes(Wish(LET_THE_MODEL_DECIDE))))
            for text in (SENTENCE, SENTENCE + "!")  # the same would be computed once
        ]
        model = None
        async with asyncio.timeout(20):
            await gate.reached.wait()
        if way == "unloaded":
            await repository.unload("mine")
            assert index() == [("1", "UNLOADING", "unloaded on request")]
        else:
            repository.catalogue = repository.catalogue.with_model(replacement.catalogue.get("mine"))
        gc.collect()
        assert all(part() is not None for part in parts)
        gate.opened.set()
        answers = await asyncio.gather(*asked)
        await pipeline.close()
        return answers

    gc.collect()
    gc.disable()  # the last reference must do, not a search for cycles some time later
    try:
        answers = asyncio.run(ask_and_change())
        assert all(answer.labels for [answer] in answers)
        assert [part() for part in parts] == [None, None]
    finally:
        gc.enable()
    if way == "unloaded":
        assert index() == [("1", "UNAVAILABLE", "unloaded on request")]


def test_a_session_that_nobody_uses_goes_when_it_is_replaced_or_refused(repository, root, write_version, monkeypatch):
    parts = sessions_of(repository.catalogue.get("mine"))
    made = []
    infer = Predictor.infer

    def noted(predictor, arrays, sparsities=()):
        made.append(weakref.ref(predictor.session._session))
        return infer(predictor, arrays, sparsities)

    monkeypatch.setattr(Predictor, "infer", noted)
    gc.collect()
    gc.disable()
    try:
        write_version(root / "mine" / "1", "first, corrected")
        asyncio.run(repository.load("mine"))
        assert [part() for part in parts] == [None, None]
        made.clear()
        write_version(root / "mine" / "2", "second", golden="wrong")
        with pytest.raises(ModelRefused):
            asyncio.run(repository.load("mine"))
        assert made
        assert {session() for session in made} == {None}
    finally:
        gc.enable()
