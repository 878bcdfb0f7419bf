"""What is refused of recordings, with which code, and that nothing else ever escapes from a broken file."""

import random
import resource
import struct
import subprocess
import sys
import time
from io import BytesIO

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from model import preprocess
from model.manifest import AudioPreprocessing
from model.preprocess.audio_formats import audio_format

FORMATS = ("WAV", "FLAC", "OGG", "MP3", "AIFF")


def build(**limits):
    return preprocess.build(AudioPreprocessing(sample_rate=8_000, seconds=0.25), limits=preprocess.Limits(**limits))


def encode(file_format, sound=None, sample_rate=8_000):
    stream = BytesIO()
    sound = np.random.default_rng(0).normal(0, 0.1, 4_000) if sound is None else sound
    soundfile.write(stream, sound, sample_rate, format=file_format)
    return stream.getvalue()


FILES = {file_format: encode(file_format) for file_format in FORMATS}


def refusal(content, **limits):
    with pytest.raises(preprocess.InputError) as caught:
        build(**limits)(content)
    return caught.value


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_format_is_known_by_its_first_bytes(file_format):
    assert audio_format(FILES[file_format]) == file_format


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"not a recording", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"RIFF....WEBP", b"FORM"]
)
def test_what_begins_as_no_recording_is_refused_as_none(content):
    error = refusal(content)
    assert error.code == "not_a_recording"
    assert "WAV, FLAC, OGG, MP3, AIFF" in error.message


def test_a_text_is_of_the_wrong_kind():
    error = refusal("a text")
    assert error.code == "wrong_input_kind"
    assert error.detail == {"expected": "audio"}


def test_the_limit_on_bytes_is_exact():
    content = FILES["WAV"]
    assert build(max_audio_bytes=len(content))(content).shape == (2_000,)
    error = refusal(content, max_audio_bytes=len(content) - 1)
    assert error.code == "recording_too_large"
    assert error.detail == {"quantity": "bytes", "limit": len(content) - 1, "value": len(content)}


@pytest.mark.parametrize(
    ("offset", "value", "quantity"),
    [(22, struct.pack("<H", 1_000), "channels"), (24, struct.pack("<I", 2**31 - 1), "frames a second")],
)
def test_a_header_with_an_absurd_count_is_refused_before_anything_is_decoded(offset, value, quantity):
    content = bytearray(FILES["WAV"])
    content[offset : offset + len(value)] = value
    start = time.perf_counter()
    error = refusal(bytes(content))
    assert time.perf_counter() - start < 0.5
    assert (error.code, error.detail["quantity"]) == ("recording_too_large", quantity)


@pytest.mark.parametrize("file_format", ["WAV", "AIFF"])
def test_a_recording_without_a_sample_is_corrupt(file_format):
    assert refusal(encode(file_format, np.zeros(0))).code == "recording_corrupt"


def test_another_format_behind_an_id3_tag_is_corrupt():
    tag = b"ID3\x03\0\0\0\0\0\x0a" + bytes(10)
    error = refusal(tag + FILES["FLAC"])
    assert error.code == "recording_corrupt"
    assert "MP3" in error.message


def test_a_small_flac_that_claims_months_of_sound_costs_no_more_than_what_is_heard():
    # Half a minute of silence; its header counts 68 billion samples.
    whole = bytearray(encode("FLAC", np.zeros(4_096 * 64)))
    whole[21] |= 0x0F
    whole[22:26] = b"\xff" * 4
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    assert not build()(bytes(whole)).any()
    assert time.perf_counter() - start < 0.5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_file_cut_anywhere_is_answered_or_refused(file_format):
    content = FILES[file_format]
    preprocessor = build()
    outcomes = set()
    for length in (*range(100), *random.Random(0).sample(range(len(content)), 100)):
        try:
            assert preprocessor(content[:length]).shape == (2_000,)
            outcomes.add("answered")
        except preprocess.InputError as error:
            outcomes.add(error.code)
    assert outcomes <= {"answered", "not_a_recording", "recording_corrupt"}
    assert "recording_corrupt" in outcomes


@pytest.mark.parametrize("file_format", FORMATS)
@given(st.data())
def test_a_file_with_any_bytes_changed_is_answered_or_refused(file_format, data):
    content = bytearray(FILES[file_format])
    # The header is where damage does harm; the rest is mostly sound.
    for position in data.draw(st.lists(st.integers(0, min(len(content), 400) - 1), min_size=1, max_size=8)):
        content[position] = data.draw(st.integers(0, 255))
    try:
        samples = build()(bytes(content))
    except preprocess.InputError:
        return
    assert samples.shape == (2_000,)
    assert samples.dtype == np.int16


def test_nothing_is_loaded_to_know_a_recording():
    program = "import sys, model.preprocess.audio_formats; print(*({'soundfile', 'soxr', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "\n"
