from collections import Counter

import numpy as np
import pytest
from PIL import Image

from training.data.dataset import DataError, Example
from training.data.fashion_mnist import CLASSES, PACKAGE, read_idx
from training.data.mosaics import lay_mosaics, load_mosaics, read_mosaics
from training.data.packages import fetch_package


@pytest.fixture
def pictures(tmp_path):
    """One picture a class, filled with a grey that tells which."""
    examples = []
    for number, name in enumerate(CLASSES):
        path = tmp_path / f"{number}.png"
        Image.new("L", (28, 28), 100 + number).save(path)
        examples.append(Example((name,), image=path))
    return examples


def lay(pictures, folder, seed=0, count=60):
    folder.mkdir()
    lay_mosaics(pictures, count, (2, 3), 4, np.random.default_rng(seed), folder)
    return read_mosaics(folder)


def test_a_mosaic_shows_one_picture_of_each_of_its_labels_and_nothing_else(pictures, tmp_path):
    for example in lay(pictures, tmp_path / "mosaics"):
        with Image.open(example.image) as mosaic:
            assert mosaic.size == (3 * 28, 2 * 28)
            cells = [mosaic.crop((x, y, x + 28, y + 28)) for x in (0, 28, 56) for y in (0, 28)]
        # Every cell is of one grey: black, or that of a class.
        greys = [cell.getextrema() for cell in cells]
        assert all(low == high for low, high in greys)
        shown = [CLASSES[low - 100] for low, _ in greys if low]
        assert tuple(sorted(shown)) == example.labels


def test_every_number_of_labels_comes_about_as_often(pictures, tmp_path):
    counts = Counter(len(example.labels) for example in lay(pictures, tmp_path / "mosaics", count=400))
    assert set(counts) == {1, 2, 3, 4}
    assert min(counts.values()) > 70


def test_a_seed_gives_the_same_mosaics_and_another_seed_others(pictures, tmp_path):
    first, again, other = (
        [example.labels for example in lay(pictures, tmp_path / name, seed)]
        for name, seed in [("first", 1), ("again", 1), ("other", 2)]
    )
    assert first == again != other


@pytest.mark.parametrize(("settings", "message"), [({"most_labels": 5}, "1 and 4, got 5"), ({"examples": 9}, "got 9")])
def test_what_cannot_be_laid_is_an_error(settings, message):
    with pytest.raises(DataError, match=message):
        load_mosaics(rows=2, columns=2, **{"most_labels": 4, **settings})


@pytest.fixture(scope="module")
def real_mosaics():
    return load_mosaics(examples=100, rows=2, columns=4, most_labels=2)


@pytest.mark.slow
def test_real_mosaics_have_the_size_that_is_asked_for(real_mosaics):
    assert [len(side) for side in (real_mosaics.train, real_mosaics.validation, real_mosaics.test)] == [70, 15, 15]
    assert {len(example.labels) for example in real_mosaics} == {1, 2}
    with Image.open(real_mosaics.train[0].image) as mosaic:
        assert mosaic.size == (4 * 28, 2 * 28)


@pytest.mark.slow
def test_pictures_of_the_published_test_are_in_test_mosaics_only(real_mosaics):
    package = fetch_package(PACKAGE) / "usr/share/datasets/fashion-mnist"
    test_pictures = {picture.tobytes() for picture in read_idx(package / "t10k-images-idx3-ubyte.gz")}
    assert shown_pictures(real_mosaics.test) <= test_pictures
    assert not shown_pictures(real_mosaics.train) & test_pictures
    assert not shown_pictures(real_mosaics.validation) & test_pictures
    assert not shown_pictures(real_mosaics.train) & shown_pictures(real_mosaics.validation)


def shown_pictures(examples):
    shown = set()
    for example in examples:
        with Image.open(example.image) as mosaic:
            shown |= {mosaic.crop((x, y, x + 28, y + 28)).tobytes() for x in range(0, 112, 28) for y in (0, 28)}
    return shown - {bytes(28 * 28)}
