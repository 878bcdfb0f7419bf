"""Random changes to training inputs that do not change what is in them."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from training.config import AudioInput, ImageInput, Recipe

# (a batch of inputs, the source of chance) -> the inputs to train on
Augmentation = Callable[[Tensor, torch.Generator], Tensor]


def augmentation(recipe: Recipe) -> Augmentation | None:
    """What a recipe does to its training inputs; None where it leaves them alone."""
    if isinstance(recipe.input, ImageInput) and recipe.input.augment:
        return augment_images
    if isinstance(recipe.input, AudioInput) and recipe.input.augment:
        return augment_audio
    return None


def augment_images(
    pixels_BHW3: Tensor, generator: torch.Generator, max_zoom: float = 1.25, max_shift: float = 0.1
) -> Tensor:
    """Mirror half of the pictures, and zoom and shift each a little; what comes in from outside is white.

    Args:
        pixels_BHW3: uint8.
        generator: Source of chance, so that a resumed run draws what the unbroken one would have drawn.
        max_zoom: Pictures are scaled by a factor in [1 / max_zoom, max_zoom].
        max_shift: Largest shift, as a fraction of the side.
    """
    batch = len(pixels_BHW3)
    zoom_B = max_zoom ** (torch.rand(batch, generator=generator) * 2 - 1)
    mirror_B = torch.where(torch.rand(batch, generator=generator) < 0.5, -1.0, 1.0)
    shift_B2 = (torch.rand(batch, 2, generator=generator) * 2 - 1) * 2 * max_shift
    transform_B23 = torch.zeros(batch, 2, 3)
    transform_B23[:, 0, 0] = mirror_B / zoom_B
    transform_B23[:, 1, 1] = 1 / zoom_B
    transform_B23[:, :, 2] = shift_B2
    # grid_sample fills with zeros: sample the negative, whose white is zero.
    negative_B3HW = 255.0 - pixels_BHW3.permute(0, 3, 1, 2).float()
    grid = functional.affine_grid(transform_B23, list(negative_B3HW.shape), align_corners=False)
    sampled_B3HW = functional.grid_sample(negative_B3HW, grid.to(pixels_BHW3.device), align_corners=False)
    return (255.0 - sampled_B3HW).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def augment_audio(
    samples_BS: Tensor,
    generator: torch.Generator,
    max_speed: float = 1.1,
    max_shift: float = 0.1,
    max_noise: float = 0.1,
    max_gap: float = 0.1,
) -> Tensor:
    """Change the speed of each recording a little (and with it the pitch), shift it, add noise, and silence a part.

    Args:
        samples_BS: int16.
        generator: Source of chance, so that a resumed run draws what the unbroken one would have drawn.
        max_speed: Recordings are played at a speed in [1 / max_speed, max_speed].
        max_shift: Largest shift in time, as a fraction of the length; what comes in from outside is silence.
        max_noise: Loudest white noise, as a fraction of the recording's own root mean square.
        max_gap: Longest part that is silenced, as a fraction of the length.
    """
    batch, length = samples_BS.shape
    chance_B5 = torch.rand(batch, 5, generator=generator).to(samples_BS.device)
    noise_BS = torch.randn(batch, length, generator=generator).to(samples_BS.device)
    speed_B1, shift_B1, loudness_B1, gap_B1, gap_start_B1 = chance_B5.unsqueeze(2).unbind(dim=1)
    time_S = torch.arange(length, device=samples_BS.device)
    position_BS = time_S * max_speed ** (2 * speed_B1 - 1) + (2 * shift_B1 - 1) * max_shift * length
    sound_BS = _sound_at(samples_BS.float(), position_BS)
    sound_BS += noise_BS * loudness_B1 * max_noise * sound_BS.square().mean(dim=1, keepdim=True).sqrt()
    gap_length_B1 = gap_B1 * max_gap * length
    since_gap_BS = time_S - gap_start_B1 * (length - gap_length_B1)
    sound_BS[(since_gap_BS >= 0) & (since_gap_BS < gap_length_B1)] = 0.0
    return sound_BS.round().clamp(-32768, 32767).to(torch.int16)


def _sound_at(sound_BS: Tensor, position_BS: Tensor) -> Tensor:
    """Samples at any positions, between two of them by a straight line; silence outside of the recording."""
    # One sample of silence at either end, to which all positions outside are moved.
    padded_BS = functional.pad(sound_BS, (1, 1))
    position_BS = (position_BS + 1).clamp(0, sound_BS.shape[1] + 1)
    left_BS = position_BS.long().clamp(max=sound_BS.shape[1])
    between_BS = position_BS - left_BS
    return padded_BS.gather(1, left_BS) * (1 - between_BS) + padded_BS.gather(1, left_BS + 1) * between_BS
