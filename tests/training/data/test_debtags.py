import pytest

from training.data.dataset import Example, label_counts
from training.data.debtags import load_debtags, read_debtags

PACKAGES = """Package: gcc-11
Version: 11.3
Tag: use::converting, role::program
Description-md5: 01

Package: gcc-12
Version: 12.2
Tag: use::converting
Description-md5: 02

Package: libviewer1
Source: viewer (2.0-1)
Tag: works-with::image, works-with::TODO
Description-md5: 03

Package: viewer
Tag: field::medicine:imaging,
 use::viewing
Description-md5: 04

Package: old-viewer
Source: viewer
Tag: use::printing
Description-md5: 05

Package: untagged
Description-md5: 04

Package: undescribed
Tag: use::viewing
Description-md5: 99
"""
TRANSLATION = """Package: gcc-11
Description-md5: 01
Description-en: C compiler 11
 The compiler, version 11.

Package: gcc-12
Description-md5: 02
Description-en: GNU C compiler
 The compiler, version 12.
 .
 This one is new.

Package: libviewer1
Description-md5: 03
Description-en: library of the viewer

Package: viewer
Description-md5: 04
Description-en: shows pictures
 It shows pictures
 of all kinds.
 .
 Also those of tomographs.

Package: old-viewer
Description-md5: 05
Description-en: transitional package
"""


@pytest.fixture
def examples(tmp_path):
    (tmp_path / "Packages").write_text(PACKAGES)
    (tmp_path / "Translation-en").write_text(TRANSLATION)
    return read_debtags(tmp_path, {"use", "works-with", "field"})


def test_a_source_has_the_text_of_its_main_package_and_the_tags_of_all(examples):
    assert examples[2:] == [
        Example(
            ("field::medicine:imaging", "use::viewing", "works-with::image"),
            text="shows pictures. It shows pictures of all kinds. Also those of tomographs.",
            group="all kinds pictures shows",
        )
    ]


def test_all_facets_are_read_where_none_is_chosen(tmp_path, examples):
    assert read_debtags(tmp_path, None)[0].labels == ("role::program", "use::converting")


def test_versions_of_one_program_are_one_group(examples):
    first, second, viewer = examples
    assert first.text != second.text
    assert first.group == second.group != viewer.group


@pytest.fixture(scope="module")
def debtags():
    return load_debtags()


def test_the_real_data_set_has_its_size(debtags):
    # Ranges, because the lists are those of the machine's own release.
    assert 5_000 < len(list(debtags)) < 7_000
    assert 55 <= len(debtags.labels) <= 65
    assert min(label_counts(list(debtags)).values()) >= 50
    assert all(example.labels for example in debtags)
    assert "sha256 of Packages " in debtags.source


def test_a_real_package_has_its_description_and_its_tags(debtags):
    [example] = [example for example in debtags if example.text.startswith("text-based calendar and todo manager.")]
    assert "CalCurse is a calendar and todo list for the console" in example.text
    assert {"use::organizing", "use::timekeeping", "works-with::pim"} <= set(example.labels)
