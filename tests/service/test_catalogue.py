"""Which of the served models a request means."""

import shutil
from pathlib import Path

import pytest

from model.preprocess import WrongInputKind
from service.catalogue import Catalogue, ModelAmbiguous, ModelNotFound, VersionNotFound
from service.errors import NotReady
from service.repository import Repository
from service.settings import Settings


@pytest.fixture(scope="module")
def text_bundle(bundles: Path) -> Path:
    return bundles / "text-demo" / "1"


@pytest.fixture
def load(host):
    def open_folder(folder: Path) -> Catalogue:
        return Repository.open(Settings(models=folder), host).catalogue

    return open_folder


def test_the_newest_version_is_the_default_and_numbers_go_by_value(load, text_bundle, tmp_path):
    for version in ("9", "10", "2", "draft"):
        shutil.copytree(text_bundle, tmp_path / "mine" / version)
    catalogue = load(tmp_path)
    assert catalogue.versions("mine") == ["10", "9", "2", "draft"]
    assert catalogue.get("mine").version == "10"
    assert catalogue.get("mine", "2").version == "2"
    with pytest.raises(VersionNotFound, match=r"version of mine must be one of \['10', '9', '2', 'draft'\], got '3'"):
        catalogue.get("mine", "3")


def test_without_a_name_the_only_model_that_takes_the_input_is_chosen(load, bundles):
    catalogue = load(bundles)
    assert catalogue.choose("image", None, None).name == "image-demo"
    assert catalogue.choose("text", None, "1").name == "text-demo"
    with pytest.raises(VersionNotFound):
        catalogue.choose("text", None, "7")
    with pytest.raises(ModelNotFound):
        catalogue.choose("text", "nope", None)
    with pytest.raises(WrongInputKind, match="text-demo takes text inputs, got image"):
        catalogue.choose("image", "text-demo", None)


def test_without_a_name_two_models_of_a_kind_are_ambiguous_and_both_are_named(load, text_bundle, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(text_bundle, tmp_path / name / "1")
    catalogue = load(tmp_path)
    with pytest.raises(ModelAmbiguous, match=r"\['one', 'two'\]"):
        catalogue.choose("text", None, None)
    assert catalogue.choose("text", "two", None).name == "two"
    with pytest.raises(WrongInputKind, match="none of the models served here takes image inputs"):
        catalogue.choose("image", None, None)


def test_a_change_makes_another_catalogue_and_leaves_the_one_that_a_request_took(load, bundles):
    before = load(bundles)
    text = before.get("text-demo")
    after = before.without("text-demo", "1")
    assert [model.name for model in after] == ["image-demo"]
    assert before.get("text-demo") is text
    assert after.with_model(text).get("text-demo") is text
    assert len(after) == 1


def test_where_nothing_is_served_a_name_is_unknown_and_without_one_the_service_is_not_ready():
    with pytest.raises(ModelNotFound, match=r"model must be one of \[\], got 'text-demo'"):
        Catalogue().choose("text", "text-demo", None)
    with pytest.raises(NotReady, match="no model is served at the moment"):
        Catalogue().choose("text", None, None)
