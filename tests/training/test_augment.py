import torch

from training.augment import augment_images


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
