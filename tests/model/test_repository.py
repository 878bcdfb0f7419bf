from pathlib import Path

import pytest

from model.bundle import MANIFEST, InvalidManifest
from model.repository import EMBEDDED_BUNDLES, bundle_folders


def _place(root: Path, *names: str) -> None:
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / MANIFEST).write_text("{}")


def test_bundles_are_found_by_name_the_newest_version_first(tmp_path):
    _place(tmp_path, "b/2", "b/10", "b/beta", "a/1")
    found = [(folder.name, folder.version) for folder in bundle_folders(tmp_path)]
    assert found == [("a", "1"), ("b", "10"), ("b", "2"), ("b", "beta")]


def test_a_bundle_that_is_being_written_is_not_found(tmp_path):
    _place(tmp_path, "a/.1.partial", ".b.partial/1")
    assert bundle_folders(tmp_path) == []


def test_a_model_without_versions_has_one(tmp_path):
    _place(tmp_path, "mine", "other/3")
    (tmp_path / "mine/1").mkdir()
    (tmp_path / "mine/1" / MANIFEST).write_text("{}")
    found = [(folder.name, folder.version, folder.path) for folder in bundle_folders(tmp_path)]
    assert found == [("mine", "1", tmp_path / "mine"), ("other", "3", tmp_path / "other/3")]


def test_a_folder_without_bundles_and_no_folder_hold_none(tmp_path):
    (tmp_path / "notes" / "1").mkdir(parents=True)
    assert bundle_folders(tmp_path) == []
    assert bundle_folders(tmp_path / "absent") == []


def test_a_bundle_is_a_repository_of_itself():
    [folder, *_] = bundle_folders(EMBEDDED_BUNDLES)
    assert bundle_folders(folder.path) == [(folder.name, "1", folder.path)]


def test_a_broken_bundle_is_not_passed_over_in_silence(tmp_path):
    (tmp_path / MANIFEST).write_text("not JSON")
    with pytest.raises(InvalidManifest):
        bundle_folders(tmp_path)
