"""The test examples in whose truth the model believed least, as a page shows them."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.data.dataset import Example
from training.evaluate import Answers
from training.report.statistics import difficulty, example_f1

SHOWN = 12
LONGEST_TEXT = 400
THUMBNAIL_PIXELS = 240
# A recording up to this size can be listened to on the page; of a longer one the page has the name.
LARGEST_RECORDING_BYTES = 150_000


@dataclass(frozen=True)
class SaidLabel:
    """A label of the truth or of the prediction, and whether it stands in the other one too."""

    label: str
    is_shared: bool
    probability: float | None = None


@dataclass(frozen=True)
class HardSample:
    """One example with its truth and prediction side by side; one of text, picture and recording says what it is."""

    number: int
    loss: float
    truth: list[SaidLabel]
    prediction: list[SaidLabel]
    text: str | None = None
    picture: str | None = None
    recording: str | None = None
    file_name: str | None = None


def hardest_samples(answers: Answers, examples: Sequence[Example], labels: Sequence[str]) -> list[HardSample]:
    """Examples with a wrong answer, the one with the largest loss first."""
    loss_N = difficulty(answers)
    f1_N = example_f1(answers.probabilities_NC != 0, answers.targets_NC)
    wrong = [int(index) for index in np.argsort(-loss_N, kind="stable") if f1_N[index] < 1]
    return [
        _sample(
            index, float(loss_N[index]), answers.probabilities_NC[index], answers.targets_NC[index], example, labels
        )
        for index, example in ((index, examples[index]) for index in wrong[:SHOWN])
    ]


def _sample(
    number: int,
    loss: float,
    probabilities_C: npt.NDArray[np.float32],
    target_C: npt.NDArray[np.bool_],
    example: Example,
    labels: Sequence[str],
) -> HardSample:
    said = [int(index) for index in np.argsort(-probabilities_C, kind="stable") if probabilities_C[index]]
    prediction = [SaidLabel(labels[index], bool(target_C[index]), float(probabilities_C[index])) for index in said]
    truth = [SaidLabel(labels[index], index in said) for index in np.flatnonzero(target_C)]
    text = example.text or " ".join(example.words or ()) or None
    return HardSample(
        number,
        loss,
        truth,
        prediction,
        text=text if text is None or len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…",
        picture=thumbnail(example.image) if example.image else None,
        recording=_recording(example.audio) if example.audio else None,
        file_name=example.file.name if example.file else None,
    )


def thumbnail(file: Path) -> str:
    """A picture as a small JPEG in a data URI, on white where it is transparent."""
    with Image.open(file) as picture:
        picture.draft("RGB", (THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
        picture.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
        rgba = picture.convert("RGBA")
    paper = Image.new("RGBA", rgba.size, "white")
    paper.alpha_composite(rgba)
    stream = io.BytesIO()
    paper.convert("RGB").save(stream, "JPEG", quality=80)
    return data_uri("image/jpeg", stream.getvalue())


def data_uri(media_type: str, content: bytes) -> str:
    """Content as an address that a page can hold in itself."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def _recording(file: Path) -> str | None:
    if file.stat().st_size > LARGEST_RECORDING_BYTES:
        return None
    return data_uri(f"audio/{file.suffix.removeprefix('.').lower()}", file.read_bytes())
