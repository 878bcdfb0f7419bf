"""Golden examples: a few real inputs with the answers of the day of export, replayed before a model may serve."""

import base64
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from model.bundle import GOLDEN, GoldenMismatch, InvalidManifest
from model.labels import LabelSet
from model.manifest import Arithmetic, Frozen
from model.predictor import Answer, Predictor
from model.preprocess import Item
from model.preprocess.audio_formats import audio_format

# Sums of products may be taken in another order on another processor.
PROBABILITY_TOLERANCE = 1e-4
# Where the graph rounds as it goes, such a difference can become one of a whole step.
_TOLERANCES: dict[Arithmetic, float] = {"float32": PROBABILITY_TOLERANCE, "float16": 0.02, "int8": 0.1}


class GoldenText(Frozen):
    """A text input."""

    kind: Literal["text"] = "text"
    text: str


class GoldenImage(Frozen):
    """An image input: the encoded file, as it was."""

    kind: Literal["image"] = "image"
    base64: str


class GoldenAudio(Frozen):
    """An audio input: the encoded file, as it was."""

    kind: Literal["audio"] = "audio"
    base64: str


class GoldenWords(Frozen):
    """The words of a text, split by whoever labelled them."""

    kind: Literal["words"] = "words"
    words: tuple[str, ...]


GoldenInput = GoldenText | GoldenWords | GoldenImage | GoldenAudio


class GoldenLabel(Frozen):
    """One expected label."""

    label: str
    probability: float


class GoldenExample(Frozen):
    """An input and its expected label set, the most probable label first.

    Attributes:
        word_labels: Of a token classifier: the label set of each word, None where the model does not read it.
    """

    input: Annotated[GoldenInput, Field(discriminator="kind")]
    labels: tuple[GoldenLabel, ...] = ()
    word_labels: tuple[tuple[GoldenLabel, ...] | None, ...] | None = None

    @property
    def item(self) -> Item:
        """The raw input, as a caller would send it."""
        if isinstance(self.input, GoldenText):
            return self.input.text
        if isinstance(self.input, GoldenWords):
            return self.input.words
        return base64.b64decode(self.input.base64)


_EXAMPLES = TypeAdapter(tuple[GoldenExample, ...])


def example(item: Item, answer: Answer) -> GoldenExample:
    """A golden example of an input and the answer given to it today."""
    if isinstance(answer, LabelSet):
        return GoldenExample(input=_input(item), labels=_labels(answer))
    sets = tuple(None if labelled.label_set is None else _labels(labelled.label_set) for labelled in answer.words)
    return GoldenExample(input=_input(item), word_labels=sets)


def _labels(answer: LabelSet) -> tuple[GoldenLabel, ...]:
    return tuple(GoldenLabel(label=label, probability=probability) for label, probability in answer.labels)


def _input(item: Item) -> GoldenInput:
    if isinstance(item, str):
        return GoldenText(text=item)
    if isinstance(item, tuple):
        return GoldenWords(words=item)
    file = GoldenAudio if audio_format(item) else GoldenImage
    return file(base64=base64.b64encode(item).decode())


def dump(examples: Sequence[GoldenExample]) -> bytes:
    """`golden.json`."""
    return _EXAMPLES.dump_json(tuple(examples), indent=2, exclude_none=True) + b"\n"


def load(predictor: Predictor) -> tuple[GoldenExample, ...]:
    """The golden examples of a predictor's bundle.

    Raises:
        InvalidManifest: `golden.json` is not what `dump` writes.
    """
    try:
        return _EXAMPLES.validate_json(predictor.bundle.file(GOLDEN).read_bytes())
    except ValidationError as error:
        raise InvalidManifest(
            f"{GOLDEN} must be a list of inputs with their labels: {error.errors()[0]['msg']}"
        ) from None


def replay(predictor: Predictor) -> tuple[GoldenExample, ...]:
    """Answer every golden example again and compare.

    Returns:
        The examples, each answered as expected.

    Raises:
        GoldenMismatch: another label set, or a probability off by more than the tolerance of the graph's arithmetic.
    """
    examples = load(predictor)
    tolerance = _TOLERANCES[predictor.bundle.manifest.arithmetic]
    answers = predictor.predict([example.item for example in examples])
    for number, (expected, actual) in enumerate(zip(examples, answers, strict=True)):
        for where, wanted, got in _label_sets(f"golden example {number}", expected, actual):
            _compare(number, where, wanted, got, tolerance)
    return examples


def _label_sets(
    name: str, expected: GoldenExample, actual: Answer
) -> Iterator[tuple[str, dict[str, float], dict[str, float]]]:
    """Every label set of an answer, what it should be and what it is: one, or one for each word."""
    if isinstance(actual, LabelSet):
        yield name, _probabilities(expected.labels), dict(actual.labels)
        return
    # A word that is not read, or that is not there, has no labels.
    pairs = zip_longest(expected.word_labels or (), actual.words)
    for position, (wanted, word) in enumerate(pairs):
        label_set = word.label_set if word else None
        yield f"{name}, word {position}", _probabilities(wanted or ()), dict(label_set.labels if label_set else ())


def _probabilities(labels: Sequence[GoldenLabel]) -> dict[str, float]:
    return {label.label: label.probability for label in labels}


def _compare(number: int, where: str, wanted: dict[str, float], got: dict[str, float], tolerance: float) -> None:
    if wanted.keys() != got.keys():
        raise GoldenMismatch(
            f"{where} must have the labels {sorted(wanted)}, got {sorted(got)}",
            example=number,
            expected=sorted(wanted),
            actual=sorted(got),
        )
    for label, probability in wanted.items():
        if abs(got[label] - probability) > tolerance:
            raise GoldenMismatch(
                f"{where}: the probability of {label!r} must be {probability:.6f} within {tolerance}, "
                f"got {got[label]:.6f}",
                example=number,
                label=label,
            )
