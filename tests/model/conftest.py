"""Bundles to break: copies of a small real one, and how to edit them."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.bundle import MANIFEST
from model.predictor import Predictor


class BundleCopy:
    """A copy of a sound bundle that a test may break."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def edit_manifest(self, edit: Callable[[dict[str, Any]], object]) -> None:
        """Change `bundle.json` through its parsed document."""
        document = json.loads((self.folder / MANIFEST).read_bytes())
        edit(document)
        (self.folder / MANIFEST).write_text(json.dumps(document))

    def replace(self, name: str, content: bytes) -> None:
        """Change a file, and its checksum with it: what another exporter might have written."""
        (self.folder / name).write_bytes(content)
        self.edit_manifest(lambda document: document["files"].update({name: hashlib.sha256(content).hexdigest()}))


@pytest.fixture
def bundle_copy(trained_text, tmp_path) -> BundleCopy:
    """A copy of the small text bundle."""
    return BundleCopy(Path(shutil.copytree(trained_text.bundle, tmp_path / "bundle")))


@pytest.fixture(scope="session")
def text_predictor(trained_text) -> Predictor:
    return Predictor.open(trained_text.bundle, device="cpu")


@pytest.fixture(scope="session")
def image_predictor(trained_image) -> Predictor:
    return Predictor.open(trained_image.bundle, device="cpu")
