"""A repository: a folder that holds bundles as `NAME/VERSION/`. Finds them; `model/bundle.py` opens them."""

from pathlib import Path
from typing import NamedTuple

from model.bundle import MANIFEST, read_manifest

# Committed beside the code, made by `make demo-bundles`.
EMBEDDED_BUNDLES = Path(__file__).resolve().parents[1] / "bundles"


class BundleFolder(NamedTuple):
    """Where one version of a model lies; whether it is a sound bundle is not known yet."""

    name: str
    version: str
    path: Path

    @property
    def key(self) -> tuple[str, str]:
        """Name and version."""
        return self.name, self.version

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


def bundle_folders(root: Path) -> list[BundleFolder]:
    """Every bundle under `root`, by name, the newest version of a name first; `root` may be a bundle itself.

    A bundle is found as `NAME/VERSION/` or, without versions, as `NAME/`. Versions that are whole numbers count as such
    and are newer than all others.

    Raises:
        BundleError: `root` is a bundle itself, and its manifest is broken.
    """
    if (root / MANIFEST).is_file():
        return [BundleFolder(read_manifest(root).name, "1", root)]
    found = [
        # A bundle that stands where a model's versions would is the only one of its model.
        *(BundleFolder(manifest.parent.name, "1", manifest.parent) for manifest in root.glob(f"*/{MANIFEST}")),
        *(
            BundleFolder(manifest.parent.parent.name, manifest.parent.name, manifest.parent)
            for manifest in root.glob(f"*/*/{MANIFEST}")
            if not (manifest.parent.parent / MANIFEST).is_file()
        ),
    ]
    # A name with a dot in front is a bundle that is being written.
    found = [folder for folder in found if not folder.name.startswith(".") and not folder.version.startswith(".")]
    newest_first = sorted(found, key=lambda folder: version_order(folder.version), reverse=True)
    return sorted(newest_first, key=lambda folder: folder.name)


def version_order(version: str) -> tuple[bool, int, str]:
    """Sorts versions, the newest last."""
    return version.isdecimal(), int(version) if version.isdecimal() else 0, version
