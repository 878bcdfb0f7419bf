"""Which bundles are served: names, versions, and what happens to a broken one."""

import hashlib
import json
import logging
import shutil
from pathlib import Path

import pytest

from model.preprocess import WrongInputKind
from service.catalogue import Catalogue, ModelAmbiguous, ModelNotFound, VersionNotFound
from service.repository import NothingToServe, Repository
from service.settings import Settings


@pytest.fixture(scope="module")
def text_bundle(bundles: Path) -> Path:
    return bundles / "text-demo" / "1"


def load(folder: Path, **settings: object) -> Catalogue:
    return Repository.open(Settings(models=folder, **settings)).catalogue


def test_one_bundle_is_served_under_its_own_name_as_version_1(text_bundle):
    [model] = load(text_bundle)
    assert (model.name, model.version, model.kind) == (model.manifest.name, "1", "text")


def test_the_newest_version_is_the_default_and_numbers_go_by_value(text_bundle, tmp_path):
    for version in ("9", "10", "2", "draft"):
        shutil.copytree(text_bundle, tmp_path / "mine" / version)
    catalogue = load(tmp_path)
    assert catalogue.versions("mine") == ["10", "9", "2", "draft"]
    assert catalogue.get("mine").version == "10"
    assert catalogue.get("mine", "2").version == "2"
    with pytest.raises(VersionNotFound, match=r"version of mine must be one of \['10', '9', '2', 'draft'\], got '3'"):
        catalogue.get("mine", "3")


def test_a_bundle_that_is_being_written_is_not_read(text_bundle, tmp_path):
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
def test_a_broken_bundle_is_refused_by_name_and_the_others_are_served(text_bundle, tmp_path, caplog, damage, code):
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


def test_a_folder_with_nothing_sound_is_an_error_that_says_why(text_bundle, tmp_path):
    with pytest.raises(NothingToServe, match=r"NAME/VERSION/bundle\.json, found none"):
        load(tmp_path)
    with pytest.raises(NothingToServe, match="found none"):
        load(tmp_path / "not-there")
    shutil.copytree(text_bundle, tmp_path / "bad" / "1")
    break_checksum(tmp_path / "bad" / "1")
    with pytest.raises(NothingToServe, match=r"all were refused: bad/1 \(bundle_checksum_mismatch"):
        load(tmp_path)


def test_limits_for_callers_do_not_apply_to_golden_examples(text_bundle):
    [model] = load(text_bundle, max_text_chars=1)
    assert model.golden_examples


def test_without_a_name_the_only_model_that_takes_the_input_is_chosen(bundles):
    catalogue = load(bundles)
    assert catalogue.choose("image", None, None).name == "image-demo"
    assert catalogue.choose("text", None, "1").name == "text-demo"
    with pytest.raises(VersionNotFound):
        catalogue.choose("text", None, "7")
    with pytest.raises(ModelNotFound):
        catalogue.choose("text", "nope", None)
    with pytest.raises(WrongInputKind, match="text-demo takes text inputs, got image"):
        catalogue.choose("image", "text-demo", None)


def test_without_a_name_two_models_of_a_kind_are_ambiguous_and_both_are_named(text_bundle, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(text_bundle, tmp_path / name / "1")
    catalogue = load(tmp_path)
    with pytest.raises(ModelAmbiguous, match=r"\['one', 'two'\]"):
        catalogue.choose("text", None, None)
    assert catalogue.choose("text", "two", None).name == "two"
    with pytest.raises(WrongInputKind, match="none of the models served here takes image inputs"):
        catalogue.choose("image", None, None)
