"""The PASCAL VOC devkit as it is unpacked: which classes of objects each picture shows.

An object marked difficult does not count, as in the devkit's own classification lists; there a class of which only
difficult objects are seen is neither present nor absent, here it is absent.
"""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from training.data.bad_rows import BadRows, Place, RowError
from training.data.dataset import DataError, Example
from training.data.row import Row

_LISTS = Path("ImageSets", "Main")


class _DoctypeRefused(Exception):
    pass


class _Builder(ElementTree.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        # Entities are declared in a document type, and can grow without bound. Annotations have none.
        raise _DoctypeRefused(f"it must not have a document type, got {name!r}")


def is_voc(folder: Path) -> bool:
    """Whether the folder is laid out as the devkit's `VOC2007`, `VOC2012` and so on."""
    return all((folder / name).is_dir() for name in ("Annotations", "JPEGImages", _LISTS))


def read_voc(folder: Path, bad_rows: BadRows) -> Iterator[Row]:
    """Read the pictures that the lists `train`, `val` and `test` name; `trainval` stands for a missing `train`.

    Raises:
        RowError: a picture or its annotation is missing or broken, and bad rows are not skipped.
        DataError: none of the lists is there.
    """
    lists = {name: folder / _LISTS / f"{name}.txt" for name in ("train", "trainval", "val", "test")}
    sides = {"train": "train", "val": "validation", "test": "test"}
    if not lists["train"].is_file():
        sides = {"trainval": "train", "test": "test"}
    if not any(lists[name].is_file() for name in sides):
        raise DataError(f"{folder / _LISTS} must hold one of train.txt, trainval.txt, val.txt, test.txt, got none")
    for name, side in sides.items():
        if not lists[name].is_file():
            continue
        for number, line in enumerate(lists[name].read_text(encoding="utf-8").splitlines(), start=1):
            if not line.strip():
                continue
            try:
                yield Row(_read_example(folder, line.split()[0], Place(lists[name], number)), side)
            except RowError as error:
                bad_rows.add(error)


def _read_example(folder: Path, image_id: str, place: Place) -> Example:
    image = folder / "JPEGImages" / f"{image_id}.jpg"
    annotation = folder / "Annotations" / f"{image_id}.xml"
    for file in (image, annotation):
        if not file.is_file():
            raise place.error(f"the {'picture' if file is image else 'annotation'}", "must be there", str(file))
    return Example(_read_labels(annotation), image=image)


def _read_labels(file: Path) -> tuple[str, ...]:
    place = Place(file)
    try:
        root = ElementTree.parse(file, ElementTree.XMLParser(target=_Builder())).getroot()
    except (ElementTree.ParseError, _DoctypeRefused, ValueError) as error:
        raise place.error("the annotation", "must be plain XML", str(error)) from error
    labels = set()
    for number, found in enumerate(root.findall("object"), start=1):
        name, difficult = found.findtext("name", "").strip(), found.findtext("difficult", "0").strip()
        if not name:
            raise place.error(f"object {number}: name", "must be the class of the object", name)
        if difficult not in {"0", "1"}:
            raise place.error(f"object {number}: difficult", "must be 0 or 1", difficult)
        if difficult == "0":
            labels.add(name)
    return tuple(sorted(labels))
