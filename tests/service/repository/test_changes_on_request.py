"""Loading, replacing and unloading by name, and what the index says of it: real bundles, in this process."""

import asyncio
import logging

import pytest

from service.catalogue import ModelNotFound, VersionNotFound
from service.repository import ModelRefused
from service.session_host import SessionHost


def test_a_new_version_is_served_once_it_is_loaded_and_is_the_default(repository, index, served, root, write_version):
    write_version(root / "mine" / "2", "second")
    assert index() == [("2", "UNAVAILABLE", "not loaded"), ("1", "READY", "")]
    asyncio.run(repository.load("mine", "2"))
    assert served() == {"2": "second", "1": "first"}
    assert repository.catalogue.get("mine").version == "2"
    assert index() == [("2", "READY", ""), ("1", "READY", "")]


def test_a_name_alone_means_every_version_that_lies_there(repository, served, root, write_version):
    write_version(root / "mine" / "2", "second")
    write_version(root / "mine" / "3", "third")
    asyncio.run(repository.load("mine"))
    assert served() == {"3": "third", "2": "second", "1": "first"}
    asyncio.run(repository.unload("mine"))
    assert served() == {}


def test_what_is_loaded_and_has_not_changed_is_not_loaded_again(repository, root):
    before = repository.catalogue.get("mine")
    asyncio.run(repository.load("mine"))
    (root / "mine" / "1" / "model.onnx").touch()
    asyncio.run(repository.load("mine"))
    asyncio.run(repository.rescan())
    assert repository.catalogue.get("mine") is before


def test_other_files_under_the_same_version_are_loaded_in_its_place(repository, served, root, write_version):
    before = repository.catalogue.get("mine")
    write_version(root / "mine" / "1", "first, corrected")
    asyncio.run(repository.load("mine"))
    assert served() == {"1": "first, corrected"}
    assert repository.catalogue.get("mine").digest != before.digest


@pytest.mark.parametrize(
    ("damage", "code"),
    [({"golden": "wrong"}, "bundle_golden_mismatch"), ({"graph": "cut"}, "bundle_checksum_mismatch")],
)
def test_a_broken_version_is_refused_and_the_old_one_serves_on(repository, index, root, write_version, damage, code):
    before = repository.catalogue
    write_version(root / "mine" / "2", "second", **damage)
    with pytest.raises(ModelRefused, match=rf"^refused mine/2 \({code}: "):
        asyncio.run(repository.load("mine"))
    assert repository.catalogue.get("mine") is before.get("mine")
    [new, old] = index()
    assert new[:2] == ("2", "UNAVAILABLE")
    assert new[2].startswith(code)
    assert old == ("1", "READY", "")


def test_no_reason_names_a_path_of_the_machine(repository, index, root, write_version):
    write_version(root / "mine" / "2", "second", graph="unreadable")
    with pytest.raises(ModelRefused, match=r"bundle_graph_mismatch.* from model\.onnx failed") as caught:
        asyncio.run(repository.load("mine"))
    assert str(root) not in caught.value.message
    assert str(root) not in str(index())


def test_while_a_version_is_loaded_the_index_says_so_and_what_is_served_stays_ready(
    repository, index, root, write_version, monkeypatch
):
    seen = []
    load = SessionHost.load

    def seen_from_outside(host, bundle, settings):
        seen.append([(version, state) for version, state, _ in index()])
        return load(host, bundle, settings)

    monkeypatch.setattr(SessionHost, "load", seen_from_outside)
    write_version(root / "mine" / "2", "second")
    asyncio.run(repository.load("mine", "2"))
    write_version(root / "mine" / "2", "second, corrected")
    asyncio.run(repository.load("mine", "2"))
    assert seen == [[("2", "LOADING"), ("1", "READY")], [("2", "READY"), ("1", "READY")]]


def test_a_hundred_concurrent_loads_of_a_model_load_it_once(repository, served, root, write_version, caplog):
    write_version(root / "mine" / "2", "second")

    async def load_at_once():
        await asyncio.gather(*(repository.load("mine") for _ in range(100)))

    with caplog.at_level(logging.INFO):
        asyncio.run(load_at_once())
    [loaded] = [message for message in caplog.messages if message.startswith("serving ")]
    assert loaded.startswith("serving mine/2 on ")
    assert served() == {"2": "second", "1": "first"}


def test_an_unknown_model_or_version_is_neither_loaded_nor_unloaded(repository):
    for change in (repository.load, repository.unload):
        with pytest.raises(ModelNotFound, match=r"model must be one of \['mine'\], got '../mine'"):
            asyncio.run(change("../mine"))
        with pytest.raises(VersionNotFound, match=r"version of mine must be one of \['1'\], got '2'"):
            asyncio.run(change("mine", "2"))


def test_what_was_unloaded_stays_so_until_it_is_loaded_by_name_or_its_files_change(
    repository, index, served, root, write_version
):
    asyncio.run(repository.unload("mine", "1"))
    asyncio.run(repository.unload("mine", "1"))
    asyncio.run(repository.rescan())
    assert served() == {}
    assert index() == [("1", "UNAVAILABLE", "unloaded on request")]
    asyncio.run(repository.load("mine"))
    assert served() == {"1": "first"}
    asyncio.run(repository.unload("mine"))
    write_version(root / "mine" / "1", "first, corrected")
    asyncio.run(repository.rescan())
    assert served() == {"1": "first, corrected"}
