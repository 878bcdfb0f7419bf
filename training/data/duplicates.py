"""Group examples that are (nearly) the same, so that a split can keep them on one side."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from training.data.dataset import Example

_WORD = re.compile(r"[^\W\d_]+")
_LIGHT_WORDS = frozenset(
    {
        *("a", "an", "and", "are", "as", "at", "be", "been", "by", "can", "during", "for", "from", "had", "has"),
        *("have", "in", "is", "it", "its", "of", "on", "or", "that", "the", "their", "to", "used", "uses", "using"),
        *("was", "were", "which", "with"),
    }
)


def group_duplicates(examples: Sequence[Example]) -> list[Example]:
    """Give texts with one `text_key`, and pictures and recordings with the same bytes, the same group."""
    keys = file_keys([example.file for example in examples if example.file is not None])
    return [
        replace(example, group=text_key(text_of(example)) if example.file is None else keys[example.file])
        for example in examples
    ]


def duplicate_key(example: Example) -> str:
    """What an example shares with its duplicates, as `group_duplicates` sees them, found without the others."""
    if example.file is None:
        return text_key(text_of(example))
    return hashlib.sha256(example.file.read_bytes()).hexdigest()


def text_of(example: Example) -> str:
    """The text of an example: its own, or that which its words make."""
    return " ".join(example.words) if example.words is not None else example.text or ""


def text_key(text: str) -> str:
    """What texts share that differ only in case, numbers, punctuation, word order and the lightest English words.

    A text of nothing else is its own key.
    """
    return " ".join(sorted(words_of_text(text))) or text


def words_of_text(text: str) -> set[str]:
    """The words of a text but the lightest English ones, in lower case; numbers are none."""
    return set(_WORD.findall(text.lower())) - _LIGHT_WORDS


def file_keys(files: list[Path]) -> dict[Path, str]:
    """A key for each file that is the same for files with the same bytes."""
    sizes = {file: file.stat().st_size for file in files}
    count_of_size = Counter(sizes.values())
    # Files of different size differ: that spares reading most of a large folder.
    return {
        file: hashlib.sha256(file.read_bytes()).hexdigest() if count_of_size[size] > 1 else str(size)
        for file, size in sizes.items()
    }
