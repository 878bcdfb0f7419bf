import numpy as np
import pytest
import scipy.signal
import torch
from transformers import ResNetConfig, ResNetModel

from model.nn.audio import AudioBackbone, LogMelSpectrogram, load_audio_backbone, mel_filters, new_audio_backbone

RATE = 8_000
# 25 ms and 10 ms of 8 kHz, and the power of two that holds a window.
WINDOW, HOP, TRANSFORM = 200, 80, 256


def noise(batch=3, length=4_000, seed=0):
    return torch.randint(
        -20_000, 20_000, (batch, length), dtype=torch.int16, generator=torch.Generator().manual_seed(seed)
    )


def tone(hz, length=4_000, loudness=10_000):
    return torch.from_numpy(np.rint(loudness * np.sin(2 * np.pi * hz * np.arange(length) / RATE)).astype(np.int16))


def reference_log_mel(samples, mel_bands):
    """By scipy, and by the definition of a mel triangle, one band at a time; in double precision."""
    _, _, transform = scipy.signal.stft(
        samples / 32_768, window="hann", nperseg=WINDOW, noverlap=WINDOW - HOP, nfft=TRANSFORM, padded=False
    )
    window_sum = scipy.signal.get_window("hann", WINDOW).sum()  # scipy divides by it
    power = np.abs(transform * window_sum) ** 2
    frequencies = np.arange(TRANSFORM // 2 + 1) * RATE / TRANSFORM
    lowest, highest = 2595 * np.log10(1 + 40 / 700), 2595 * np.log10(1 + RATE / 2 / 700)
    step = (highest - lowest) / (mel_bands + 1)
    bands = []
    for band in range(mel_bands):
        left, peak, right = (700 * (10 ** ((lowest + (band + corner) * step) / 2595) - 1) for corner in range(3))
        weights = np.interp(frequencies, [left, peak, right], [0, 1, 0])
        bands.append(np.log(weights @ power + 1e-6))
    return np.stack(bands)


def test_the_spectrogram_is_that_of_an_independent_computation():
    samples = noise()
    spectrogram_BMT = LogMelSpectrogram(RATE, mel_bands=24)(samples).numpy()
    assert spectrogram_BMT.shape == (3, 24, 51)
    for actual, sound in zip(spectrogram_BMT, samples.numpy(), strict=True):
        expected = reference_log_mel(sound, mel_bands=24)[:, :51]
        np.testing.assert_allclose(actual, (expected - expected.mean()) / expected.std(), rtol=1e-3, atol=1e-3)


def test_a_tone_is_loudest_in_the_band_that_holds_it():
    spectrogram = LogMelSpectrogram(RATE, mel_bands=32)
    filters = mel_filters(RATE, TRANSFORM, 32)
    for hz in (500, 1_000, 2_000, 3_000):
        loudest = spectrogram(tone(hz)[None])[0].mean(dim=1).argmax().item()
        assert loudest == filters[:, round(hz * TRANSFORM / RATE)].argmax()


def test_how_loud_a_recording_is_hardly_matters():
    spectrogram = LogMelSpectrogram(RATE, mel_bands=16)
    torch.testing.assert_close(spectrogram(noise()), spectrogram(noise() // 8), rtol=0, atol=0.01)


def test_silence_gives_zeros_and_no_nan():
    assert not LogMelSpectrogram(RATE, mel_bands=16)(torch.zeros(2, 4_000, dtype=torch.int16)).any()


def test_every_band_between_the_lowest_and_the_highest_frequency_hears_something():
    for sample_rate, transform, bands in ((8_000, 256, 32), (16_000, 512, 64), (44_100, 2_048, 128)):
        filters_MK = mel_filters(sample_rate, transform, bands)
        assert filters_MK.shape == (bands, transform // 2 + 1)
        assert (filters_MK >= 0).all()
        assert filters_MK.max() <= 1
        assert (filters_MK.sum(axis=1) > 0).mean() > 0.9


def test_the_spectrogram_stays_in_full_precision_under_autocast():
    spectrogram = LogMelSpectrogram(RATE, mel_bands=16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = spectrogram(noise())
    torch.testing.assert_close(mixed, spectrogram(noise()), rtol=0, atol=0)


def test_a_row_does_not_depend_on_its_batch():
    torch.manual_seed(0)
    backbone = new_audio_backbone((8, 16), (1, 1), RATE, mel_bands=16).eval()
    with torch.inference_mode():
        together, alone = backbone(noise()), torch.cat([backbone(row[None]) for row in noise()])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert together.shape == (3, backbone.feature_size) == (3, 16)


def test_the_spectrogram_is_computed_and_neither_learned_nor_saved():
    backbone = new_audio_backbone((8, 16), (1, 1), RATE, mel_bands=16)
    assert not any("spectrogram" in name for name in backbone.state_dict())
    assert not any("spectrogram" in name for name, _ in backbone.named_parameters())


def test_a_resnet_of_pictures_sees_the_spectrogram_as_a_grey_picture(tmp_path):
    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1], layer_type="bottleneck")
    ResNetModel(config).save_pretrained(tmp_path)
    backbone = load_audio_backbone(str(tmp_path), RATE, mel_bands=16, depths=(1,)).eval()
    with torch.inference_mode():
        grey = backbone.spectrogram(noise())[:, None].repeat(1, 3, 1, 1)
        expected = backbone.network(grey).last_hidden_state.mean(dim=(2, 3))
        torch.testing.assert_close(backbone(noise()), expected)
    assert backbone.feature_size == 16


@pytest.mark.parametrize("length", [100, 4_000, 4_001])
def test_recordings_of_any_length_have_a_feature(length):
    backbone = new_audio_backbone((8, 16), (1, 1), RATE, mel_bands=16).eval()
    assert torch.isfinite(backbone(noise(length=length))).all()


def test_the_backbone_says_which_input_it_takes():
    assert AudioBackbone.input_name == "samples"
