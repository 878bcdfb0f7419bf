"""Raw input -> the array that the graph takes; one implementation for training and service.

Cast, mean and standard deviation are not here but in the graph, so that they cannot drift. Importing this package is
light: Pillow, soundfile and tokenizers are loaded by the first `build` that needs them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from model.errors import LabelsetError
from model.manifest import AudioPreprocessing, ImagePreprocessing, Preprocessing, WordsPreprocessing

# An encoded picture or recording, a text, or the words of one.
Item = bytes | str | tuple[str, ...]
# As `numpy.empty`: shape, dtype -> an array. Who runs a batch on a GPU has memory of its own for it.
NewArray = Callable[[tuple[int, ...], npt.DTypeLike], npt.NDArray[Any]]


class InputError(LabelsetError):
    """An input that no array can be made of; always the caller's, never the model's."""

    code = "invalid_input"


class WrongInputKind(InputError):
    """A text was given to an image model, bytes to a text model, or words to a model that labels whole texts."""

    code = "wrong_input_kind"


class NotAnImage(InputError):
    """The bytes do not begin as any of the picture formats do that are read here."""

    code = "not_an_image"


class ImageCorrupt(InputError):
    """The bytes begin as a picture and cannot be decoded to the end."""

    code = "image_corrupt"


class ImageTooLarge(InputError):
    """A picture of too many bytes or too many pixels; `detail` says which, the limit and the value."""

    code = "image_too_large"


class NotARecording(InputError):
    """The bytes do not begin as any of the audio formats do that are read here."""

    code = "not_a_recording"


class RecordingCorrupt(InputError):
    """The bytes begin as a recording and cannot be decoded, or hold no sample."""

    code = "recording_corrupt"


class RecordingTooLarge(InputError):
    """A recording of too many bytes, channels or frames a second; `detail` says which, the limit and the value."""

    code = "recording_too_large"


class TextTooLong(InputError):
    """A text of too many characters."""

    code = "text_too_long"


class InvalidText(InputError):
    """A text that is not Unicode, or of which the tokenizer makes nothing."""

    code = "invalid_text"


class InvalidTokenizer(LabelsetError):
    """The bundle's `tokenizer.json` cannot be loaded, or does not fit the manifest."""

    code = "invalid_tokenizer"


@dataclass(frozen=True)
class Limits:
    """What an input may cost before it is refused; a matter of the one who serves, not of the model."""

    max_image_bytes: int = 20 * 1024 * 1024
    max_image_pixels: int = 50_000_000
    max_audio_bytes: int = 20 * 1024 * 1024
    max_text_chars: int = 100_000


DEFAULT_LIMITS = Limits()


def check_length(text: str | tuple[str, ...], limits: Limits) -> None:
    """Refuse a text, or the words of one, that is too long even to be looked at.

    Raises:
        TextTooLong: more characters than the limits allow.
    """
    length = len(text) if isinstance(text, str) else sum(map(len, text)) + max(0, len(text) - 1)
    if length > limits.max_text_chars:
        raise TextTooLong(
            f"a text must have at most {limits.max_text_chars} characters, got {length}",
            limit=limits.max_text_chars,
            value=length,
        )


class Preprocessor(Protocol):
    """Makes arrays of inputs, and batches of arrays. May be called from several threads at once."""

    def __call__(self, item: Item) -> npt.NDArray[Any]:
        """One input -> one array, without a batch axis.

        Raises:
            InputError: one of its sub-classes for each way of being unreadable.
        """

    def collate(self, arrays: Sequence[npt.NDArray[Any]], empty: NewArray = np.empty) -> dict[str, npt.NDArray[Any]]:
        """Arrays of one or more inputs -> the feed of the graph, by input name; what is large is made by `empty`."""


def build(preprocessing: Preprocessing, tokenizer_json: str = "", limits: Limits = DEFAULT_LIMITS) -> Preprocessor:
    """The preprocessor that a manifest describes.

    Args:
        preprocessing: The manifest's section of that name.
        tokenizer_json: Contents of `tokenizer.json`; only text models have one.
        limits: What an input may cost.

    Raises:
        InvalidTokenizer: a text model whose tokenizer cannot be used.
    """
    if isinstance(preprocessing, ImagePreprocessing):
        from model.preprocess.image import ImagePreprocessor

        return ImagePreprocessor(preprocessing, limits)
    if isinstance(preprocessing, AudioPreprocessing):
        from model.preprocess.audio import AudioPreprocessor

        return AudioPreprocessor(preprocessing, limits)
    if isinstance(preprocessing, WordsPreprocessing):
        from model.preprocess.words import WordsPreprocessor

        return WordsPreprocessor(preprocessing, tokenizer_json, limits)
    from model.preprocess.text import TextPreprocessor

    return TextPreprocessor(preprocessing, tokenizer_json, limits)


def stack(arrays: Sequence[npt.NDArray[Any]], empty: NewArray) -> npt.NDArray[Any]:
    """Arrays of one shape and type -> one array `[N, ...]`, made by `empty`."""
    return np.stack(arrays, out=empty((len(arrays), *arrays[0].shape), arrays[0].dtype), casting="no")
