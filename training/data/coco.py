"""COCO's `instances` annotations as they are unpacked: which categories of objects each picture shows.

A picture without an object is an example with the empty label set. A crowd of objects counts as the object.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.data.bad_rows import BadRows, Place, RowError
from training.data.dataset import DataError, Example
from training.data.row import SPLIT_NAMES, Row

_INSTANCES = re.compile(r"instances_(?P<folder>(?P<side>train|val|test)\d*)\.json")


def is_coco(folder: Path) -> bool:
    """Whether the folder holds `annotations/instances_train2017.json` or its like."""
    return bool(_instance_files(folder))


def read_coco(folder: Path, bad_rows: BadRows) -> Iterator[Row]:
    """Read all pictures of all `instances` files, which lie in `train2017`, in `images/train2017` or in `images`.

    Raises:
        RowError: a picture is missing, or an entry breaks a rule, and bad rows are not skipped.
        DataError: a file as a whole cannot be read.
    """
    for file, match in _instance_files(folder):
        document = _read_document(file)
        labels_of = _read_labels(file, document, bad_rows)
        pictures = _picture_folder(folder, match["folder"])
        for number, entry in enumerate(document["images"]):
            place = Place(file)
            try:
                name = _field(entry, "file_name", str, f"images[{number}]", place)
                image_id = _field(entry, "id", int, f"images[{number}]", place)
                if not (pictures / name).is_file():
                    raise place.error(f"images[{number}].file_name", f"must be a file in {pictures}", name)
            except RowError as error:
                bad_rows.add(error)
            else:
                example = Example(tuple(sorted(labels_of[image_id])), image=pictures / name)
                yield Row(example, SPLIT_NAMES[match["side"]])


def _instance_files(folder: Path) -> list[tuple[Path, re.Match[str]]]:
    found = [(file, _INSTANCES.fullmatch(file.name)) for file in sorted(folder.glob("annotations/instances_*.json"))]
    return [(file, match) for file, match in found if match]


def _picture_folder(folder: Path, name: str) -> Path:
    candidates = (folder / name, folder / "images" / name, folder / "images")
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise DataError(f"the pictures of {name} must be in one of {', '.join(map(str, candidates))}, got none of them")


def _read_document(file: Path) -> dict[str, list[Any]]:
    try:
        document = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} must be JSON: {error}") from error
    for field in ("images", "annotations", "categories"):
        if not isinstance(document, dict) or not isinstance(document.get(field), list):
            raise DataError(f"{file}: {field} must be a list of the JSON object, got none")
    return document


def _read_labels(file: Path, document: dict[str, list[Any]], bad_rows: BadRows) -> defaultdict[int, set[str]]:
    """The categories seen in each picture, by the picture's id."""
    place = Place(file)
    names = {
        _field(entry, "id", int, f"categories[{number}]", place): _field(
            entry, "name", str, f"categories[{number}]", place
        )
        for number, entry in enumerate(document["categories"])
    }
    labels_of: defaultdict[int, set[str]] = defaultdict(set)
    for number, entry in enumerate(document["annotations"]):
        where = f"annotations[{number}]"
        try:
            category = _field(entry, "category_id", int, where, place)
            image_id = _field(entry, "image_id", int, where, place)
            if category not in names:
                raise place.error(f"{where}.category_id", "must be the id of a category", category)
        except RowError as error:
            bad_rows.add(error)
        else:
            labels_of[image_id].add(names[category])
    return labels_of


def _field(entry: Any, name: str, kind: type, where: str, place: Place) -> Any:
    value = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        rule = "must be an integer" if kind is int else "must be a string"
        raise place.error(f"{where}.{name}", rule, value)
    return value
