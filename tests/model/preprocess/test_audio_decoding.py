"""What the samples of a recording are, whatever file it comes in."""

from io import BytesIO

import numpy as np
import pytest
import soundfile

from model import preprocess
from model.manifest import AudioPreprocessing

RATE = 8_000
# Ogg's codecs begin at their own pace; between its ends a tone comes through as it was.
LOSSLESS = {"WAV": "PCM_16", "FLAC": "PCM_24", "AIFF": "PCM_16"}
LOSSY = {"OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}


def build(seconds=0.5, **limits):
    return preprocess.build(AudioPreprocessing(sample_rate=RATE, seconds=seconds), limits=preprocess.Limits(**limits))


def encode(sound, file_format="WAV", sample_rate=RATE, subtype=None):
    stream = BytesIO()
    soundfile.write(stream, sound, sample_rate, format=file_format, subtype=subtype)
    return stream.getvalue()


def tone(hz, seconds=0.5, sample_rate=RATE, loudness=0.5):
    return loudness * np.sin(2 * np.pi * hz * np.arange(int(seconds * sample_rate)) / sample_rate)


@pytest.mark.parametrize("file_format", LOSSLESS)
def test_a_file_without_loss_gives_its_samples_within_one_step(file_format):
    sound = tone(440)
    samples = build()(encode(sound, file_format, subtype=LOSSLESS[file_format]))
    assert samples.dtype == np.int16
    assert samples.shape == (4_000,)
    assert np.abs(samples - sound * 32_767).max() <= 1.5
    assert samples.max() == pytest.approx(0.5 * 32_767, abs=20)


@pytest.mark.parametrize("file_format", LOSSY)
def test_a_file_with_loss_gives_nearly_its_samples(file_format):
    sound = tone(440, sample_rate=16_000)
    samples = build()(encode(sound, file_format, 16_000, LOSSY[file_format]))[400:-400].astype(float)
    expected = sound[::2][400:-400] * 32_767
    assert np.corrcoef(samples, expected)[0, 1] > 0.999


@pytest.mark.parametrize("sample_rate", [4_000, 11_025, 16_000, 44_100, 48_000])
def test_another_sample_rate_is_resampled_and_the_pitch_stays(sample_rate):
    samples = build(seconds=1)(encode(tone(600, 1.0, sample_rate), sample_rate=sample_rate))
    spectrum = np.abs(np.fft.rfft(samples))
    assert spectrum.argmax() == 600
    assert spectrum[600] > 20 * np.delete(spectrum, range(590, 611)).max()


def test_a_tone_above_half_the_sample_rate_does_not_fold_back():
    samples = build()(encode(tone(5_000, sample_rate=16_000), sample_rate=16_000))
    assert np.abs(samples[100:-100]).max() < 0.01 * 32_767


def test_channels_are_mixed_to_their_mean():
    left, right = tone(300), tone(900)
    stereo = build()(encode(np.stack([left, right], axis=1)))
    mono = build()(encode((left + right) / 2))
    assert np.abs(stereo.astype(int) - mono).max() <= 1


def test_a_longer_recording_is_cut_and_a_shorter_one_followed_by_silence():
    sound = tone(440, seconds=0.8)
    np.testing.assert_array_equal(build(0.5)(encode(sound)), build(0.8)(encode(sound))[:4_000])
    padded = build(1.0)(encode(sound))
    assert padded.shape == (8_000,)
    assert padded[:6_400].any()
    assert not padded[6_400:].any()


def test_what_is_louder_than_full_scale_is_clipped_and_never_wraps():
    square = np.sign(tone(200)) * 3.0
    samples = build()(encode(square, subtype="FLOAT"))
    assert (np.sign(samples[1:]) == np.sign(square[1:])).mean() > 0.99
    assert np.abs(samples.astype(int)).max() == 32_767


def test_numbers_that_are_none_do_not_spread():
    sound = tone(440)
    broken = sound.copy()
    broken[103], broken[203], broken[303] = np.nan, np.inf, -np.inf
    samples = build()(encode(broken, subtype="FLOAT"))
    clean = build()(encode(sound, subtype="FLOAT"))
    assert samples[[103, 203, 303]].tolist() == [0, 32_767, -32_767]
    assert (samples != clean).sum() == 3


def test_infinities_and_huge_numbers_in_several_channels_give_a_number_and_no_warning():
    channels = np.array([[np.inf, -np.inf], [3e38, 3e38], [np.nan, 0.5]] * 100, np.float32)
    samples = build(seconds=300 / RATE)(encode(channels, subtype="FLOAT"))
    assert samples[:3].tolist() == [0, 32_767, 8_192]


def test_a_flac_stream_that_does_not_say_how_long_it_is_is_read_to_its_end():
    sound = tone(440)
    content = bytearray(encode(sound, "FLAC"))
    content[21] &= 0xF0  # the 36 bits of STREAMINFO that count the samples
    content[22:26] = bytes(4)
    np.testing.assert_array_equal(build(1.0)(bytes(content)), build(1.0)(encode(sound, "FLAC")))


def test_the_same_bytes_give_the_same_samples():
    content = encode(tone(440, sample_rate=44_100), "OGG", 44_100)
    np.testing.assert_array_equal(build()(content), build()(content))


def test_a_batch_has_one_row_a_recording():
    arrays = [build()(encode(tone(hz))) for hz in (200, 300, 400)]
    batch = build().collate(arrays)
    assert batch.keys() == {"samples"}
    assert batch["samples"].dtype == np.int16
    np.testing.assert_array_equal(batch["samples"], np.stack(arrays))
