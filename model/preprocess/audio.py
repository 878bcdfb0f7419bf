"""Encoded recording -> int16 `[samples]`: decode, mix down to one channel, resample, cut or pad to a fixed length.

Knows no spectrogram: that is computed in the graph. What is heard of a recording is its beginning: a longer one is cut
at the end, a shorter one is followed by silence. So no more is ever decoded than the model takes, however long a
recording is, or says it is.
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from io import SEEK_SET, BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from model.manifest import AudioPreprocessing
from model.preprocess import (
    DEFAULT_LIMITS,
    Item,
    Limits,
    NewArray,
    NotARecording,
    RecordingCorrupt,
    RecordingTooLarge,
    WrongInputKind,
    stack,
)
from model.preprocess.audio_formats import AUDIO_FORMATS, audio_format

_SAME_CONTAINER = {"WAVEX": "WAV"}

# More than any microphone or sound card has; a header may claim two billion of both.
_MAX_CHANNELS = 32
_MAX_SAMPLE_RATE = 384_000

_BLOCK_FRAMES = 65_536
_FULL_SCALE = 32_767


class AudioPreprocessor:
    """Makes the samples of a recording; the same bytes always give the same array."""

    def __init__(self, params: AudioPreprocessing, limits: Limits = DEFAULT_LIMITS) -> None:
        self._params = params
        self._limits = limits

    def __call__(self, item: Item) -> npt.NDArray[np.int16]:
        """Decode the beginning of a WAV, FLAC, Ogg (Vorbis, Opus), MP3 or AIFF file.

        Returns:
            int16 `[samples]`, full scale at 32767; silence after the end of a shorter recording.

        Raises:
            WrongInputKind: a text.
            RecordingTooLarge: more bytes than the limits allow, or a header with an absurd channel count or rate.
            NotARecording: another format, or no recording at all.
            RecordingCorrupt: a recording that cannot be decoded, or without a single sample.
        """
        if not isinstance(item, bytes):
            raise WrongInputKind("an audio model takes the bytes of a recording, got a text", expected="audio")
        _check_limit("bytes", len(item), self._limits.max_audio_bytes)
        file_format = _format_of(item)
        try:
            with _Forward(_Content(item)) as recording:
                mono, sample_rate = self._beginning(recording, file_format), recording.samplerate
        except (soundfile.SoundFileError, RuntimeError) as error:
            reason = getattr(error, "error_string", error)
            raise RecordingCorrupt(f"the {file_format} file cannot be decoded: {reason}", format=file_format) from error
        if not len(mono):
            raise RecordingCorrupt(f"the {file_format} file must hold at least one sample, got none")
        return self._fitted(mono, sample_rate)

    def collate(self, arrays: Sequence[npt.NDArray[Any]], empty: NewArray = np.empty) -> dict[str, npt.NDArray[Any]]:
        """`samples`: int16 `[N, samples]`."""
        return {"samples": stack(arrays, empty)}

    def _beginning(self, recording: soundfile.SoundFile, file_format: str) -> npt.NDArray[np.float32]:
        """As many frames as the model takes, one channel: the mean of all."""
        actual = _SAME_CONTAINER.get(recording.format, recording.format)
        if actual != file_format:  # behind an ID3 tag anything may follow
            raise RecordingCorrupt(f"the file begins as {file_format} and goes on as {actual}", format=file_format)
        _check_limit("channels", recording.channels, _MAX_CHANNELS)
        _check_limit("frames a second", recording.samplerate, _MAX_SAMPLE_RATE)
        missing = math.ceil(self._params.seconds * recording.samplerate)
        blocks = [np.zeros(0, np.float32)]
        # In blocks: the number of frames in a header may be a lie, and memory is taken before they are read.
        while missing:
            block = recording.read(min(missing, _BLOCK_FRAMES), dtype="float32", always_2d=True)
            if not len(block):
                break
            # A file of floating point may hold anything; the resampler would spread a NaN over its neighbours.
            sound = np.nan_to_num(block, nan=0.0, posinf=1.0, neginf=-1.0).clip(-1.0, 1.0)
            blocks.append(sound.mean(axis=1))
            missing -= len(block)
        return np.concatenate(blocks)

    def _fitted(self, mono: npt.NDArray[np.float32], sample_rate: int) -> npt.NDArray[np.int16]:
        resampled = soxr.resample(mono, sample_rate, self._params.sample_rate)[: self._params.sample_count]
        samples = np.zeros(self._params.sample_count, np.int16)
        # Resampling may overshoot full scale.
        samples[: len(resampled)] = np.rint(resampled.clip(-1.0, 1.0) * _FULL_SCALE).astype(np.int16)
        return samples


class _Forward(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read from front to back only.

    Without this soundfile seeks after each read, which fails where a FLAC stream does not say how long it is.
    """

    def seekable(self) -> bool:
        return False


class _Content(BytesIO):
    """Bytes in which a broken header may lead to before the beginning: the decoder finds that it did not get there."""

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        # An exception cannot pass through the decoder: it would be printed, and nothing else.
        with suppress(ValueError, OverflowError):
            super().seek(offset, whence)
        return self.tell()


def _check_limit(quantity: str, value: int, limit: int) -> None:
    if value > limit:
        raise RecordingTooLarge(
            f"a recording must have at most {limit} {quantity}, got {value}",
            quantity=quantity,
            limit=limit,
            value=value,
        )


def _format_of(content: bytes) -> str:
    found = audio_format(content)
    if found is None:
        raise NotARecording(
            f"a recording must be one of {', '.join(AUDIO_FORMATS)}, got bytes that begin as none of them"
        )
    return found
