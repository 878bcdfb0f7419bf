"""Golden examples: a few real inputs with the answers of the day of export, replayed before a model may serve."""

import base64
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from model.bundle import GOLDEN, GoldenMismatch, InvalidManifest
from model.labels import LabelSet
from model.manifest import Frozen
from model.predictor import Predictor

# Sums of products may be taken in another order on another processor.
PROBABILITY_TOLERANCE = 1e-4


class GoldenText(Frozen):
    """A text input."""

    kind: Literal["text"] = "text"
    text: str


class GoldenImage(Frozen):
    """An image input: the encoded file, as it was."""

    kind: Literal["image"] = "image"
    base64: str


class GoldenLabel(Frozen):
    """One expected label."""

    label: str
    probability: float


class GoldenExample(Frozen):
    """An input and its expected label set, the most probable label first."""

    input: Annotated[GoldenText | GoldenImage, Field(discriminator="kind")]
    labels: tuple[GoldenLabel, ...]

    @property
    def item(self) -> bytes | str:
        """The raw input, as a caller would send it."""
        return self.input.text if isinstance(self.input, GoldenText) else base64.b64decode(self.input.base64)


_EXAMPLES = TypeAdapter(tuple[GoldenExample, ...])


def example(item: bytes | str, answer: LabelSet) -> GoldenExample:
    """A golden example of an input and the answer given to it today."""
    kind = GoldenText(text=item) if isinstance(item, str) else GoldenImage(base64=base64.b64encode(item).decode())
    labels = tuple(GoldenLabel(label=label, probability=probability) for label, probability in answer.labels)
    return GoldenExample(input=kind, labels=labels)


def dump(examples: Sequence[GoldenExample]) -> bytes:
    """`golden.json`."""
    return _EXAMPLES.dump_json(tuple(examples), indent=2) + b"\n"


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
        GoldenMismatch: another label set, or a probability off by more than `PROBABILITY_TOLERANCE`.
    """
    examples = load(predictor)
    for number, (expected, actual) in enumerate(
        zip(examples, predictor.predict([example.item for example in examples]), strict=True)
    ):
        _compare(number, expected, actual)
    return examples


def _compare(number: int, expected: GoldenExample, actual: LabelSet) -> None:
    wanted = {label.label: label.probability for label in expected.labels}
    got = dict(actual.labels)
    if wanted.keys() != got.keys():
        raise GoldenMismatch(
            f"golden example {number} must have the labels {sorted(wanted)}, got {sorted(got)}",
            example=number,
            expected=sorted(wanted),
            actual=sorted(got),
        )
    for label, probability in wanted.items():
        if abs(got[label] - probability) > PROBABILITY_TOLERANCE:
            raise GoldenMismatch(
                f"golden example {number}: the probability of {label!r} must be {probability:.6f} within "
                f"{PROBABILITY_TOLERANCE}, got {got[label]:.6f}",
                example=number,
                label=label,
            )
