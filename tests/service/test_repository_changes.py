"""Loading, replacing and unloading while requests go on: real bundles in a real repository, in this process."""

import asyncio
import gc
import logging
import shutil
import threading
import weakref
from contextlib import contextmanager

import pytest

from model import golden
from model.predictor import Predictor
from model.session import LET_THE_MODEL_DECIDE
from service.admission import Admission
from service.batcher import Batcher
from service.catalogue import ModelNotFound, VersionNotFound
from service.metrics import Metrics
from service.pipeline import Pipeline
from service.repository import Entry, ModelRefused, Repository
from service.result_cache import ResultCache
from service.settings import Settings
from service.wishes import Wish, Wishes

SENTENCE = "The group sent phishing mails to the staff of two banks."


@pytest.fixture
def root(tmp_path, write_version):
    """A repository with version 1 of one model."""
    (tmp_path / "mine").mkdir()
    write_version(tmp_path / "mine" / "1", "first")
    return tmp_path


@pytest.fixture
def repository(root):
    opened = Repository.open(Settings(models=root))
    yield opened
    opened.close()


def served(repository):
    """Versions of the one model and their cards."""
    return {
        version: repository.catalogue.get("mine", version).card
        for model in repository.catalogue
        for version in repository.catalogue.versions(model.name)
    }


def index(repository):
    return [(entry.version, entry.state, entry.reason) for entry in repository.index()]


def test_a_new_version_is_served_once_it_is_loaded_and_is_the_default(repository, root, write_version):
    write_version(root / "mine" / "2", "second")
    assert index(repository) == [("2", "UNAVAILABLE", "not loaded"), ("1", "READY", "")]
    asyncio.run(repository.load("mine", "2"))
    assert served(repository) == {"2": "second", "1": "first"}
    assert repository.catalogue.get("mine").version == "2"
    assert index(repository) == [("2", "READY", ""), ("1", "READY", "")]


def test_a_name_alone_means_every_version_that_lies_there(repository, root, write_version):
    write_version(root / "mine" / "2", "second")
    write_version(root / "mine" / "3", "third")
    asyncio.run(repository.load("mine"))
    assert served(repository) == {"3": "third", "2": "second", "1": "first"}
    asyncio.run(repository.unload("mine"))
    assert served(repository) == {}


def test_what_is_loaded_and_has_not_changed_is_not_loaded_again(repository, root):
    before = repository.catalogue.get("mine")
    asyncio.run(repository.load("mine"))
    (root / "mine" / "1" / "model.onnx").touch()
    asyncio.run(repository.load("mine"))
    asyncio.run(repository.rescan())
    assert repository.catalogue.get("mine") is before


def test_other_files_under_the_same_version_are_loaded_in_its_place(repository, root, write_version):
    before = repository.catalogue.get("mine")
    write_version(root / "mine" / "1", "first, corrected")
    asyncio.run(repository.load("mine"))
    assert served(repository) == {"1": "first, corrected"}
    assert repository.catalogue.get("mine").digest != before.digest


@pytest.mark.parametrize(
    ("damage", "code"),
    [({"golden": "wrong"}, "bundle_golden_mismatch"), ({"graph": "cut"}, "bundle_checksum_mismatch")],
)
def test_a_broken_version_is_refused_and_the_old_one_serves_on(repository, root, write_version, damage, code):
    before = repository.catalogue
    write_version(root / "mine" / "2", "second", **damage)
    with pytest.raises(ModelRefused, match=rf"^refused mine/2 \({code}: "):
        asyncio.run(repository.load("mine"))
    assert repository.catalogue.get("mine") is before.get("mine")
    [new, old] = index(repository)
    assert new[:2] == ("2", "UNAVAILABLE")
    assert new[2].startswith(code)
    assert old == ("1", "READY", "")


def test_a_broken_bundle_in_the_place_of_a_served_one_is_refused_and_the_index_says_so(repository, root, write_version):
    before = repository.catalogue.get("mine")
    write_version(root / "mine" / "1", "first, broken", golden="wrong")
    asyncio.run(repository.rescan())
    assert repository.catalogue.get("mine") is before
    [(_, state, reason)] = index(repository)
    assert state == "READY"
    assert reason.startswith("bundle_golden_mismatch")
    write_version(root / "mine" / "1", "first")
    asyncio.run(repository.rescan())
    assert index(repository) == [("1", "READY", "")]


def test_no_reason_names_a_path_of_the_machine(repository, root, write_version):
    write_version(root / "mine" / "2", "second", graph="unreadable")
    with pytest.raises(ModelRefused, match=r"bundle_graph_mismatch.*mine/2/model\.onnx") as caught:
        asyncio.run(repository.load("mine"))
    assert str(root) not in caught.value.message
    assert str(root) not in str(index(repository))


