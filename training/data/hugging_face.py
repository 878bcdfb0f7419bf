"""Data sets of Hugging Face's `datasets`: by their name on the hub, or a folder that `save_to_disk` wrote.

Columns are found by their names and types: one input (an `Image`, an `Audio`, `tokens` or `words` with their tags, else
`text` or `sentence`) and what is to be learned from it (`label`, `labels`, tags). Pictures and recordings that lie
inside the data set are written to the cache, each once, under the digest of its bytes.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from training.data.bad_rows import BadRows, Place, RowError
from training.data.cache import cache_root
from training.data.dataset import DataError
from training.data.row import SPLIT_NAMES, Row, parse_row

PREFIX = "hf:"

_TEXT_COLUMNS = ("text", "sentence")
_WORD_COLUMNS = ("words", "tokens")
# The first that is there is taken: where sentences have several kinds of tags, the names are what is mostly wanted.
_TAG_COLUMNS = ("tags", "ner_tags", "pos_tags")
_LABEL_COLUMNS = ("labels", "label")
# How the benchmarks mark a row whose label they keep to themselves, and a word that has none.
_NO_LABEL, _NO_TAG = -1, -100

_log = logging.getLogger(__name__)


class _Column(NamedTuple):
    """A column of the data set, the field of a row that it becomes, and how its values are turned into the field's."""

    name: str
    field: str
    convert: Callable[[Any], Any]


def is_saved_data_set(folder: Path) -> bool:
    """Whether the folder is one that `save_to_disk` wrote."""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))


def read_hugging_face(name: str, bad_rows: BadRows) -> tuple[Iterator[Row], str]:
    """Open a data set.

    Args:
        name: `NAME` or `NAME:CONFIG` on the hub, or a folder.
        bad_rows: Is given the rows that break a rule.

    Returns:
        Its rows, and its licence as it states it.

    Raises:
        DataError: it cannot be had, or has no columns that are understood; rows raise `RowError`.
    """
    splits = _open(name)
    columns = _choose_columns(name, next(iter(splits.values())).features)
    licence = next(iter(splits.values())).info.license or "not stated"
    return _rows(name, splits, columns, bad_rows), licence


def _open(name: str) -> dict[str | None, Any]:
    """The splits by the name of their side; None where there are no splits."""
    import datasets  # here, because it takes a second to import

    try:
        if Path(name).is_dir():
            opened = datasets.load_from_disk(name) if is_saved_data_set(Path(name)) else datasets.load_dataset(name)
        else:
            repository, _, config = name.partition(":")
            opened = datasets.load_dataset(repository, config or None)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise DataError(f"{PREFIX}{name} cannot be loaded: {' '.join(str(error).split())}") from error
    if isinstance(opened, datasets.Dataset):
        return {None: opened}
    unknown = sorted(set(opened) - set(SPLIT_NAMES))
    if unknown:
        _log.warning("%s%s: left out %s, which is no side of a split", PREFIX, name, ", ".join(unknown))
    splits = {split: opened[split] for split in SPLIT_NAMES if split in opened}
    if not splits:
        raise DataError(f"{PREFIX}{name} must have one of the splits {', '.join(SPLIT_NAMES)}, got {sorted(opened)}")
    return splits


def _rows(name: str, splits: dict[str | None, Any], columns: list[_Column], bad_rows: BadRows) -> Iterator[Row]:
    import datasets

    for split, data in splits.items():
        where = f"{PREFIX}{name}" + (f", {split}" if split else "")
        label_column = columns[-1].name
        if len(data) and isinstance(data[0][label_column], int) and data.unique(label_column) == [_NO_LABEL]:
            _log.warning("%s: left out, because its labels are not given", where)
            continue
        for column, feature in data.features.items():
            if isinstance(feature, datasets.Image | datasets.Audio):
                data = data.cast_column(column, type(feature)(decode=False))
        data = data.select_columns([column.name for column in columns])
        for number, values in enumerate(data, start=1):
            place = Place(where, number)
            try:
                fields = {column.field: _convert(column, values[column.name], place) for column in columns}
                row = parse_row(fields | ({"split": split} if split else {}), place, Path())
            except RowError as error:
                bad_rows.add(error)
            else:
                yield row


