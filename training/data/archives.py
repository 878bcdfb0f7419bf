"""Unpack a wheel, an npm tarball or a Debian package, without trusting the paths inside."""

import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import IO


class UnsafeArchive(ValueError):
    """An archive has a member that would land outside the folder it is unpacked into."""


def unpack(archive: Path, folder: Path) -> None:
    """Unpack `archive` (.whl, .tgz or .deb) into the existing `folder`.

    Of a wheel and a tarball the plain files are taken: links and devices are left out, since no data needs them.

    Raises:
        UnsafeArchive: a member's path is absolute or leaves the folder.
        ValueError: the file's name has another ending.
    """
    if archive.suffix == ".whl":
        _unpack_zip(archive, folder)
    elif archive.suffix == ".tgz":
        _unpack_tar(archive, folder)
    elif archive.suffix == ".deb":
        # dpkg-deb refuses paths that leave the folder itself.
        subprocess.run(["dpkg-deb", "-x", archive, folder], check=True)
    else:
        raise ValueError(f"an archive must end in .whl, .tgz or .deb, got {archive.name}")


def _unpack_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as members:
        for member in members.infolist():
            if not member.is_dir():
                with members.open(member) as content:
                    _write(folder, member.filename, content, mode=member.external_attr >> 16)


def _unpack_tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as members:
        for member in members:
            content = members.extractfile(member) if member.isfile() else None
            if content is not None:
                _write(folder, member.name, content, member.mode)


def _write(folder: Path, name: str, content: IO[bytes], mode: int) -> None:
    target = (folder / name).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise UnsafeArchive(f"a member of an archive must stay in its folder, got {name!r}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        shutil.copyfileobj(content, file)
    if mode & 0o100:
        target.chmod(0o755)
