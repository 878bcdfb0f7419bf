"""The bundle: the one folder that passes from training to serving. Write it, open it, verify its files.

ONNX, JSON and text only: nothing in a bundle is ever unpickled or executed as Python. Opening verifies the schema, the
file names and every checksum before anything else reads a byte. Whether the graph fits the manifest is checked by
`model/session.py`, whether it still answers as it did by `model/golden.py`.
"""

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from model.errors import LabelsetError
from model.manifest import SCHEMA_VERSION, Manifest

MANIFEST = "bundle.json"
GRAPH = "model.onnx"
TOKENIZER = "tokenizer.json"
GOLDEN = "golden.json"
CARD = "README.md"


class BundleError(LabelsetError):
    """A folder that is not a sound bundle."""

    code = "bundle_invalid"


class MissingFile(BundleError):
    """A file that the manifest names, or the manifest itself, is not there."""

    code = "bundle_missing_file"


class UnreadableFile(BundleError):
    """A file that is there and cannot be read."""

    code = "bundle_unreadable_file"


class ChecksumMismatch(BundleError):
    """A file's bytes are not those that were exported."""

    code = "bundle_checksum_mismatch"


class UnknownSchemaVersion(BundleError):
    """The bundle was written by another generation of this project."""

    code = "bundle_unknown_schema_version"


class PathEscape(BundleError):
    """The manifest names a file outside the bundle's folder."""

    code = "bundle_path_escape"


class NotABundle(BundleError):
    """A bundle was to be written over something that is none."""

    code = "bundle_not_a_bundle"


class InvalidManifest(BundleError):
    """`bundle.json` is not JSON, or lacks or contradicts something."""

    code = "bundle_invalid_manifest"


class GraphMismatch(BundleError):
    """The graph's inputs, outputs or number of classes are not those of the manifest."""

    code = "bundle_graph_mismatch"


class GoldenMismatch(BundleError):
    """The model no longer answers its golden examples as it did when it was exported."""

    code = "bundle_golden_mismatch"


@dataclass(frozen=True)
class Bundle:
    """A verified bundle: every file of the manifest is there, unchanged."""

    path: Path
    manifest: Manifest
    digest: str

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Bundle":
        """Read a bundle and verify all of its files.

        Raises:
            BundleError: one of its sub-classes for each way of being broken.
        """
        folder = Path(path)
        manifest_bytes = _read_manifest_bytes(folder)
        manifest = _parse_manifest(manifest_bytes)
        for name in (GRAPH, GOLDEN, *([TOKENIZER] if manifest.preprocessing.kind in {"text", "words"} else [])):
            if name not in manifest.files:
                raise InvalidManifest(f"{MANIFEST} must list {name} under files, and does not", file=name)
        for name, expected in manifest.files.items():
            _verify_file(folder, name, expected)
        return cls(path=folder, manifest=manifest, digest=hashlib.sha256(manifest_bytes).hexdigest())

    def file(self, name: str) -> Path:
        """Path of one of the bundle's files."""
        return self.path / name

    def read_text(self, name: str) -> str:
        """Contents of one of the bundle's text files; empty where the bundle has none of that name.

        Raises:
            InvalidManifest: it is no text.
        """
        if name not in self.manifest.files:
            return ""
        try:
            return _read_bytes(self.path, name).decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidManifest(f"{name} must be UTF-8, it is not at byte {error.start}", file=name) from None


def write(path: str | os.PathLike[str], manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> Bundle:
    """Write a bundle so that at no moment a half-written one stands under `path`.

    Args:
        path: The folder to make; a bundle that stands there is replaced.
        manifest: What `bundle.json` says, without `files`, which is computed here.
        files: Contents of every other file, by name.

    Raises:
        NotABundle: something else stands at `path`; it is left as it is.
    """
    folder = Path(path).resolve()
    if folder.exists() and not _may_be_replaced(folder):
        raise NotABundle(f"only a bundle or an empty folder may be replaced by a bundle, {path} is neither")
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for name, content in files.items():
            (staging / name).write_bytes(content)
        checksums = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
        complete = Manifest.model_validate({**manifest, "files": checksums})
        (staging / MANIFEST).write_text(complete.model_dump_json(indent=2, exclude_none=True) + "\n", encoding="utf-8")
        staging.chmod(0o755)  # mkdtemp makes it private; a service under another user must read it
        replaced = staging.with_name(staging.name + ".replaced")
        if folder.exists():
            folder.rename(replaced)
        staging.rename(folder)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Bundle.open(path)


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """What a bundle says about itself, its other files unread and unverified.

    Raises:
        BundleError: the manifest is not there, or not one.
    """
    return _parse_manifest(_read_manifest_bytes(Path(path)))


def _may_be_replaced(folder: Path) -> bool:
    return folder.is_dir() and ((folder / MANIFEST).is_file() or not any(folder.iterdir()))


def _read_manifest_bytes(folder: Path) -> bytes:
    if not _is_file(folder, MANIFEST):
        raise MissingFile(f"a bundle must hold {MANIFEST}, and {folder.name}/ does not", file=MANIFEST)
    return _read_bytes(folder, MANIFEST)


def _is_file(folder: Path, name: str) -> bool:
    """Whether a plain file is there: a pipe would be waited for until somebody writes to it."""
    try:
        return stat.S_ISREG((folder / name).stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:  # a link to itself, a disk that fails
        raise _unreadable(name, error) from None


def _read_bytes(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise _unreadable(name, error) from None


def _unreadable(name: str, error: OSError) -> UnreadableFile:
    return UnreadableFile(f"{name} cannot be read: {error.strerror}", file=name)


def _parse_manifest(content: bytes) -> Manifest:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidManifest(f"{MANIFEST} must be JSON: {error}") from None
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        raise UnknownSchemaVersion(
            f"{MANIFEST} must have schema_version {SCHEMA_VERSION}, got {version!r}", schema_version=version
        )
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidManifest(f"{MANIFEST}: {where}: {first['msg']}", field=where) from None


def _verify_file(folder: Path, name: str, expected: str) -> None:
    if Path(name).name != name or name in {".", "..", MANIFEST} or "\\" in name:
        raise PathEscape(f"files of a bundle must lie in its own folder, got {name!r}", file=name)
    path = folder / name
    # A link would let a folder that passed the check read from anywhere.
    if path.is_symlink():
        raise PathEscape(f"files of a bundle must be plain files, {name!r} is a link", file=name)
    if not _is_file(folder, name):
        raise MissingFile(f"the manifest names {name}, which is not there", file=name)
    try:
        with path.open("rb") as stream:
            actual = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(name, error) from None
    if actual != expected:
        raise ChecksumMismatch(
            f"{name} must have sha256 {expected[:12]}…, got {actual[:12]}…", file=name, expected=expected, actual=actual
        )
