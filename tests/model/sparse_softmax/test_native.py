"""Where the compiled kernel is looked for, and that a session does without it."""

import _ctypes
import shutil

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
        native.LibraryNotFound, match=r"LABELSET_NATIVE_LIBRARY must name a library file, or be 'off', got .*absent\.so"
    ):
        native.register(onnxruntime.SessionOptions())


@pytest.fixture
def no_library(tmp_path):
    file = tmp_path / "native" / "liblabelset.so"
    file.parent.mkdir()
    file.write_text("not a library")
    return file


def test_nothing_built_says_how_to_build_it():
    assert native.implementation() == native.Implementation("function", reason="not built, run `make native`")
    assert str(native.implementation()) == "function: not built, run `make native`"


def test_a_built_library_that_does_not_load_is_done_without_and_named_without_its_folder(no_library):
    implementation = native.implementation()
    assert implementation.kind == "function"
    assert implementation.reason.startswith("liblabelset.so does not load: ")
    assert str(no_library.parent) not in implementation.reason
    assert native.register(onnxruntime.SessionOptions()) is False


def test_a_library_of_something_else_is_done_without(no_library):
    shutil.copy(_ctypes.__file__, no_library)
    assert "undefined symbol: labelset_cpu_path" in native.implementation().reason


def test_a_variable_that_names_no_library_is_an_error(monkeypatch, no_library):
    monkeypatch.setenv("LABELSET_NATIVE_LIBRARY", str(no_library))
    for use in (native.implementation, lambda: native.register(onnxruntime.SessionOptions())):
        with pytest.raises(native.LibraryUnusable, match=r"must name a library that loads here: liblabelset\.so"):
            use()


def test_the_kernel_says_what_it_runs_on(monkeypatch, native_library):
    monkeypatch.setattr(native, "_BUILT_LIBRARY", native_library)
    implementation = native.implementation()
    assert implementation.kind == "native"
    assert implementation.reason is None
    assert str(implementation) in {f"native ({path})" for path in ("avx512", "avx2", "neon", "portable")}
    assert native.register(onnxruntime.SessionOptions()) is True


def test_a_relative_path_is_one_from_the_working_directory(monkeypatch, native_library):
    monkeypatch.chdir(native_library.parent)
    monkeypatch.setenv("LABELSET_NATIVE_LIBRARY", native_library.name)
    assert native.implementation().kind == "native"
    assert native.register(onnxruntime.SessionOptions()) is True


def test_the_variable_may_switch_it_off(monkeypatch, native_library):
    monkeypatch.setattr(native, "_BUILT_LIBRARY", native_library)
    monkeypatch.setenv("LABELSET_NATIVE_LIBRARY", "off")
    assert native.library_path() is None
    assert str(native.implementation()) == "function: switched off by LABELSET_NATIVE_LIBRARY"
    assert native.register(onnxruntime.SessionOptions()) is False
