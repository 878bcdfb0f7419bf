import gzip
import struct

import numpy as np
import pytest
from PIL import Image

from training.data.dataset import DataError, Example, label_counts
from training.data.fashion_mnist import draw_pictures, load_fashion_mnist, read_fashion_mnist, read_idx


def write_idx(path, values):
    header = struct.pack(">BBBB", 0, 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(gzip.compress(header + values.tobytes()))


@pytest.fixture
def package(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    for name, count in [("train", 3), ("t10k", 2)]:
        write_idx(tmp_path / f"{name}-images-idx3-ubyte.gz", pictures[:count])
        write_idx(tmp_path / f"{name}-labels-idx1-ubyte.gz", np.array([9, 0, 3], dtype=np.uint8)[:count])
    return tmp_path, pictures


def test_an_idx_file_has_its_shape_and_values(tmp_path):
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    write_idx(tmp_path / "values.gz", values)
    assert read_idx(tmp_path / "values.gz").tolist() == values.tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0\0\x0d\x01\0\0\0\x01" + bytes(4), r"values\.gz must be an IDX file of bytes .* starts with 00000d01"),
        (b"\0\0\x08\x01\0\0\0\x05" + bytes(4), r"values\.gz must hold 5 values for its shape, got 4"),
    ],
)
def test_a_file_of_another_kind_or_length_is_an_error(tmp_path, content, message):
    (tmp_path / "values.gz").write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match=message):
        read_idx(tmp_path / "values.gz")


def test_each_picture_is_drawn_with_its_own_pixels_and_class(package, tmp_path):
    folder, pictures = package
    draw_pictures(folder, tmp_path)
    examples = read_fashion_mnist(folder, tmp_path, "train")
    assert [example.labels for example in examples] == [("ankle boot",), ("T-shirt/top",), ("dress",)]
    for example, picture in zip(examples, pictures, strict=True):
        with Image.open(example.image) as drawn:
            assert np.array_equal(np.array(drawn), picture)
    assert read_fashion_mnist(folder, tmp_path, "test")[1] == Example(
        ("T-shirt/top",), image=tmp_path / "test/00001.png"
    )


@pytest.mark.slow
def test_the_real_pictures_are_split_evenly_and_the_published_test_stays():
    data = load_fashion_mnist()
    assert data.task == "multi_class"
    assert set(label_counts(data.train).values()) == {5000}
    assert set(label_counts(data.validation).values()) == {1000}
    assert set(label_counts(data.test).values()) == {1000}
    assert {example.image.parent.name for example in data.test} == {"test"}
    assert {example.image.parent.name for example in [*data.train, *data.validation]} == {"train"}
    with Image.open(data.test[0].image) as picture:
        assert (picture.size, picture.mode) == ((28, 28), "L")
