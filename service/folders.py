"""How the folders of a repository look from outside: enough to see what has changed, without reading a file."""

import os
from collections.abc import Iterable
from pathlib import Path

from model.errors import LabelsetError
from model.repository import BundleFolder, bundle_folders

# Of each file its name, inode, size and times; empty where the folder cannot be read.
Look = tuple[tuple[str, int, int, int, int], ...]


class RepositoryEmpty(LabelsetError):
    """Where bundles were there are none at all."""

    code = "repository_empty"


def look(folder: Path) -> Look:
    """What changes whenever a file of the folder is written, added, removed or put in the place of another."""
    try:
        with os.scandir(folder) as entries:
            files = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
    except OSError:
        return ()
    return tuple(sorted((name, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for name, stat in files))


def look_around(
    root: Path, remembered: Iterable[BundleFolder] = ()
) -> dict[tuple[str, str], tuple[BundleFolder, Look]]:
    """How every version under `root` looks, by name and version.

    Args:
        root: A bundle, or a repository of them.
        remembered: Folders that held a bundle before. One that is still there counts, with or without its manifest: it
            may be on the way of becoming a bundle again.

    Raises:
        OSError: `root` cannot be read.
        BundleError: `root` is a bundle itself, and its manifest is broken.
        RepositoryEmpty: there is nothing, which looks like a disk that is gone and not like a wish.
    """
    os.scandir(root).close()  # an unreadable folder looks like an empty one to whoever only asks for bundles
    folders = {folder.key: folder for folder in bundle_folders(root)}
    paths = {folder.path for folder in folders.values()}
    for folder in remembered:
        if folder.path not in paths and not _is_gone(folder.path):
            folders.setdefault(folder.key, folder)
    if not folders:
        raise RepositoryEmpty(f"{root} holds no bundle any more")
    return {key: (folder, look(folder.path)) for key, folder in folders.items()}


def _is_gone(folder: Path) -> bool:
    """Whether nothing is there any more; what cannot be told counts as there."""
    try:
        folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
