"""Which bundles are served: names, versions, and what happens to a broken one."""

import hashlib
import json
import logging
import shutil
from pathlib import Path

import pytest

from service.catalogue import Catalogue
from service.repository import NothingToServe, Repository
from service.settings import Settings


@pytest.fixture(scope="module")
def text_bundle(bundles: Path) -> Path:
    return bundles / "text-demo" / "1"


@pytest.fixture
def load(host):
    def open_folder(folder: Path, **settings: object) -> Catalogue:
        return Repository.open(Settings(models=folder, **settings), host).catalogue

    return open_folder


def test_one_bundle_is_served_under_its_own_name_as_version_1(load, text_bundle):
    [model] = load(text_bundle)
    assert (model.name, model.version, model.kind) == (model.manifest.name, "1", "text")


def test_a_bundle_that_is_being_written_is_not_read(load, text_bundle, tmp_path):
    shutil.copytree(text_bundle, tmp_path / "mine" / "1")
    shutil.copytree(text_bundle, tmp_path / "mine" / ".2.half")
    assert load(tmp_path).versions("mine") == ["1"]


def break_checksum(folder: Path) -> None:
    with (folder / "model.onnx").open("ab") as stream:
        stream.write(b"x")


def break_manifest(folder: Path) -> None:
    (folder / "bundle.json").write_text("{")


def break_golden(folder: Path) -> None:
    examples = json.loads((folder / "golden.json").read_text())
    examples[0]["labels"] = []
    (folder / "golden.json").write_text(json.dumps(examples))
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["files"]["golden.json"] = hashlib.sha256((folder / "golden.json").read_bytes()).hexdigest()
    (folder / "bundle.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (break_checksum, "bundle_checksum_mismatch"),
        (break_manifest, "bundle_invalid_manifest"),
        (break_golden, "bundle_golden_mismatch"),
    ],
)
def test_a_broken_bundle_is_refused_by_name_and_the_others_are_served(
    load, text_bundle, tmp_path, caplog, damage, code
):
    shutil.copytree(text_bundle, tmp_path / "good" / "1")
    shutil.copytree(text_bundle, tmp_path / "good" / "2")
    shutil.copytree(text_bundle, tmp_path / "bad" / "1")
    damage(tmp_path / "good" / "2")
    damage(tmp_path / "bad" / "1")
    with caplog.at_level(logging.ERROR):
        catalogue = load(tmp_path)
    assert [(model.name, model.version) for model in catalogue] == [("good", "1")]
    assert f"refused bad/1 ({code}" in caplog.text
    assert f"refused good/2 ({code}" in caplog.text


def test_a_folder_with_nothing_sound_is_an_error_that_says_why(load, text_bundle, tmp_path):
    with pytest.raises(NothingToServe, match=r"NAME/VERSION/bundle\.json, found none"):
        load(tmp_path)
    with pytest.raises(NothingToServe, match="found none"):
        load(tmp_path / "not-there")
    shutil.copytree(text_bundle, tmp_path / "bad" / "1")
    break_checksum(tmp_path / "bad" / "1")
    with pytest.raises(NothingToServe, match=r"all were refused: bad/1 \(bundle_checksum_mismatch"):
        load(tmp_path)


def test_limits_for_callers_do_not_apply_to_golden_examples(load, text_bundle):
    [model] = load(text_bundle, max_text_chars=1)
    assert model.facts.golden_examples
