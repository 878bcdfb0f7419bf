import numpy as np
from PIL import Image, ImageDraw, ImageEnhance

from training.data.near_pictures import Looks


def draw(seed, size=(160, 120)):
    """A picture of some shapes in some colours."""
    chance = np.random.default_rng(seed)
    picture = Image.new("RGB", size, tuple(map(int, chance.integers(0, 256, 3))))
    canvas = ImageDraw.Draw(picture)
    for _ in range(6):
        left, top = chance.integers(0, size[0] - 40), chance.integers(0, size[1] - 40)
        box = tuple(map(int, (left, top, left + chance.integers(20, 60), top + chance.integers(20, 60))))
        canvas.ellipse(box, fill=tuple(map(int, chance.integers(0, 256, 3))))
    return picture


def saved(folder, pictures):
    files = []
    for name, picture in pictures.items():
        picture.save(folder / name)
        files.append(folder / name)
    return Looks(files)


def test_a_copy_in_another_size_format_or_quality_is_found_and_no_other_picture(tmp_path):
    known = saved(tmp_path, {f"{seed}.png": draw(seed) for seed in range(60)})
    probes = {
        "smaller.png": draw(7).resize((80, 60)),
        "poor.jpg": draw(8),
        "darker.png": ImageEnhance.Brightness(draw(9)).enhance(0.97),
        **{f"other-{seed}.png": draw(seed) for seed in range(100, 160)},
    }
    assert saved(tmp_path, probes).find_in(known).tolist() == [7, 8, 9] + [-1] * 60


def test_pictures_without_an_outline_are_told_apart_by_their_colour(tmp_path):
    known = saved(tmp_path, {"red.png": Image.new("RGB", (9, 9), "red"), "blue.png": Image.new("RGB", (9, 9), "blue")})
    probes = {"b.png": Image.new("RGB", (50, 50), (0, 2, 250)), "g.png": Image.new("RGB", (50, 50), "green")}
    assert saved(tmp_path, probes).find_in(known).tolist() == [1, -1]


def test_files_that_cannot_be_decoded_look_like_nothing_and_not_like_each_other(tmp_path):
    for name in "ab":
        (tmp_path / name).write_bytes(b"no picture")
    Image.new("RGB", (9, 9), "black").save(tmp_path / "black.png")
    broken, known = Looks([tmp_path / "a"]), Looks([tmp_path / "b", tmp_path / "black.png"])
    assert broken.find_in(known).tolist() == [-1]
    assert known.find_in(broken).tolist() == [-1, -1]
