"""Orientation, letterbox and stretch, and the scaled decode of JPEG."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from model import preprocess
from model.manifest import ImagePreprocessing

UPRIGHT = np.array([[(40, 0, 0), (80, 0, 0), (120, 0, 0)], [(160, 0, 0), (200, 0, 0), (240, 0, 0)]], np.uint8)

# How a camera stores the upright picture, by EXIF tag 0x0112.
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.transpose(1, 0, 2),
    6: np.rot90(UPRIGHT),
    7: UPRIGHT[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(UPRIGHT, -1),
}


def encode(image, image_format, orientation=None, **options):
    if orientation is not None:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = orientation
    stream = BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def build(height, width, **params):
    return preprocess.build(ImagePreprocessing(height=height, width=width, **params))


def photograph(width, height):
    """Smooth light with some texture, as real pictures have: a scaled decode of noise alone would prove nothing."""
    y, x = np.mgrid[:height, :width]
    light = 128 + 80 * np.sin(x / width * 5) * np.cos(y / height * 3)
    texture = np.random.default_rng(0).normal(0, 12, (height, width, 3))
    return Image.fromarray(np.clip(light[..., None] * [1, 0.9, 0.7] + texture, 0, 255).astype(np.uint8))


@contextmanager
def decoded_sizes():
    """Sizes at which JPEGs come out of libjpeg, in stored orientation, one for each decode."""
    sizes = []
    load_end = JpegImageFile.load_end

    def record(image):
        sizes.append(image.im.size)
        load_end(image)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(JpegImageFile, "load_end", record)
        yield sizes


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "WEBP"])
def test_every_exif_orientation_is_turned_upright(orientation, image_format):
    options = {"lossless": True} if image_format == "WEBP" else {}
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    array = build(2, 3, resize="stretch")(encode(stored, image_format, orientation, **options))
    np.testing.assert_array_equal(array, UPRIGHT)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
@pytest.mark.parametrize("scaled", [False, True])
def test_every_exif_orientation_of_a_jpeg_is_turned_upright(orientation, resize, scaled):
    blocks = np.repeat(np.repeat(STORED[orientation], 128, axis=0), 128, axis=1)
    content = encode(Image.fromarray(blocks), "JPEG", orientation, quality=100)
    array = build(64, 96, resize=resize, jpeg_scaled_decode=scaled)(content)
    np.testing.assert_allclose(array[16::32, 16::32].astype(int), UPRIGHT, atol=4)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_unknown_orientation_is_taken_as_upright(orientation):
    content = encode(Image.fromarray(UPRIGHT), "PNG", orientation)
    np.testing.assert_array_equal(build(2, 3, resize="stretch")(content), UPRIGHT)


def test_stretch_fills_the_whole_array():
    content = encode(Image.new("RGB", (300, 20), "red"), "PNG")
    assert (build(32, 48, resize="stretch")(content) == (255, 0, 0)).all()


@pytest.mark.parametrize(
    ("size", "rows", "columns"),
    [
        ((200, 100), slice(8, 24), slice(0, 32)),
        ((100, 200), slice(0, 32), slice(8, 24)),
        ((50, 50), slice(0, 32), slice(0, 32)),
        ((4, 2), slice(8, 24), slice(0, 32)),
    ],
    ids=["wide", "high", "square", "smaller than the array"],
)
def test_letterbox_keeps_the_aspect_centred_on_white(size, rows, columns):
    array = build(32, 32)(encode(Image.new("RGB", size, "red"), "PNG"))
    expected = np.full((32, 32, 3), 255)
    expected[rows, columns] = (255, 0, 0)
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [(1, 20000), (20000, 1), (1, 1), (3, 20000)])
@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_the_narrowest_picture_keeps_at_least_one_pixel(size, resize, image_format):
    array = build(32, 48, resize=resize)(encode(Image.new("RGB", size, "black"), image_format))
    assert array.shape == (32, 48, 3)
    assert (array == 0).any()


def test_a_picture_a_pixel_wide_and_very_high_is_not_widened_at_full_height():
    """In Pillow's order this one would pass through 16 GiB."""
    content = encode(Image.new("L", (1, 4_000_000), "black"), "BMP")
    assert (build(8, 1024, resize="stretch")(content) == 0).all()


def test_interpolation_is_pillow_s_antialiased_filter():
    picture = photograph(96, 64)
    for name, resampling in (("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)):
        array = build(20, 30, resize="stretch", interpolation=name)(encode(picture, "PNG"))
        np.testing.assert_array_equal(array, np.asarray(picture.resize((30, 20), resampling)))


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(640, 480), (481, 643), (1999, 1501)])
def test_the_scaled_decode_is_near_the_full_decode(resize, interpolation, size):
    content = encode(photograph(*size), "JPEG", quality=90)
    with decoded_sizes() as sizes:
        full, scaled = (
            build(64, 64, resize=resize, interpolation=interpolation, jpeg_scaled_decode=use)(content).astype(int)
            for use in (False, True)
        )
    assert sizes[0] == size
    assert sizes[1][0] < size[0] / 3.9
    assert np.abs(scaled - full).mean() < 2


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 900), st.integers(1, 900)),
    target=st.tuples(st.integers(1, 120), st.integers(1, 120)),
    resize=st.sampled_from(["letterbox", "stretch"]),
    orientation=st.integers(1, 8),
)
def test_the_scaled_decode_is_the_smallest_that_need_not_be_enlarged(size, target, resize, orientation):
    content = encode(Image.new("L", size), "JPEG", orientation)
    width, height = target if orientation < 5 else target[::-1]  # in stored orientation
    ratios = (size[0] / width, size[1] / height)
    shrink = max(ratios) if resize == "letterbox" else min(ratios)
    factor = max(factor for factor in (1, 2, 4, 8) if factor <= max(1, min(shrink, *size)))
    with decoded_sizes() as sizes:
        array = build(target[1], target[0], resize=resize)(content)
    assert array.shape == (target[1], target[0], 3)
    assert sizes == [(-(-size[0] // factor), -(-size[1] // factor))]


def test_the_same_bytes_give_the_same_array_in_every_thread():
    contents = [
        encode(photograph(643, 481), image_format) for image_format in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
    ]
    preprocessor = build(96, 96)
    alone = [preprocessor(content) for content in contents]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(preprocessor, contents * 4))
    for array, expected in zip(together, alone * 4, strict=True):
        np.testing.assert_array_equal(array, expected)


def test_two_preprocessors_of_one_manifest_see_the_same_array():
    content = encode(photograph(640, 480), "JPEG")
    params = ImagePreprocessing(height=96, width=96)
    read_back = ImagePreprocessing.model_validate_json(params.model_dump_json())
    np.testing.assert_array_equal(preprocess.build(params)(content), preprocess.build(read_back)(content))


def test_an_array_may_be_written_to():
    array = build(4, 4)(encode(Image.new("RGB", (4, 4)), "PNG"))
    array[0, 0] = 255


def test_collate_stacks_pictures_into_the_graph_s_input():
    preprocessor = build(4, 6)
    arrays = [preprocessor(encode(Image.new("RGB", (9, 5), colour), "PNG")) for colour in ("red", "blue")]
    batch = preprocessor.collate(arrays)
    assert list(batch) == ["pixels"]
    assert batch["pixels"].dtype == np.uint8
    assert batch["pixels"].shape == (2, 4, 6, 3)
    np.testing.assert_array_equal(batch["pixels"], arrays)
