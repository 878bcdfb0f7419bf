"""A user's own examples in a JSONL, CSV or Parquet file: one row, one example (`row.py` says what is in it).

Rows are read one after the other and none is kept, so that a file may be larger than memory.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.data.bad_rows import BadRows, Place, RowError
from training.data.dataset import DataError
from training.data.row import Row, parse_row


def read_table(file: Path, folder: Path, bad_rows: BadRows) -> Iterator[Row]:
    """Read the rows of `file`.

    Args:
        file: Ends in .jsonl, .csv or .parquet.
        folder: What relative paths of pictures and recordings are relative to.
        bad_rows: Is given the rows that break a rule.

    Raises:
        RowError: a row breaks a rule, and bad rows are not skipped; names file, line, field and value.
        DataError: the file as a whole cannot be read.
    """
    if file.suffix not in _READERS:
        raise DataError(f"a data file must end in {', '.join(_READERS)}, got {file}")
    is_empty = True
    for place, fields in _READERS[file.suffix](file, bad_rows):
        is_empty = False
        try:
            row = parse_row(fields, place, folder)
        except RowError as error:
            bad_rows.add(error)
        else:
            yield row
    if is_empty and not bad_rows.count:
        raise DataError(f"{file} must have at least one row, got none")


_Fields = Iterator[tuple[Place, dict[str, Any]]]


def _read_jsonl(file: Path, bad_rows: BadRows) -> _Fields:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                yield Place(file, number), _json_object(Place(file, number), line)
            except RowError as error:
                bad_rows.add(error)


def _json_object(place: Place, line: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise place.error("the row", "must be UTF-8", line, str(error)) from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise place.error("the row", "must be JSON", line.decode("utf-8-sig").strip(), str(error)) from error
    if not isinstance(fields, dict):
        raise place.error("the row", "must be a JSON object", fields)
    return fields


def _read_csv(file: Path, bad_rows: BadRows) -> _Fields:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines)
        while True:
            try:
                fields = next(reader)
            except StopIteration:
                return
            except UnicodeDecodeError as error:
                raise DataError(f"{file} must be UTF-8: {error}") from error
            except csv.Error as error:
                bad_rows.add(Place(file, reader.line_num).error("the row", "must be CSV", str(error)))
                continue
            place = Place(file, reader.line_num)
            # csv files what has no column under None, and None under a column that has no value.
            if None in fields or None in fields.values():
                found = [value for value in fields.values() if value is not None]
                rule = f"must have {len(reader.fieldnames or ())} fields"
                bad_rows.add(place.error("the row", rule, found))
                continue
            # An empty cell is how CSV says that there is nothing; only for labels that is a value: the empty set.
            yield place, {field: value for field, value in fields.items() if value or field in {"label", "labels"}}


def _read_parquet(file: Path, bad_rows: BadRows) -> _Fields:
    import pyarrow.parquet  # here, because it takes longer to import than most files to read

    number = 0
    try:
        for batch in pyarrow.parquet.ParquetFile(file).iter_batches(batch_size=1024):
            for fields in batch.to_pylist():
                number += 1
                yield Place(file, number), fields
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{file} must be a Parquet file: {error}") from error


_READERS = {".jsonl": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet}
