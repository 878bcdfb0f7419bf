"""Where the compiled kernel is looked for, and that a session does without it."""

import onnxruntime
import pytest

from model.sparse_softmax import native


@pytest.fixture(autouse=True)
def _nothing_built(monkeypatch, tmp_path):
    """A developer may have built the library; these tests are about the search."""
    monkeypatch.delenv("LABELSET_NATIVE_LIBRARY", raising=False)
    monkeypatch.setattr(native, "_BUILT_LIBRARY", tmp_path / "native" / "liblabelset.so")


def test_no_library_is_an_answer_and_registers_nothing():
    assert native.library_path() is None
    assert native.register(onnxruntime.SessionOptions()) is False


def test_the_built_library_is_found(tmp_path):
    built = tmp_path / "native" / "liblabelset.so"
    built.parent.mkdir()
    built.touch()
    assert native.library_path() == built


def test_the_variable_goes_before_the_built_library(monkeypatch, tmp_path):
    for library in (tmp_path / "native" / "liblabelset.so", tmp_path / "mine.so"):
        library.parent.mkdir(exist_ok=True)
        library.touch()
    monkeypatch.setenv("LABELSET_NATIVE_LIBRARY", str(tmp_path / "mine.so"))
    assert native.library_path() == tmp_path / "mine.so"


def test_a_variable_that_names_no_file_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv("LABELSET_NATIVE_LIBRARY", str(tmp_path / "absent.so"))
    with pytest.raises(
        native.LibraryNotFound, match=r"LABELSET_NATIVE_LIBRARY must name a library file, got .*absent\.so"
    ):
        native.register(onnxruntime.SessionOptions())


def test_a_file_that_is_no_library_is_refused_by_the_runtime(monkeypatch, tmp_path):
    (tmp_path / "text.so").write_text("not a library")
    monkeypatch.setenv("LABELSET_NATIVE_LIBRARY", str(tmp_path / "text.so"))
    with pytest.raises(Exception, match=r"text\.so"):
        native.register(onnxruntime.SessionOptions())
