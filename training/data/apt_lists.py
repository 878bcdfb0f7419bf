"""The package lists of a Debian release: what every package says of itself.

A release moves on, so its lists have no fixed checksum here: apt verifies them against the archive's signature, and
`release.json` beside them records which ones they are. Once cached they stay: on one machine results can be repeated.
"""

import hashlib
import json
import shutil
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from training.data.cache import cached_folder
from training.data.packages import FetchError, private_apt, run_client

_WANTED = "the package lists of Debian (apt)"


@dataclass(frozen=True)
class DebianRelease:
    """The release whose lists were fetched.

    Attributes:
        version: With the point release: 12.15.
        packages_sha256: Of the list of packages.
        translation_sha256: Of the list of English descriptions.
    """

    codename: str
    version: str
    architecture: str
    packages_sha256: str
    translation_sha256: str


def fetch_apt_lists() -> Path:
    """Return the folder with `Packages`, `Translation-en` and `release.json`; fetched if the cache lacks it.

    Raises:
        FetchError: apt is missing or failed, or its sources name no Debian release.
    """
    return cached_folder("apt-lists-debian", _fill)


def read_release(folder: Path) -> DebianRelease:
    """Which release the lists in `folder` are of."""
    return DebianRelease(**json.loads((folder / "release.json").read_text(encoding="utf-8")))


def read_stanzas(path: Path, fields: Collection[str]) -> Iterator[dict[str, str]]:
    """Yield the wanted `fields` of each stanza of a list; lines that go on keep their line break and first blank."""
    stanza: dict[str, str] = {}
    wanted = None
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line == "\n":
                if stanza:
                    yield stanza
                stanza, wanted = {}, None
            elif line[0] in " \t":
                if wanted:
                    stanza[wanted] += "\n" + line.rstrip("\n")
            else:
                name, _, value = line.partition(":")
                wanted = name if name in fields else None
                if wanted:
                    stanza[wanted] = value.strip()
    if stanza:
        yield stanza


def _fill(folder: Path) -> None:
    scratch = folder / ".scratch"
    # Images of containers often switch the descriptions off, or keep lists compressed.
    apt = [*private_apt(scratch), "-o", "Acquire::Languages=en", "-o", "Acquire::GzipIndexes=false"]
    run_client([*apt, "update"], _WANTED, scratch)
    codename, version, architecture, packages = _find_list(apt, scratch, "Created-By: Packages")
    _, _, _, translation = _find_list(apt, scratch, "Created-By: Translations", f"Codename: {codename}")
    release = DebianRelease(codename, version, architecture, _sha256(Path(packages)), _sha256(Path(translation)))
    shutil.move(packages, folder / "Packages")
    shutil.move(translation, folder / "Translation-en")
    (folder / "release.json").write_text(json.dumps(asdict(release), indent=1), encoding="utf-8")
    shutil.rmtree(scratch)


def _find_list(apt: list[str], scratch: Path, *conditions: str) -> list[str]:
    """Codename, version, architecture and file of the first list of a whole release: not of its updates."""
    form = "$(CODENAME)|$(VERSION)|$(ARCHITECTURE)|$(FILENAME)"
    conditions = ("Origin: Debian", "Component: main", *conditions)
    output = run_client([*apt, "indextargets", "--format", form, *conditions], _WANTED, scratch)
    for line in output.splitlines():
        codename, *others = line.split("|")
        if others and "-" not in codename:
            return [codename, *others]
    raise FetchError(f"cannot fetch {_WANTED}: no release in apt's sources is {' and '.join(conditions)}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
