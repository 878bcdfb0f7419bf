"""Examples that stand, as they are or nearly, on both sides of a split: what a model has seen, it is not tested on."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from training.data.dataset import Example, LabelledData
from training.data.duplicates import file_keys, text_of
from training.data.near_pictures import Looks
from training.data.near_texts import NearTexts, Vocabulary

# The later side of a pair is the one whose figures the earlier one spoils.
PAIRS = (("train", "validation"), ("train", "test"), ("validation", "test"))
_SHOWN = 2
_SHOWN_CHARACTERS = 80


class Leak(NamedTuple):
    """How many examples of `side` the side `source` holds too.

    Attributes:
        kind: The very text or the very bytes; or texts that share four fifths of their words, pictures that look alike.
        pairs: The first of them, each with the one that it repeats.
    """

    kind: Literal["repeat", "nearly repeat"]
    source: str
    side: str
    count: int
    size: int
    pairs: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        shown = "; ".join(f"{one!r} and {other!r}" for one, other in self.pairs)
        return f"{self.count} of {self.size} {self.side} examples {self.kind} one of {self.source}: {shown}"


def find_leaks(data: LabelledData, *, near: bool = True) -> list[Leak]:
    """Compare the sides of a split with each other.

    Args:
        data: Of any kind. Of recordings, only those with the same bytes are found.
        near: Also look for what is nearly the same: that reads every picture, and holds the words of every text.
    """
    sides = {"train": data.train, "validation": data.validation, "test": data.test}
    digests = exact_digests(sides)
    found = {pair: _same(digests[pair[0]], digests[pair[1]]) for pair in PAIRS}
    leaks = list(_leaks("repeat", sides, found))
    if near and data.modality != "audio":
        nearly = _near_texts(sides) if data.modality == "text" else _near_pictures(sides)
        # What is repeated as it is has been counted.
        leaks += _leaks("nearly repeat", sides, {pair: np.where(found[pair] < 0, nearly[pair], -1) for pair in PAIRS})
    return leaks


Sides = dict[str, Sequence[Example]]
# For each example of the pair's later side the position of what it repeats on the earlier one, or -1.
Found = dict[tuple[str, str], npt.NDArray[np.int64]]


def exact_digests(sides: Sides) -> dict[str, npt.NDArray[np.uint64]]:
    """By side, a number for each example that those with the same text or the same bytes share."""
    keys = file_keys([example.file for side in sides.values() for example in side if example.file is not None])

    def digests(examples: Iterable[Example]) -> Iterator[int]:
        for example in examples:
            key = text_of(example) if example.file is None else keys[example.file]
            yield int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest())

    return {name: np.fromiter(digests(side), np.uint64, len(side)) for name, side in sides.items()}


def _same(source_N: npt.NDArray[np.uint64], side_M: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    order = np.argsort(source_N, kind="stable")
    place_M = np.minimum(np.searchsorted(source_N, side_M, sorter=order), len(source_N) - 1)
    return np.where(source_N[order[place_M]] == side_M, order[place_M], -1)


def _near_texts(sides: Sides) -> Found:
    vocabulary = Vocabulary(text_of(example) for side in sides.values() for example in side)
    words = {name: [vocabulary.words(text_of(example)) for example in side] for name, side in sides.items()}
    indices = {source: NearTexts(words[source]) for source in ("train", "validation")}

    def found(source: str, side: str) -> npt.NDArray[np.int64]:
        positions = (indices[source].find(text) for text in words[side])
        return np.array([-1 if position is None else position for position in positions], np.int64)

    return {pair: found(*pair) for pair in PAIRS}


def _near_pictures(sides: Sides) -> Found:
    looks = {name: Looks([_file(example) for example in side]) for name, side in sides.items()}
    return {(source, side): looks[side].find_in(looks[source]) for source, side in PAIRS}


def _leaks(kind: Literal["repeat", "nearly repeat"], sides: Sides, found: Found) -> Iterator[Leak]:
    for (source, side), position_M in found.items():
        repeated = np.flatnonzero(position_M >= 0)
        pairs = tuple(
            (_shown(sides[side][int(own)]), _shown(sides[source][int(position_M[own])])) for own in repeated[:_SHOWN]
        )
        if len(repeated):
            yield Leak(kind, source, side, len(repeated), len(position_M), pairs)


def _shown(example: Example) -> str:
    text = text_of(example) if example.file is None else str(example.file)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def _file(example: Example) -> Path:
    assert example.file is not None
    return example.file
