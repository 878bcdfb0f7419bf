"""The common form of all labelled data: what every reader returns, and all that training sees.

Nothing here knows where data comes from, nor how an example becomes a tensor.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from model.errors import LabelsetError
from model.manifest import Task

Modality = Literal["image", "text", "audio"]


class DataError(LabelsetError):
    """Data does not have the form its reader requires."""

    code = "data_invalid"


@dataclass(frozen=True)
class Example:
    """One input with its label set: a text, a picture, a recording, or the words of a sentence.

    Attributes:
        labels: Sorted, without repetition; may be empty. For a multi-class task exactly one; for token classification
            one a word, in order, "" where nothing is to be learned.
        text: The input of a text model.
        image: The file of a picture.
        audio: The file of a recording.
        words: The input of a token classifier.
        group: Examples of one group are kept on one side of a split; None stands alone.
    """

    labels: tuple[str, ...]
    text: str | None = None
    image: Path | None = None
    audio: Path | None = None
    words: tuple[str, ...] | None = None
    group: str | None = None

    @property
    def file(self) -> Path | None:
        """Where a picture or a recording lies; None for what is no file."""
        return self.image or self.audio

    @property
    def identity(self) -> str:
        """What tells it from another example, and from itself once its file has changed."""
        if self.file is None:
            return repr((self.text or self.words, self.labels))
        stat = self.file.stat()
        return repr((str(self.file), stat.st_size, stat.st_mtime_ns, self.labels))

    @property
    def modality(self) -> Modality:
        """What the example is."""
        return "image" if self.image is not None else "audio" if self.audio is not None else "text"


@dataclass(frozen=True)
class LabelledData:
    """A data set, split.

    Attributes:
        name: What a model card calls it.
        labels: The label space, sorted. Its order is the order of a model's outputs.
        licence: Under which the data may be used, as far as known.
        source: Where the data comes from, for a model card.
    """

    name: str
    modality: Modality
    labels: tuple[str, ...]
    train: Sequence[Example]
    validation: Sequence[Example]
    test: Sequence[Example]
    licence: str
    source: str
    task: Task = "multi_label"

    def __iter__(self) -> Iterator[Example]:
        """All examples: train, validation, test."""
        yield from self.train
        yield from self.validation
        yield from self.test


def add_identities(digest: "hashlib._Hash", examples: Iterable[Example]) -> None:
    """Add the identities of examples to a digest, one after the other: as the repr of their list, which is not made."""
    digest.update(b"[")
    for position, example in enumerate(examples):
        digest.update(f"{', ' if position else ''}{example.identity!r}".encode())
    digest.update(b"]")


def label_counts(examples: Iterable[Example]) -> Counter[str]:
    """How many examples carry each label."""
    return Counter(label for example in examples for label in example.labels if label)


def keep_labels(examples: Iterable[Example], labels: Collection[str]) -> list[Example]:
    """Take all labels but `labels` off the examples; the examples stay, and so do the words that lose their tag."""
    return [keep_labels_of(example, labels) for example in examples]


def keep_labels_of(example: Example, labels: Collection[str]) -> Example:
    """Take all labels but `labels` off one example."""
    if example.words is not None:
        return replace(example, labels=tuple(label if label in labels else "" for label in example.labels))
    return replace(example, labels=tuple(label for label in example.labels if label in labels))


def frequent_labels(examples: Iterable[Example], min_count: int) -> tuple[str, ...]:
    """The labels that at least `min_count` examples carry, sorted."""
    return tuple(sorted(label for label, count in label_counts(examples).items() if count >= min_count))
