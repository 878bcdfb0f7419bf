import hashlib

import pytest

from training.data.apt_lists import fetch_apt_lists, read_release, read_stanzas
from training.data.packages import FetchError

LIST = """Package: a
Version: 1:2.0
Tag: role::program, use::editing,
 works-with::text
Section: editors

Package: b
Description-en: short words
 Long words.
 .
 More: with a colon
"""


def test_stanzas_have_the_wanted_fields_with_all_their_lines(tmp_path):
    (tmp_path / "Packages").write_text(LIST)
    assert list(read_stanzas(tmp_path / "Packages", ("Package", "Tag", "Description-en"))) == [
        {"Package": "a", "Tag": "role::program, use::editing,\n works-with::text"},
        {"Package": "b", "Description-en": "short words\n Long words.\n .\n More: with a colon"},
    ]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABELSET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_lists_of_the_machines_debian_are_fetched_and_recorded(cache):
    folder = fetch_apt_lists()
    assert sorted(path.name for path in folder.iterdir()) == ["Packages", "Translation-en", "release.json"]
    release = read_release(folder)
    assert release.packages_sha256 == hashlib.sha256((folder / "Packages").read_bytes()).hexdigest()
    assert release.translation_sha256 == hashlib.sha256((folder / "Translation-en").read_bytes()).hexdigest()
    assert "-" not in release.codename
    assert release.version[0].isdigit()
    assert "dpkg" in {stanza["Package"] for stanza in read_stanzas(folder / "Packages", ("Package",))}


def test_sources_without_debian_are_an_error(cache, tmp_path, monkeypatch):
    (tmp_path / "apt.conf").write_text('Dir::Etc::SourceList "/dev/null"; Dir::Etc::SourceParts "/dev/null";')
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    with pytest.raises(FetchError, match=r"no release in apt's sources is Origin: Debian and Component: main"):
        fetch_apt_lists()