def test_while_a_version_is_loaded_the_index_says_so_and_what_is_served_stays_ready(
    repository, root, write_version, monkeypatch
):
    seen = []
    replay = golden.replay

    def seen_from_outside(predictor):
        seen.append([(version, state) for version, state, _ in index(repository)])
        return replay(predictor)

    monkeypatch.setattr(golden, "replay", seen_from_outside)
    write_version(root / "mine" / "2", "second")
    asyncio.run(repository.load("mine", "2"))
    write_version(root / "mine" / "2", "second, corrected")
    asyncio.run(repository.load("mine", "2"))
    assert seen == [[("2", "LOADING"), ("1", "READY")], [("2", "READY"), ("1", "READY")]]


def test_a_hundred_concurrent_loads_of_a_model_load_it_once(repository, root, write_version, caplog):
    write_version(root / "mine" / "2", "second")

    async def load_at_once():
        await asyncio.gather(*(repository.load("mine") for _ in range(100)))

    with caplog.at_level(logging.INFO):
        asyncio.run(load_at_once())
    [loaded] = [message for message in caplog.messages if message.startswith("serving ")]
    assert loaded.startswith("serving mine/2 on ")
    assert served(repository) == {"2": "second", "1": "first"}


def test_an_unknown_model_or_version_is_neither_loaded_nor_unloaded(repository):
    for change in (repository.load, repository.unload):
        with pytest.raises(ModelNotFound, match=r"model must be one of \['mine'\], got '../mine'"):
            asyncio.run(change("../mine"))
        with pytest.raises(VersionNotFound, match=r"version of mine must be one of \['1'\], got '2'"):
            asyncio.run(change("mine", "2"))


def test_what_was_unloaded_stays_so_until_it_is_loaded_by_name_or_its_files_change(repository, root, write_version):
    asyncio.run(repository.unload("mine", "1"))
    asyncio.run(repository.unload("mine", "1"))
    asyncio.run(repository.rescan())
    assert served(repository) == {}
    assert index(repository) == [("1", "UNAVAILABLE", "unloaded on request")]
    asyncio.run(repository.load("mine"))
    assert served(repository) == {"1": "first"}
    asyncio.run(repository.unload("mine"))
    write_version(root / "mine" / "1", "first, corrected")
    asyncio.run(repository.rescan())
    assert served(repository) == {"1": "first, corrected"}


def test_a_rescan_loads_what_came_and_unloads_what_went(repository, root, write_version):
    write_version(root / "mine" / "2", "second")
    asyncio.run(repository.rescan())
    assert served(repository) == {"2": "second", "1": "first"}
    shutil.rmtree(root / "mine" / "1")
    asyncio.run(repository.rescan())
    assert served(repository) == {"2": "second"}
    assert repository.index() == [Entry("mine", "2", "READY", "")]


def test_a_refusal_is_logged_once_and_tried_again_when_the_files_change(repository, root, write_version, caplog):
    folder = write_version(root / "mine" / "2", "second", graph="cut")
    for _ in range(3):
        asyncio.run(repository.rescan())
    assert sum(message.startswith("refused mine/2") for message in caplog.messages) == 1
    (folder / "model.onnx").write_bytes((root / "mine" / "1" / "model.onnx").read_bytes())
    asyncio.run(repository.rescan())
    assert served(repository) == {"2": "second", "1": "first"}


def test_a_served_bundle_that_has_lost_its_manifest_serves_on(repository, root, caplog):
    manifest = root / "mine" / "1" / "bundle.json"
    content = manifest.read_bytes()
    manifest.unlink()
    for _ in range(2):
        asyncio.run(repository.rescan())
    assert served(repository) == {"1": "first"}
    assert sum("bundle_missing_file" in message for message in caplog.messages) == 1
    with pytest.raises(ModelRefused, match="bundle_missing_file"):
        asyncio.run(repository.load("mine"))
    manifest.write_bytes(content)
    asyncio.run(repository.rescan())
    assert index(repository) == [("1", "READY", "")]


@contextmanager
def after_a_moment(act):
    """Do something while the repository waits for its second look."""
    timer = threading.Timer(0.2, act)
    timer.start()
    yield
    timer.join()


def test_a_folder_that_is_being_written_is_left_for_the_next_time(repository, root, write_version, caplog):
    folder = write_version(root / "mine" / "2", "second", graph="cut")
    with after_a_moment(lambda: (folder / "model.onnx").write_bytes((root / "mine" / "1" / "model.onnx").read_bytes())):
        asyncio.run(repository.rescan())
    assert served(repository) == {"1": "first"}
    asyncio.run(repository.rescan())
    assert served(repository) == {"2": "second", "1": "first"}
    assert not [message for message in caplog.messages if message.startswith("refused")]


def test_a_folder_that_is_away_for_a_moment_is_not_unloaded(repository, root, write_version):
    (root / "other").mkdir()
    write_version(root / "other" / "1", "other")
    asyncio.run(repository.load("other"))
    before = repository.catalogue.get("mine")
    away = root / "mine" / ".1.away"
    (root / "mine" / "1").rename(away)
    with after_a_moment(lambda: away.rename(root / "mine" / "1")):
        asyncio.run(repository.rescan())
    assert repository.catalogue.get("mine") is before


