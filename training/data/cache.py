"""The cache folder: what was fetched or computed once, kept under a name.

Knows nothing of what it keeps. An entry is there whole or not at all: it is built in a partial folder beside its
place and renamed when it is complete, so a killed process leaves nothing that could be taken for an entry.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_root() -> Path:
    """The folder named by `LABELSET_CACHE`, by default `~/.cache/labelset`."""
    return Path(os.environ.get("LABELSET_CACHE") or "~/.cache/labelset").expanduser()


def cached_folder(name: str, build: Callable[[Path], None], *, resume: bool = False) -> Path:
    """Return the entry `name`, after building it if it is not there.

    Args:
        name: A file name; put into it every version that makes the content another one.
        build: Fills the folder it is given. When it raises, no entry comes to be.
        resume: Give `build` the folder as an interrupted call left it, where the default is an empty one.
    """
    entry = cache_root() / name
    if entry.is_dir():
        return entry
    cache_root().mkdir(parents=True, exist_ok=True)
    with only_one_process(cache_root() / f".{name}.lock"):
        if entry.is_dir():  # another process built it while this one waited
            return entry
        partial = cache_root() / f".{name}.partial"
        if not resume:
            shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(exist_ok=True)
        build(partial)
        partial.rename(entry)
    return entry


@contextmanager
def only_one_process(lock: Path) -> Iterator[None]:
    """Wait until no other process is within; `lock` is a file for this and nothing else."""
    # The system drops the lock with the process, so a killed one locks nobody out.
    with lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
