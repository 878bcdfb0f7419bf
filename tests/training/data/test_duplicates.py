import pytest

from training.data.dataset import Example
from training.data.duplicates import group_duplicates, text_key


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("A dog barks.", "the DOG barks!"),
        ("It was sold for 12.50", "It was sold for 9.99"),
        ("dog bites man", "man bites dog"),
        ("Ärger über Öl", "ärger ÜBER öl"),
    ],
)
def test_texts_that_differ_in_little_share_a_key(first, second):
    assert text_key(first) == text_key(second)


@pytest.mark.parametrize(("first", "second"), [("a dog", "a cat"), ("12", "13"), ("to be", "it is")])
def test_other_texts_have_other_keys(first, second):
    assert text_key(first) != text_key(second)


def test_images_are_grouped_by_their_bytes(tmp_path):
    contents = {"a.png": b"12", "b.png": b"12", "c.png": b"34", "d.png": b"567"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    a, b, c, d = (e.group for e in group_duplicates([Example((), image=tmp_path / name) for name in contents]))
    assert a == b
    assert len({a, c, d}) == 3
