import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from training.data.cache import cache_root, cached_folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABELSET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def start_python(code):
    return subprocess.Popen([sys.executable, "-c", code])


def test_labelset_cache_names_the_root(cache):
    assert cache_root() == cache


def test_without_labelset_cache_the_root_is_in_the_home_folder(monkeypatch):
    monkeypatch.delenv("LABELSET_CACHE")
    assert cache_root() == Path.home() / ".cache/labelset"


def test_an_entry_is_built_once():
    calls = []

    def build(folder):
        calls.append(folder)
        (folder / "content").write_text("built")

    first, second = cached_folder("entry", build), cached_folder("entry", build)
    assert first == second
    assert (first / "content").read_text() == "built"
    assert len(calls) == 1


def test_a_build_that_fails_leaves_no_entry(cache):
    def fail(folder):
        (folder / "half").touch()
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        cached_folder("entry", fail)
    assert not (cache / "entry").exists()
    rebuilt = cached_folder("entry", lambda folder: (folder / "whole").touch())
    assert [path.name for path in rebuilt.iterdir()] == ["whole"]


BUILD_AND_WAIT = """
import time
from training.data.cache import cached_folder
def build(folder):
    (folder / "half").touch()
    time.sleep(60)
cached_folder("entry", build)
"""


@pytest.mark.parametrize(("resume", "content"), [(False, ["whole"]), (True, ["half", "whole"])])
def test_a_killed_build_leaves_no_entry_and_no_lock(cache, resume, content):
    process = start_python(BUILD_AND_WAIT)
    try:
        while not (cache / ".entry.partial/half").exists():
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (cache / "entry").exists()
    rebuilt = cached_folder("entry", lambda folder: (folder / "whole").touch(), resume=resume)
    assert sorted(path.name for path in rebuilt.iterdir()) == content


COUNT_BUILDS = """
import os, time
from training.data.cache import cache_root, cached_folder
def build(folder):
    (cache_root() / f"built-by-{os.getpid()}").touch()
    time.sleep(0.5)
cached_folder("entry", build)
"""


def test_processes_that_want_the_same_entry_build_it_once(cache):
    processes = [start_python(COUNT_BUILDS) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert len(list(cache.glob("built-by-*"))) == 1
