"""A user's own examples in a JSONL, CSV or Parquet file: one row, one example.

A row has `text`, or the path of an image under `image`, `path` or `file_name`; its label set under `labels`; and, if
the file is split already, its side under `split`. A row that breaks a rule stops the reading with an error that names
it: what is wrong in one row of a table is seldom wrong in that row alone.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from training.data.dataset import DataError, Example

IMAGE_FIELDS = ("image", "path", "file_name")
SPLIT_NAMES = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}

_SEPARATOR = re.compile(r"[,;|]")


class RowError(DataError):
    """One row of a file breaks a rule."""

    def __init__(self, file: Path, line: int, field: str, rule: str, value: object) -> None:
        super().__init__(f"{file}, line {line}: {field} {rule}, got {value!r}")


def read_table(file: Path, image_folder: Path) -> list[tuple[Example, str | None]]:
    """Read each row of `file` as an example and the side it belongs to ("train", "validation", "test" or None).

    Args:
        file: Ends in .jsonl, .csv or .parquet.
        image_folder: What relative image paths are relative to.

    Raises:
        RowError: a row breaks a rule; names file, line, field and value.
        DataError: the file as a whole cannot be read.
    """
    if file.suffix not in _READERS:
        raise DataError(f"a data file must end in {', '.join(_READERS)}, got {file}")
    try:
        rows = list(_READERS[file.suffix](file))
    except UnicodeDecodeError as error:
        raise DataError(f"{file} must be UTF-8: {error}") from error
    if not rows:
        raise DataError(f"{file} must have at least one row, got none")
    return [_read_row(file, line, row, image_folder) for line, row in rows]


def _read_row(file: Path, line: int, row: dict[str, Any], image_folder: Path) -> tuple[Example, str | None]:
    inputs = {field: row[field] for field in ("text", *IMAGE_FIELDS) if row.get(field) is not None}
    if len(inputs) != 1:
        raise RowError(file, line, "the row", f"must have one of text, {', '.join(IMAGE_FIELDS)}", sorted(inputs))
    [(field, value)] = inputs.items()
    if not isinstance(value, str) or not value.strip():
        raise RowError(file, line, field, "must be a string that is not empty", value)
    labels = _read_labels(file, line, row)
    side = _read_split(file, line, row)
    if field == "text":
        return Example(labels, text=value), side
    image = image_folder / value
    if not image.is_file():
        raise RowError(file, line, field, f"must be a file in {image_folder}", value)
    return Example(labels, image=image), side


def _read_labels(file: Path, line: int, row: dict[str, Any]) -> tuple[str, ...]:
    if "labels" not in row:
        raise RowError(file, line, "labels", "must be among the fields", sorted(row))
    labels = row["labels"]
    if isinstance(labels, str):
        labels = [label.strip() for label in _SEPARATOR.split(labels)] if labels.strip() else []
    if not isinstance(labels, list) or not all(isinstance(label, str) and label for label in labels):
        rule = "must be a list of strings, or a string of labels separated by one of , ; |"
        raise RowError(file, line, "labels", rule, row["labels"])
    return tuple(sorted(set(labels)))


def _read_split(file: Path, line: int, row: dict[str, Any]) -> str | None:
    if "split" not in row:
        return None
    if row["split"] not in SPLIT_NAMES:
        raise RowError(file, line, "split", f"must be one of {', '.join(SPLIT_NAMES)}", row["split"])
    return SPLIT_NAMES[row["split"]]


def _read_jsonl(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise RowError(file, number, "the row", f"must be JSON ({error})", line.strip()) from error
            if not isinstance(row, dict):
                raise RowError(file, number, "the row", "must be a JSON object", row)
            yield number, row


def _read_csv(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines)
        for row in reader:
            # csv files what has no column under None, and None under a column that has no value.
            if None in row or None in row.values():
                found = [value for value in row.values() if value is not None]
                raise RowError(
                    file, reader.line_num, "the row", f"must have {len(reader.fieldnames or ())} fields", found
                )
            # An empty cell is how CSV says that there is nothing; only for labels that is a value: the empty set.
            yield reader.line_num, {field: value for field, value in row.items() if value or field == "labels"}


def _read_parquet(file: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    import pyarrow.parquet  # here, because it takes longer to import than most files to read

    try:
        table = pyarrow.parquet.read_table(file)
    except pyarrow.ArrowInvalid as error:
        raise DataError(f"{file} must be a Parquet file: {error}") from error
    return enumerate(table.to_pylist(), start=1)


_READERS = {".jsonl": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet}