def test_where_the_whole_folder_is_gone_or_empty_nothing_is_unloaded(repository, root, write_version, caplog):
    away = root.with_name(root.name + ".away")
    root.rename(away)
    for _ in range(2):
        asyncio.run(repository.rescan())
    assert served(repository) == {"1": "first"}
    assert len(caplog.messages) == 1
    root.mkdir()
    for _ in range(2):
        asyncio.run(repository.rescan())
    assert served(repository) == {"1": "first"}
    assert len(caplog.messages) == 2
    root.rmdir()
    away.rename(root)
    asyncio.run(repository.rescan())
    root.rename(away)
    asyncio.run(repository.rescan())
    assert len(caplog.messages) == 3
    away.rename(root)
    write_version(root / "mine" / "2", "second")
    asyncio.run(repository.rescan())
    assert served(repository) == {"2": "second", "1": "first"}


def test_a_bundle_that_is_replaced_while_it_is_read_is_refused_and_read_again(
    repository, root, write_version, monkeypatch, caplog
):
    """The checksums were those of one content, the session would be that of another."""
    write_version(root / "mine" / "2", "second")
    replay = golden.replay

    def replaced_meanwhile(predictor):
        write_version(root / "mine" / "2", "second, corrected")
        return replay(predictor)

    with monkeypatch.context() as patched:
        patched.setattr(golden, "replay", replaced_meanwhile)
        asyncio.run(repository.rescan())
    assert served(repository) == {"1": "first"}
    assert caplog.messages == ["refused mine/2 (bundle_changed_while_read: its files changed while they were read)"]
    asyncio.run(repository.rescan())
    assert served(repository) == {"2": "second, corrected", "1": "first"}


def test_a_renamed_version_is_served_under_one_of_its_names_at_any_moment(repository, root, monkeypatch):
    served_then = []
    find = repository.catalogue.__class__.with_model

    def watched(catalogue, model):
        changed = find(catalogue, model)
        served_then.append(changed.versions("mine"))
        return changed

    monkeypatch.setattr(repository.catalogue.__class__, "with_model", watched)
    (root / "mine" / "1").rename(root / "mine" / "7")
    asyncio.run(repository.rescan())
    assert served_then == [["7", "1"]]
    assert served(repository) == {"7": "first"}


def test_one_bundle_that_is_its_own_repository_is_replaced_in_place(tmp_path, write_version):
    repository = Repository.open(Settings(models=write_version(tmp_path / "alone", "first")))
    [before] = repository.catalogue
    (tmp_path / "alone" / "bundle.json").rename(tmp_path / "manifest")
    asyncio.run(repository.rescan())
    assert list(repository.catalogue) == [before]
    (tmp_path / "alone" / "bundle.json").write_text("{")
    asyncio.run(repository.rescan())
    assert list(repository.catalogue) == [before]
    with pytest.raises(ModelRefused, match="bundle_invalid_manifest"):
        asyncio.run(repository.load(before.name))
    write_version(tmp_path / "alone", "second")
    asyncio.run(repository.rescan())
    assert [model.card for model in repository.catalogue] == ["second"]
    repository.close()


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
        self.reached, self.opened = threading.Event(), threading.Event()
        infer = Predictor.infer

        def held(predictor, arrays, sparsities=()):
            self.reached.set()
            assert self.opened.wait(20)
            return infer(predictor, arrays, sparsities)

        monkeypatch.setattr(Predictor, "infer", held)


def sessions_of(model):
    """What must go with a model: its own object, and the runtime's session with the weights."""
    return [weakref.ref(model), weakref.ref(model.predictor.session._session)]


@pytest.mark.parametrize("way", ["unloaded", "replaced"])
def test_who_is_using_a_model_that_goes_gets_his_answer_and_then_its_session_goes(
    repository, root, write_version, monkeypatch, way
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
            asyncio.create_task(pipeline.answer(model, [SENTENCE], Wishes(Wish(LET_THE_MODEL_DECIDE))))
            for _ in range(2)
        ]
        model = None
        assert await asyncio.to_thread(gate.reached.wait, 20)
        if way == "unloaded":
            await repository.unload("mine")
            assert index(repository) == [("1", "UNLOADING", "unloaded on request")]
        else:
            repository.catalogue = repository.catalogue.with_model(replacement.catalogue.get("mine"))
        gc.collect()
        assert all(part() is not None for part in parts)
        gate.opened.set()
        return await asyncio.gather(*asked)

    gc.collect()
    gc.disable()  # the last reference must do, not a search for cycles some time later
    try:
        answers = asyncio.run(ask_and_change())
        assert all(answer.labels for [answer] in answers)
        pipeline.close()
        assert [part() for part in parts] == [None, None]
    finally:
        gc.enable()
    if way == "unloaded":
        assert index(repository) == [("1", "UNAVAILABLE", "unloaded on request")]


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
