"""Random changes to training inputs that do not change what is in them."""

from collections.abc import Callable, Collection
from functools import partial

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from training.config import AudioInput, ConfigError, ImageInput, Recipe, TextInput

# (a batch of inputs, the source of chance) -> the inputs to train on
Augmentation = Callable[[Tensor, torch.Generator], Tensor]


# What a tokenizer calls the token that hides another, by preference: made for it, or at least known to hold no word.
_HIDING_TOKENS = ("[MASK]", "<mask>", "[UNK]", "<unk>")


def augmentation(recipe: Recipe, tokenizer_json: str = "") -> Augmentation | None:
    """What a recipe does to its training inputs; None where it leaves them alone.

    Args:
        recipe: Whose input section says what to do.
        tokenizer_json: Of a text model, the contents of its `tokenizer.json`.

    Raises:
        ConfigError: words are to be hidden, and the tokenizer has no token for it.
    """
    if isinstance(recipe.input, ImageInput) and recipe.input.augment:
        return augment_images
    if isinstance(recipe.input, AudioInput) and recipe.input.augment:
        return augment_audio
    if isinstance(recipe.input, TextInput) and recipe.input.word_dropout > 0:
        return _word_dropout(Tokenizer.from_str(tokenizer_json), recipe.input.word_dropout)
    return None


def _word_dropout(tokenizer: Tokenizer, rate: float) -> Augmentation:
    special_ids = [token_id for token_id, token in tokenizer.get_added_tokens_decoder().items() if token.special]
    ids = [tokenizer.token_to_id(token) for token in _HIDING_TOKENS]
    replacement_id = next((token_id for token_id in ids if token_id is not None), None)
    if replacement_id is None:
        raise ConfigError(f"input.word_dropout needs a tokenizer with one of {', '.join(_HIDING_TOKENS)}, got none")
    return partial(augment_tokens, rate=rate, replacement_id=replacement_id, special_ids=special_ids)


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


def augment_tokens(
    token_ids_BT: Tensor, generator: torch.Generator, rate: float, replacement_id: int, special_ids: Collection[int]
) -> Tensor:
    """Hide a part of the tokens of each text, so that no single word is relied on.

    Args:
        token_ids_BT: int64.
        generator: Source of chance, so that a resumed run draws what the unbroken one would have drawn.
        rate: Chance of each token to be hidden, in [0, 1).
        replacement_id: What stands in the place of a hidden token.
        special_ids: Tokens that are never hidden: padding, beginning and end.
    """
    is_drawn_BT = (torch.rand(token_ids_BT.shape, generator=generator) < rate).to(token_ids_BT.device)
    is_special_BT = torch.isin(token_ids_BT, torch.tensor(list(special_ids), device=token_ids_BT.device))
    return token_ids_BT.masked_fill(is_drawn_BT & ~is_special_BT, replacement_id)


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