def _convert(column: _Column, value: Any, place: Place) -> Any:
    try:
        return None if value is None else column.convert(value)
    except ValueError as error:
        raise place.error(column.name, str(error), value) from error


def _choose_columns(name: str, features: Any) -> list[_Column]:
    """The input, then what is to be learned."""
    import datasets

    found = ", ".join(f"{column} ({_describe(feature)})" for column, feature in features.items())
    inputs = [_Column(c, "image", _as_file) for c, feature in features.items() if isinstance(feature, datasets.Image)]
    inputs += [_Column(c, "audio", _as_file) for c, feature in features.items() if isinstance(feature, datasets.Audio)]
    words = [c for c in _WORD_COLUMNS if c in features]
    tags = [c for c in _TAG_COLUMNS if c in features and _item(features[c]) is not None]
    if words and tags and not inputs:
        return [_Column(words[0], "words", list), _Column(tags[0], "tags", _names_of_tags(_item(features[tags[0]])))]
    inputs += [_Column(c, "text", str) for c in _TEXT_COLUMNS if c in features]
    if len(inputs) != 1:
        raise DataError(
            f"{PREFIX}{name} must have one column of pictures, recordings, {', '.join(_TEXT_COLUMNS)}, or of "
            f"{', '.join(_WORD_COLUMNS)} with {', '.join(_TAG_COLUMNS)}; got {found}"
        )
    labels = [c for c in _LABEL_COLUMNS if c in features]
    labels = labels or [c for c, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    if len(labels) != 1:
        raise DataError(
            f"{PREFIX}{name} must have a column {' or '.join(_LABEL_COLUMNS)}, or one of classes; got {found}"
        )
    feature = features[labels[0]]
    if _item(feature) is None:
        return [inputs[0], _Column(labels[0], "label", _name_of(feature))]
    return [inputs[0], _Column(labels[0], "labels", _names_of_labels(_item(feature)))]


def _item(feature: Any) -> Any:
    """What a list's items are; None for what is no list."""
    return getattr(feature, "feature", None)


def _describe(feature: Any) -> str:
    import datasets

    if _item(feature) is not None:
        return f"list of {_describe(_item(feature))}"
    return str(feature.dtype) if isinstance(feature, datasets.Value) else type(feature).__name__


def _name_of(feature: Any) -> Callable[[Any], str]:
    names = getattr(feature, "names", None)

    def convert(value: Any) -> str:
        if names is None:
            return str(value)
        if not 0 <= value < len(names):
            raise ValueError(f"must be the number of one of {len(names)} classes")
        return str(names[value])

    return convert


def _names_of_tags(feature: Any) -> Callable[[list[Any]], list[str | None]]:
    name_of = _name_of(feature)
    return lambda tags: [None if tag is None or tag == _NO_TAG else name_of(tag) for tag in tags]


def _names_of_labels(feature: Any) -> Callable[[list[Any]], list[str]]:
    """Names of classes or plain strings; a list of zeros and ones is multi-hot, its labels are called by number."""
    if hasattr(feature, "names") or feature.dtype == "string":
        name_of = _name_of(feature)
        return lambda labels: [name_of(label) for label in labels]
    lengths: set[int] = set()

    def from_multi_hot(values: list[Any]) -> list[str]:
        lengths.add(len(values))
        if len(lengths) > 1 or not set(values) <= {0, 1}:
            raise ValueError("must be names of classes, or zeros and ones, as many in every row")
        return [str(number) for number, value in enumerate(values) if value]

    return from_multi_hot


def _as_file(value: dict[str, Any]) -> str:
    """The path of a picture or a recording; what lies in the data set as bytes is written to the cache."""
    content, path = value["bytes"], value["path"]
    if content is None:
        return str(path)
    digest = hashlib.sha256(content).hexdigest()
    file = cache_root() / "hugging-face-files" / digest[:2] / f"{digest}{Path(path or '').suffix}"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        # Renamed when it is whole: a killed process must not leave half a picture under the name of a whole one.
        partial = file.with_suffix(f".{os.getpid()}.partial")
        partial.write_bytes(content)
        partial.rename(file)
    return str(file)
