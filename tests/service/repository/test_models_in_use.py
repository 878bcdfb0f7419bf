"""What comes before a model is served and what goes with it: requests, sessions, memory."""

import asyncio
import contextlib
import gc
import shutil
import time
import weakref
from dataclasses import replace
from pathlib import Path

import pytest

from model.bundle import GRAPH, TOKENIZER, Bundle
from model.predictor import Predictor
from model.session import LET_THE_MODEL_DECIDE
from service.admission import Admission
from service.batcher import Batcher
from service.catalogue import ServedModel
from service.metrics import Metrics
from service.pipeline import Pipeline
from service.repository import ModelRefused, Repository
from service.result_cache import ResultCache
from service.session_calls import Load
from service.session_model import SessionModel
from service.settings import Settings
from service.wishes import Wish, Wishes

SENTENCE = "The group sent phishing mails to the staff of two banks."


def test_before_it_is_served_a_model_has_answered_one_input_and_several_at_once(bundles, monkeypatch):
    batches = []
    infer = Predictor.infer

    def counted(predictor, arrays, sparsities=()):
        batches.append(len(arrays))
        return infer(predictor, arrays, sparsities)

    monkeypatch.setattr(Predictor, "infer", counted)
    bundle = Bundle.open(bundles / "text-demo" / "1")
    settings = Settings().load_settings(["cpu"])
    load = Load(0, bundle, settings, str(bundle.file(GRAPH)), bundle.read_text(TOKENIZER))
    model = SessionModel(load)
    assert {1, 2} < set(batches)
    batches.clear()
    again = SessionModel(replace(load, is_known=True))
    assert batches == []  # a process that takes the place of another is there at once
    question = [SENTENCE], [LET_THE_MODEL_DECIDE]
    assert again.infer(*question).outcomes == model.infer(*question).outcomes


def test_the_card_outlives_the_folder(repository, root):
    shutil.rmtree(root / "mine")
    assert repository.catalogue.get("mine").card == "first"


class Gate:
    """Holds every session up until it is opened."""

    def __init__(self, monkeypatch):
        self.reached, self.opened = asyncio.Event(), asyncio.Event()
        infer = ServedModel.infer

        async def held(model, items, sparsities):
            self.reached.set()
            async with asyncio.timeout(20):
                await self.opened.wait()
            return await infer(model, items, sparsities)

        monkeypatch.setattr(ServedModel, "infer", held)


def graphs_held(root):
    """How many graphs of the folder are kept, each by a model of the session process that somebody may ask."""
    held = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            held += str(descriptor.readlink()).startswith(str(root))
    return held


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("way", ["unloaded", "replaced"])
def test_who_is_using_a_model_that_goes_gets_his_answer_and_then_its_session_goes(
    run, host, repository, index, root, write_version, monkeypatch, way
):
    """One request is being computed and one waits in the queue, when their model is unloaded or replaced."""
    settings = Settings(models=root, runners=1, max_batch_rows=1)
    pipeline = Pipeline(
        Admission(8), Batcher(settings.batch_limits, settings.runners, Metrics()), ResultCache(1), settings.limits
    )
    model = repository.catalogue.get("mine")
    part = weakref.ref(model)
    replacements = 0
    if way == "replaced":
        write_version(root / "mine" / "1", "first, corrected")
        replacement = Repository.open(Settings(models=root), host)
        replacements = 1
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
        assert part() is not None
        assert graphs_held(root) == 1 + replacements
        gate.opened.set()
        answers = await asyncio.gather(*asked)
        await pipeline.close()
        return answers

    gc.collect()
    gc.disable()  # the last reference must do, not a search for cycles some time later
    try:
        answers = run(ask_and_change())
        assert all(answer.labels for [answer] in answers)
        assert part() is None
        wait_for(lambda: graphs_held(root) == replacements)
    finally:
        gc.enable()
    if way == "unloaded":
        assert index() == [("1", "UNAVAILABLE", "unloaded on request")]


def test_a_session_that_nobody_uses_goes_when_it_is_replaced_or_refused(run, repository, root, write_version):
    part = weakref.ref(repository.catalogue.get("mine"))
    gc.collect()
    gc.disable()
    try:
        write_version(root / "mine" / "1", "first, corrected")
        run(repository.load("mine"))
        assert part() is None
        wait_for(lambda: graphs_held(root) == 1)
        write_version(root / "mine" / "2", "second", golden="wrong")
        with pytest.raises(ModelRefused):
            run(repository.load("mine"))
        wait_for(lambda: graphs_held(root) == 1)
    finally:
        gc.enable()
