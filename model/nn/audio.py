"""The backbone for recordings: int16 samples -> log-mel spectrogram -> a ResNet that sees it as a picture.

The spectrogram is part of the network, so that it is computed in the graph and cannot drift between training and
service. Knows nothing of files: `model/preprocess/audio.py` decodes them.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import ResNetConfig, ResNetModel

from model.nn.backbones import Backbone, load_image_backbone

WINDOW_SECONDS = 0.025
HOP_SECONDS = 0.010
LOWEST_HZ = 40.0
# Added to the power in each band before the logarithm, for samples in [-1, 1]: above what rounding to 16 bits leaves.
POWER_FLOOR = 1e-6
# A recording of nothing has no spread to divide by; this is far below that of any sound.
_MIN_SPREAD = 1e-3


# Shape suffixes: B rows, S samples, T frames, W samples of a frame, K frequencies of its transform, M mel bands.
class LogMelSpectrogram(nn.Module):
    """Log-mel spectrogram, with mean 0 and standard deviation 1 over each recording: how loud it is does not matter.

    The short-time Fourier transform is a convolution with windowed cosines and sines, which every runtime has and is
    fast at; frames are centred at multiples of the hop, silence before and after the recording.
    """

    fourier_2K1W: Tensor
    mel_MK: Tensor

    def __init__(self, sample_rate: int, mel_bands: int) -> None:
        super().__init__()
        window = 2 * round(WINDOW_SECONDS * sample_rate / 2)
        transform_size = 1 << (window - 1).bit_length()
        self.hop = round(HOP_SECONDS * sample_rate)
        self.register_buffer("fourier_2K1W", _tensor(_fourier_kernels(window, transform_size)), persistent=False)
        self.register_buffer("mel_MK", _tensor(mel_filters(sample_rate, transform_size, mel_bands)), persistent=False)

    def forward(self, samples_BS: Tensor) -> Tensor:
        """int16 `[B, S]` -> float32 `[B, M, T]`, `T = S // hop + 1`."""
        # In full precision under autocast too: bfloat16 cannot tell a quiet partial from a loud one's rounding.
        with torch.autocast(samples_BS.device.type, enabled=False):
            sound_B1S = samples_BS.to(torch.float32).unsqueeze(1) / 32768.0
            half_window = self.fourier_2K1W.shape[-1] // 2
            fourier_B2KT = functional.conv1d(sound_B1S, self.fourier_2K1W, stride=self.hop, padding=half_window)
            real_BKT, imaginary_BKT = fourier_B2KT.chunk(2, dim=1)
            log_BMT = torch.log(self.mel_MK @ (real_BKT.square() + imaginary_BKT.square()) + POWER_FLOOR)
            centred_BMT = log_BMT - log_BMT.mean(dim=(1, 2), keepdim=True)
            spread_B11 = centred_BMT.square().mean(dim=(1, 2), keepdim=True).sqrt()
            return centred_BMT / spread_B11.clamp(min=_MIN_SPREAD)


class AudioBackbone(Backbone):
    """A ResNet over the log-mel spectrogram of int16 samples."""

    input_name = "samples"

    def __init__(self, network: ResNetModel, sample_rate: int, mel_bands: int) -> None:
        super().__init__()
        self.spectrogram = LogMelSpectrogram(sample_rate, mel_bands)
        self.network = network
        self.channels: int = network.config.num_channels
        self.feature_size = network.config.hidden_sizes[-1]

    def forward(self, samples_BS: Tensor) -> Tensor:
        """int16 `[B, S]` -> feature `[B, F]`, the mean over all times and frequencies."""
        picture_B1MT = self.spectrogram(samples_BS).unsqueeze(1)
        hidden: Tensor = self.network(picture_B1MT.expand(-1, self.channels, -1, -1)).last_hidden_state
        return hidden.mean(dim=(2, 3))


def new_audio_backbone(
    hidden_sizes: Sequence[int], depths: Sequence[int], sample_rate: int, mel_bands: int, embedding_size: int = 32
) -> AudioBackbone:
    """A small ResNet of basic blocks, from scratch."""
    config = ResNetConfig(
        num_channels=1,
        embedding_size=embedding_size,
        hidden_sizes=list(hidden_sizes),
        depths=list(depths),
        layer_type="basic",
    )
    return AudioBackbone(ResNetModel(config), sample_rate, mel_bands)


def load_audio_backbone(
    source: str, sample_rate: int, mel_bands: int, depths: Sequence[int] | None = None
) -> AudioBackbone:
    """A ResNet pre-trained on pictures; arguments and errors are those of `load_image_backbone`.

    It sees the spectrogram as a grey picture. That has mean 0 and standard deviation 1, as its pictures had.
    """
    return AudioBackbone(load_image_backbone(source, depths).network, sample_rate, mel_bands)


def mel_filters(sample_rate: int, transform_size: int, mel_bands: int) -> npt.NDArray[np.float64]:
    """Triangles of height 1, evenly spaced on the mel scale `2595 log10(1 + f / 700)` up to half the sample rate.

    Returns:
        `[mel_bands, transform_size // 2 + 1]`: how much of each frequency of the Fourier transform a band takes.
    """
    lowest, highest = (2595.0 * math.log10(1.0 + hz / 700.0) for hz in (LOWEST_HZ, sample_rate / 2))
    corners_hz = 700.0 * (10.0 ** (np.linspace(lowest, highest, mel_bands + 2) / 2595.0) - 1.0)
    left_M1, peak_M1, right_M1 = (corners_hz[start : start + mel_bands, None] for start in range(3))
    frequency_K = np.arange(transform_size // 2 + 1) * (sample_rate / transform_size)
    rising_MK = (frequency_K - left_M1) / (peak_M1 - left_M1)
    falling_MK = (right_M1 - frequency_K) / (right_M1 - peak_M1)
    return np.minimum(rising_MK, falling_MK).clip(min=0.0)


def _fourier_kernels(window: int, transform_size: int) -> npt.NDArray[np.float64]:
    """Cosines, then sines, under a Hann window: `[2 K, 1, window]`."""
    hann_W = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    frequency_K = np.arange(transform_size // 2 + 1)
    phase_KW = 2 * np.pi * frequency_K[:, None] * np.arange(window) / transform_size
    return np.concatenate([np.cos(phase_KW) * hann_W, np.sin(phase_KW) * hann_W])[:, None, :]


def _tensor(array: npt.NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))
