"""One row of a user's own data, whatever it was read from, as an example.

A row has one input: `text`; `words`; or the path of a picture or a recording under `image`, `audio`, `path` or
`file_name`. It says what is to be learned in `labels` (a set), `label` (exactly one), or, for words, `tags`.
"""

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from model.preprocess.audio_formats import AUDIO_ENDINGS
from training.data.bad_rows import Place
from training.data.dataset import Example, Task

FILE_FIELDS = ("image", "audio", "path", "file_name")
INPUT_FIELDS = ("text", "words", *FILE_FIELDS)
IMAGE_ENDINGS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
SPLIT_NAMES = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}

_SEPARATOR = re.compile(r"[,;|]")
# JSON can write half of a character, which no tokenizer and no file takes.
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_TEXT_RULE = "must be a string of whole characters that is not empty"


class Row(NamedTuple):
    """An example, the side of the split that it belongs to (None: none is named), and what is to be learned from it."""

    example: Example
    side: str | None
    task: Task = "multi_label"


def parse_row(row: dict[str, Any], place: Place, folder: Path) -> Row:
    """Make a row of its fields.

    Args:
        row: Values by field; fields that are not known are let be.
        place: Where the row stands, for errors.
        folder: What relative paths are relative to.

    Raises:
        RowError: the row breaks a rule; names place, field and value.
    """
    inputs = {field: row[field] for field in INPUT_FIELDS if row.get(field) is not None}
    if len(inputs) != 1:
        raise place.error("the row", f"must have one of {', '.join(INPUT_FIELDS)}", sorted(inputs))
    [(field, value)] = inputs.items()
    side = _read_side(row, place)
    if field == "words":
        words = _read_words(value, place)
        return Row(Example(_read_tags(row, len(words), place), words=words), side, "token_classification")
    if not _is_text(value):
        raise place.error(field, _TEXT_RULE, value)
    labels, task = _read_labels(row, place)
    if field == "text":
        return Row(Example(labels, text=value), side, task)
    return Row(file_example(labels, _existing(value, field, folder, place), field), side, task)


def file_example(labels: tuple[str, ...], file: Path, field: str = "path") -> Example:
    """A picture or a recording: as the field says, or else the file's ending."""
    is_audio = field == "audio" or (field != "image" and file.suffix.lower() in AUDIO_ENDINGS)
    return Example(labels, audio=file) if is_audio else Example(labels, image=file)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and not _HALF_CHARACTER.search(value)


def _existing(value: str, field: str, folder: Path, place: Place) -> Path:
    file = folder / value
    if not os.path.isfile(file):  # Path.is_file raises where a name is too long, as a text in the wrong column is
        raise place.error(field, f"must be a file in {folder}", value)
    return file


def _read_labels(row: dict[str, Any], place: Place) -> tuple[tuple[str, ...], Task]:
    if "labels" in row and "label" in row:
        raise place.error("the row", "must have labels or label, not both", sorted(row))
    if "label" in row:
        label = row["label"]
        if not _is_text(label):
            raise place.error("label", _TEXT_RULE, label)
        return (label.strip(),), "multi_class"
    if "labels" not in row:
        raise place.error("labels", "must be among the fields (or label, or words with tags)", sorted(row))
    labels = row["labels"]
    if isinstance(labels, str):
        labels = [label.strip() for label in _SEPARATOR.split(labels)] if labels.strip() else []
    if not isinstance(labels, list) or not all(map(_is_text, labels)):
        rule = "must be a list of strings, or a string of labels separated by one of , ; |"
        raise place.error("labels", rule, row["labels"])
    return tuple(sorted(set(labels))), "multi_label"


def _read_words(words: Any, place: Place) -> tuple[str, ...]:
    if not isinstance(words, list) or not words or not all(map(_is_text, words)):
        raise place.error("words", "must be a list of words, at least one", words)
    return tuple(words)


def _read_tags(row: dict[str, Any], word_count: int, place: Place) -> tuple[str, ...]:
    tags = row.get("tags")
    if not isinstance(tags, list) or not all(tag is None or isinstance(tag, str) for tag in tags):
        raise place.error("tags", "must be a list of strings, with null or an empty one where a word has none", tags)
    if len(tags) != word_count:
        raise place.error("tags", "must be as many as the words", len(tags), reason=f"{word_count} words")
    return tuple(tag or "" for tag in tags)


def _read_side(row: dict[str, Any], place: Place) -> str | None:
    if "split" not in row:
        return None
    if row["split"] not in SPLIT_NAMES:
        raise place.error("split", f"must be one of {', '.join(SPLIT_NAMES)}", row["split"])
    return SPLIT_NAMES[row["split"]]
