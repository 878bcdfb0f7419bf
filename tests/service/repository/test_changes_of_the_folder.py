"""What a look at the folder changes, and what it leaves alone: real bundles, in this process."""

import asyncio
import shutil
import threading
from contextlib import contextmanager

import pytest

from service.repository import Entry, ModelRefused, Repository
from service.session_host import SessionHost
from service.settings import Settings


def test_a_broken_bundle_in_the_place_of_a_served_one_is_refused_and_the_index_says_so(
    repository, index, root, write_version
):
    before = repository.catalogue.get("mine")
    write_version(root / "mine" / "1", "first, broken", golden="wrong")
    asyncio.run(repository.rescan())
    assert repository.catalogue.get("mine") is before
    [(_, state, reason)] = index()
    assert state == "READY"
    assert reason.startswith("bundle_golden_mismatch")
    write_version(root / "mine" / "1", "first")
    asyncio.run(repository.rescan())
    assert index() == [("1", "READY", "")]


def test_a_rescan_loads_what_came_and_unloads_what_went(repository, served, root, write_version):
    write_version(root / "mine" / "2", "second")
    asyncio.run(repository.rescan())
    assert served() == {"2": "second", "1": "first"}
    shutil.rmtree(root / "mine" / "1")
    asyncio.run(repository.rescan())
    assert served() == {"2": "second"}
    assert repository.index() == [Entry("mine", "2", "READY", "")]


def test_a_refusal_is_logged_once_and_tried_again_when_the_files_change(
    repository, served, root, write_version, caplog
):
    folder = write_version(root / "mine" / "2", "second", graph="cut")
    for _ in range(3):
        asyncio.run(repository.rescan())
    assert sum(message.startswith("refused mine/2") for message in caplog.messages) == 1
    (folder / "model.onnx").write_bytes((root / "mine" / "1" / "model.onnx").read_bytes())
    asyncio.run(repository.rescan())
    assert served() == {"2": "second", "1": "first"}


def test_a_served_bundle_that_has_lost_its_manifest_serves_on(repository, index, served, root, caplog):
    manifest = root / "mine" / "1" / "bundle.json"
    content = manifest.read_bytes()
    manifest.unlink()
    for _ in range(2):
        asyncio.run(repository.rescan())
    assert served() == {"1": "first"}
    assert sum("bundle_missing_file" in message for message in caplog.messages) == 1
    with pytest.raises(ModelRefused, match="bundle_missing_file"):
        asyncio.run(repository.load("mine"))
    manifest.write_bytes(content)
    asyncio.run(repository.rescan())
    assert index() == [("1", "READY", "")]


@contextmanager
def after_a_moment(act):
    """Do something while the repository waits for its second look."""
    timer = threading.Timer(0.2, act)
    timer.start()
    yield
    timer.join()


def test_a_folder_that_is_being_written_is_left_for_the_next_time(repository, served, root, write_version, caplog):
    folder = write_version(root / "mine" / "2", "second", graph="cut")
    with after_a_moment(lambda: (folder / "model.onnx").write_bytes((root / "mine" / "1" / "model.onnx").read_bytes())):
        asyncio.run(repository.rescan())
    assert served() == {"1": "first"}
    asyncio.run(repository.rescan())
    assert served() == {"2": "second", "1": "first"}
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


def test_where_the_whole_folder_is_gone_or_empty_nothing_is_unloaded(repository, served, root, write_version, caplog):
    away = root.with_name(root.name + ".away")
    root.rename(away)
    for _ in range(2):
        asyncio.run(repository.rescan())
    assert served() == {"1": "first"}
    assert len(caplog.messages) == 1
    root.mkdir()
    for _ in range(2):
        asyncio.run(repository.rescan())
    assert served() == {"1": "first"}
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
    assert served() == {"2": "second", "1": "first"}


def test_a_bundle_that_is_replaced_while_it_is_read_is_refused_and_read_again(
    repository, served, root, write_version, monkeypatch, caplog
):
    """The checksums were those of one content, the session would be that of another."""
    write_version(root / "mine" / "2", "second")
    load = SessionHost.load

    def replaced_meanwhile(host, bundle, settings):
        write_version(root / "mine" / "2", "second, corrected")
        return load(host, bundle, settings)

    with monkeypatch.context() as patched:
        patched.setattr(SessionHost, "load", replaced_meanwhile)
        asyncio.run(repository.rescan())
    assert served() == {"1": "first"}
    assert caplog.messages == ["refused mine/2 (bundle_changed_while_read: its files changed while they were read)"]
    asyncio.run(repository.rescan())
    assert served() == {"2": "second, corrected", "1": "first"}


def test_a_renamed_version_is_served_under_one_of_its_names_at_any_moment(repository, served, root, monkeypatch):
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
    assert served() == {"7": "first"}


def test_one_bundle_that_is_its_own_repository_is_replaced_in_place(host, tmp_path, write_version):
    repository = Repository.open(Settings(models=write_version(tmp_path / "alone", "first")), host)
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
