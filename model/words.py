"""Words: how a text is split into them, and the answer that has a label set for each.

A word is a run of letters and digits, with single apostrophes or hyphens inside (`don't`, `on-screen`) and with points
or commas between digits (`3.5`, `10,000`); every other character that is no white space is a word of its own. A caller
who splits otherwise sends the words themselves.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.labels import LabelSet

# In the second column of a preprocessed text: no word begins at this token.
NO_WORD = -1

_LETTER = r"[^\W_][\u0300-\u036f]*"  # with its accents, where they are characters of their own
_WORD = re.compile(rf"(?:{_LETTER})+(?:(?:['\u2019-]|(?<=\d)[.,](?=\d))(?:{_LETTER})+)*|\S")


class Word(NamedTuple):
    """A word, and the characters `[start, end)` of the text that it is; None where the caller gave the words."""

    text: str
    start: int | None
    end: int | None


class LabelledWord(NamedTuple):
    """A word and its label set; None where the model has not read the word."""

    word: Word
    label_set: LabelSet | None


@dataclass(frozen=True)
class WordLabels:
    """The answer of a token classifier to one input.

    Attributes:
        words: Every word of the input, in order.
        truncated: Whether words at the end have no label set because the input is longer than the model reads.
    """

    words: tuple[LabelledWord, ...]
    truncated: bool


def words_of(item: str | tuple[str, ...]) -> list[Word]:
    """The words of a text, or those that the caller gave."""
    if isinstance(item, str):
        return [Word(match.group(), match.start(), match.end()) for match in _WORD.finditer(item)]
    return [Word(word, None, None) for word in item]


def label_words(item: str | tuple[str, ...], label_sets: Mapping[int, LabelSet]) -> WordLabels:
    """Put the words of an input together with their label sets, which go by the words' positions."""
    words = words_of(item)
    labelled = tuple(LabelledWord(word, label_sets.get(position)) for position, word in enumerate(words))
    return WordLabels(labelled, truncated=max(label_sets) + 1 < len(words))


def words_read(array: npt.NDArray[np.int64]) -> list[int]:
    """The positions of the words that begin in a preprocessed text, in order: those that the model answers for."""
    positions: list[int] = array[array[:, 1] != NO_WORD, 1].tolist()
    return positions
