"""A repository: a folder that holds bundles as `NAME/VERSION/`. Finds them; `model/bundle.py` opens them."""

from pathlib import Path
from typing import NamedTuple

from model.bundle import MANIFEST, Bundle

# Committed beside the code, made by `make demo-bundles`.
EMBEDDED_BUNDLES = Path(__file__).resolve().parents[1] / "bundles"


class BundleFolder(NamedTuple):
    """Where one version of a model lies; whether it is a sound bundle is not known yet."""

    name: str
    version: str
    path: Path


def bundle_folders(root: Path) -> list[BundleFolder]:
    """Every bundle under `root`, by name, the newest version of a name first; `root` may be a bundle itself.

    Versions that are whole numbers count as such and are newer than all others.

    Raises:
        BundleError: `root` is a bundle itself, and a broken one.
    """
    if (root / MANIFEST).is_file():
        return [BundleFolder(Bundle.open(root).manifest.name, "1", root)]
    folders = (manifest.parent for manifest in root.glob(f"*/*/{MANIFEST}"))
    found = [
        BundleFolder(folder.parent.name, folder.name, folder)
        for folder in folders
        # A name with a dot in front is a bundle that is being written.
        if not folder.name.startswith(".") and not folder.parent.name.startswith(".")
    ]
    newest_first = sorted(found, key=lambda folder: _age(folder.version), reverse=True)
    return sorted(newest_first, key=lambda folder: folder.name)


def _age(version: str) -> tuple[bool, int, str]:
    return version.isdecimal(), int(version) if version.isdecimal() else 0, version
