import pytest
import torch
from tokenizers import Tokenizer, models

from training.augment import augment_audio, augment_images, augment_tokens, augmentation
from training.config import ConfigError, Recipe, TextInput
from training.overrides import override
from training.tokenizer import train_tokenizer


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _pictures(batch=4, height=24, width=32):
    return torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8, generator=_generator(1))


def test_pictures_stay_pictures():
    augmented = augment_images(_pictures(), _generator())
    assert augmented.shape == (4, 24, 32, 3)
    assert augmented.dtype == torch.uint8


def test_the_same_generator_state_draws_the_same_change():
    pictures = _pictures()
    assert torch.equal(augment_images(pictures, _generator()), augment_images(pictures, _generator()))
    assert not torch.equal(augment_images(pictures, _generator()), augment_images(pictures, _generator(7)))


def test_what_comes_in_from_outside_is_white():
    black = torch.zeros(64, 32, 32, 3, dtype=torch.uint8)
    corners = augment_images(black, _generator())[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == 255).any(dim=-1).any(dim=-1).float().mean() > 0.5
    white = torch.full((8, 32, 32, 3), 255, dtype=torch.uint8)
    assert torch.equal(augment_images(white, _generator()), white)


def test_without_zoom_and_shift_half_of_the_pictures_are_mirrored_and_nothing_else_happens():
    pictures = _pictures(batch=64)
    augmented = augment_images(pictures, _generator(), max_zoom=1.0, max_shift=0.0)
    mirrored = [torch.equal(new, old.flip(1)) for new, old in zip(augmented, pictures, strict=True)]
    untouched = [torch.equal(new, old) for new, old in zip(augmented, pictures, strict=True)]
    assert sum(mirrored) + sum(untouched) == 64
    assert 16 < sum(mirrored) < 48


def test_a_shift_is_at_most_its_fraction_of_the_side():
    pictures = torch.full((64, 40, 40, 3), 255, dtype=torch.uint8)
    pictures[:, 20, 20] = 0
    augmented = augment_images(pictures, _generator(), max_zoom=1.0, max_shift=0.1)
    rows, columns = (augmented[..., 0] < 128).nonzero()[:, 1:].unbind(dim=1)
    # The mirror moves the point by one more: it lies beside the middle.
    assert (rows - 20).abs().max() <= 5
    assert (columns - 20).abs().max() <= 5
    assert (rows - 20).abs().max() >= 2


def test_the_input_is_left_as_it_is():
    pictures = _pictures()
    before = pictures.clone()
    augment_images(pictures, _generator())
    assert torch.equal(pictures, before)


PAD, CLS, SEP, HIDDEN = 0, 2, 3, 1


def _texts():
    """200 texts of 30 tokens between their special tokens, and padding behind."""
    words = torch.randint(10, 500, (200, 30), generator=_generator(2))
    column = torch.ones(200, 1, dtype=torch.int64)
    return torch.cat([column * CLS, words, column * SEP, column * PAD, column * PAD], dim=1)


def test_the_wanted_part_of_the_words_is_hidden_and_nothing_else_changes():
    texts = _texts()
    hidden = augment_tokens(texts, _generator(), 0.2, HIDDEN, [PAD, CLS, SEP, HIDDEN])
    changed = hidden != texts
    assert (hidden[changed] == HIDDEN).all()
    assert not changed[:, [0, 31, 32, 33]].any()
    # 6000 draws: three standard deviations are .0155.
    assert abs(changed[:, 1:31].float().mean() - 0.2) < 0.0155
    assert torch.equal(hidden, augment_tokens(texts, _generator(), 0.2, HIDDEN, [PAD, CLS, SEP, HIDDEN]))
    assert not torch.equal(hidden, augment_tokens(texts, _generator(1), 0.2, HIDDEN, [PAD, CLS, SEP, HIDDEN]))


def test_a_recipe_hides_words_by_the_token_that_its_tokenizer_has_for_it(text_recipe):
    def recipe(word_dropout) -> Recipe:
        return text_recipe.model_copy(update={"input": TextInput(word_dropout=word_dropout)})

    tokenizer = train_tokenizer(["ab abc bcd"] * 3, 100)
    token_ids = torch.tensor([[*tokenizer.encode("ab abc bcd").ids, tokenizer.token_to_id("[PAD]")]])
    assert augmentation(recipe(0.0), tokenizer.to_str()) is None
    augment = augmentation(recipe(0.99), tokenizer.to_str())
    hidden = augment(token_ids, _generator())[0].tolist()
    unknown = tokenizer.token_to_id("[UNK]")
    assert (hidden[0], hidden[-2:]) == (token_ids[0, 0], token_ids[0, -2:].tolist())
    assert set(hidden[1:-2]) == {unknown}
    tokenizer.add_special_tokens(["[MASK]"])
    masked = augmentation(recipe(0.99), tokenizer.to_str())(token_ids, _generator())[0].tolist()
    assert set(masked[1:-2]) == {tokenizer.token_to_id("[MASK]")}


def test_a_tokenizer_without_a_token_to_hide_words_by_is_refused(text_recipe):
    recipe = text_recipe.model_copy(update={"input": TextInput(word_dropout=0.1)})
    empty = Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).to_str()
    with pytest.raises(ConfigError, match=r"word_dropout needs a tokenizer with one of \[MASK\]"):
        augmentation(recipe, empty)


def _sounds(batch=8, length=4_000):
    time = torch.arange(length) / 8_000
    pitch_B1 = torch.linspace(300, 900, batch)[:, None]
    return (8_000 * torch.sin(2 * torch.pi * pitch_B1 * time)).round().to(torch.int16)


_UNCHANGED = {"max_speed": 1.0, "max_shift": 0.0, "max_noise": 0.0, "max_gap": 0.0}


def _pitch_hz(samples_BS):
    return torch.fft.rfft(samples_BS.float()).abs().argmax(dim=1) * 8_000 / samples_BS.shape[1]


def test_recordings_stay_recordings_and_the_input_is_left_as_it_is():
    sounds = _sounds()
    before = sounds.clone()
    augmented = augment_audio(sounds, _generator())
    assert augmented.shape == sounds.shape
    assert augmented.dtype == torch.int16
    assert torch.equal(sounds, before)
    assert torch.equal(augmented, augment_audio(sounds, _generator()))
    assert not torch.equal(augmented, augment_audio(sounds, _generator(7)))


def test_a_recording_of_which_nothing_is_changed_stays_bit_for_bit():
    assert torch.equal(augment_audio(_sounds(), _generator(), **_UNCHANGED), _sounds())


def test_speed_changes_the_pitch_by_at_most_its_factor():
    pitch_B = _pitch_hz(_sounds(batch=64))
    change_B = _pitch_hz(augment_audio(_sounds(batch=64), _generator(), **{**_UNCHANGED, "max_speed": 1.2})) / pitch_B
    assert 1.15 < change_B.max() < 1.23
    assert 1 / 1.23 < change_B.min() < 1 / 1.15


def test_a_shift_is_at_most_its_fraction_of_the_length_and_brings_silence():
    clicks = torch.zeros(64, 1_000, dtype=torch.int16)
    clicks[:, 500] = 20_000
    shifted = augment_audio(clicks, _generator(), **{**_UNCHANGED, "max_shift": 0.2})
    moved = shifted.abs().argmax(dim=1) - 500
    assert moved.abs().max() <= 200
    assert moved.min() < -150
    assert moved.max() > 150
    loud = torch.full((64, 1_000), 20_000, dtype=torch.int16)
    ends = augment_audio(loud, _generator(), **{**_UNCHANGED, "max_shift": 0.2})[:, [0, -1]]
    assert ((ends == 0).sum(dim=1) == 1).all()


def test_noise_is_at_most_its_fraction_of_the_recordings_own_loudness():
    sounds = torch.cat([_sounds(32), _sounds(32) // 10, torch.zeros(1, 4_000, dtype=torch.int16)])
    noise = augment_audio(sounds, _generator(), **{**_UNCHANGED, "max_noise": 0.5}).float() - sounds
    rms_B, noise_B = (sound.float().square().mean(dim=1).sqrt() for sound in (sounds, noise))
    assert (noise_B[:-1] <= 0.52 * rms_B[:-1]).all()
    assert (noise_B[:-1] / rms_B[:-1]).max() > 0.45
    assert noise_B[-1] == 0


def test_a_gap_is_one_part_of_at_most_its_fraction():
    loud = torch.full((64, 1_000), 20_000, dtype=torch.int16)
    silent = augment_audio(loud, _generator(), **{**_UNCHANGED, "max_gap": 0.3}) == 0
    lengths = silent.sum(dim=1)
    assert 250 < lengths.max() <= 300
    edges = torch.nn.functional.pad(silent.int(), (1, 1)).diff(dim=1).abs().sum(dim=1)
    assert (edges[lengths > 0] == 2).all()


def test_what_is_too_loud_is_clipped_and_never_wraps():
    loud = torch.full((4, 1_000), 32_767, dtype=torch.int16)
    augmented = augment_audio(loud, _generator(), **{**_UNCHANGED, "max_noise": 0.1})
    assert augmented.min() > 0
    assert (augmented == 32_767).float().mean() > 0.3


def test_recordings_are_augmented_where_the_recipe_says_so(audio_recipe):
    assert augmentation(audio_recipe) is augment_audio
    assert augmentation(override(audio_recipe, ["input.augment=false"])) is None
