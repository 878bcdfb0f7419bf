"""Every format and colour mode, against pixel values worked out by hand."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms

from model import preprocess
from model.manifest import ImagePreprocessing

WHITE, BLACK, RED, GREEN, BLUE = (255,) * 3, (0,) * 3, (255, 0, 0), (0, 255, 0), (0, 0, 255)


def encode(image, image_format, **options):
    stream = BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def decode(content, height, width):
    """Pixels at the picture's own size, so that no resize blurs them."""
    params = ImagePreprocessing(height=height, width=width, resize="stretch")
    array = preprocess.build(params)(content)
    assert array.dtype == np.uint8
    assert array.shape == (height, width, 3)
    return array


def grey(rows):
    return np.repeat(np.array(rows)[..., None], 3, axis=2)


def png(width, height, bit_depth, colour_type, rows, transparency=b""):
    """A PNG of a kind that Pillow reads and does not write; `rows` are the packed samples of each row."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bit_depth, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    key = chunk(b"tRNS", transparency) if transparency else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + key + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def tiff(width, height, bits, photometric, data, extra_samples=()):
    """A little-endian TIFF of one uncompressed strip, of a kind that Pillow reads and does not write."""
    tags = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", bits),
        259: ("H", [1]),
        262: ("H", [photometric]),
        273: ("I", [8]),
        277: ("H", [len(bits)]),
        278: ("I", [height]),
        279: ("I", [len(data)]),
        338: ("H", extra_samples),
    }
    tags = {tag: (kind, values) for tag, (kind, values) in tags.items() if len(values)}
    overflow = bytearray(data + b"\0" * (len(data) % 2))
    entries = b""
    for tag, (kind, values) in tags.items():
        packed = struct.pack(f"<{len(values)}{kind}", *values)
        if len(packed) > 4:
            position = 8 + len(overflow)
            overflow += packed
            packed = struct.pack("<I", position)
        entries += struct.pack("<HHI", tag, {"H": 3, "I": 4}[kind], len(values)) + packed.ljust(4, b"\0")
    directory = struct.pack("<H", len(tags)) + entries + b"\0" * 4
    return b"II*\0" + struct.pack("<I", 8 + len(overflow)) + bytes(overflow) + directory


FOUR_COLOURS = np.array([[RED, GREEN], [BLUE, WHITE]], np.uint8)


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", {"big_tiff": True}),
        ("WEBP", {"lossless": True}),
        ("GIF", {}),
    ],
)
def test_a_lossless_format_gives_its_pixels_exactly(image_format, options):
    content = encode(Image.fromarray(FOUR_COLOURS), image_format, **options)
    np.testing.assert_array_equal(decode(content, 2, 2), FOUR_COLOURS)


@pytest.mark.parametrize("image_format", ["JPEG", "WEBP"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_lossy_format_gives_nearly_its_pixels(image_format, progressive):
    options = {"progressive": True} if progressive and image_format == "JPEG" else {}
    blocks = np.repeat(np.repeat(FOUR_COLOURS, 16, axis=0), 16, axis=1)
    array = decode(encode(Image.fromarray(blocks), image_format, quality=95, **options), 32, 32)
    np.testing.assert_allclose(array[8::16, 8::16].astype(int), FOUR_COLOURS, atol=4)


@pytest.mark.parametrize("image_format", ["GIF", "TIFF", "PNG", "WEBP"])
def test_only_the_first_frame_is_read(image_format):
    first, second = Image.new("RGB", (4, 4), RED), Image.new("RGB", (4, 4), BLUE)
    options = {"lossless": True} if image_format == "WEBP" else {}
    content = encode(first, image_format, save_all=True, append_images=[second], **options)
    assert (decode(content, 4, 4) == RED).all()


def test_only_the_first_picture_of_a_stereo_jpeg_is_read():
    first, second = Image.new("RGB", (16, 16), RED), Image.new("RGB", (16, 16), BLUE)
    array = decode(encode(first, "MPO", save_all=True, append_images=[second], quality=95), 16, 16)
    np.testing.assert_allclose(array.astype(int), np.broadcast_to(RED, (16, 16, 3)), atol=4)


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "BMP", "GIF"])
def test_grey_and_one_bit_pictures_become_equal_channels(image_format):
    levels = np.array([[0, 90], [180, 255]], np.uint8)
    np.testing.assert_array_equal(decode(encode(Image.fromarray(levels), image_format), 2, 2), grey(levels))
    bits = Image.fromarray(levels > 100)
    assert bits.mode == "1"
    np.testing.assert_array_equal(decode(encode(bits, image_format), 2, 2), grey([[0, 0], [255, 255]]))


def test_a_grey_jpeg_becomes_equal_channels():
    array = decode(encode(Image.new("L", (16, 16), 77), "JPEG", quality=95), 16, 16)
    np.testing.assert_allclose(array.astype(int), 77, atol=1)


SIXTEEN_BITS = np.array([[0, 257 * 10, 257 * 10 + 128], [257 * 10 + 129, 257 * 200, 65535]], np.uint16)
SIXTEEN_BITS_SCALED = [[0, 10, 10], [11, 200, 255]]


@pytest.mark.parametrize(
    ("image_format", "options"),
    [("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})],
)
def test_16_bit_grey_is_scaled_and_rounded_not_clipped(image_format, options):
    content = encode(Image.fromarray(SIXTEEN_BITS), image_format, **options)
    np.testing.assert_array_equal(decode(content, 2, 3), grey(SIXTEEN_BITS_SCALED))


def test_big_endian_16_bit_grey_is_read_as_such():
    image = Image.frombytes("I;16B", (3, 2), SIXTEEN_BITS.astype(">u2").tobytes())
    np.testing.assert_array_equal(decode(encode(image, "TIFF"), 2, 3), grey(SIXTEEN_BITS_SCALED))


def test_16_bit_grey_where_zero_is_white_is_inverted():
    content = tiff(3, 2, [16], 0, SIXTEEN_BITS.tobytes())
    np.testing.assert_array_equal(decode(content, 2, 3), 255 - grey(SIXTEEN_BITS_SCALED))


def test_12_bit_grey_is_scaled_from_its_own_white():
    content = tiff(2, 2, [12], 1, bytes([0x00, 0x0F, 0xFF, 0x80, 0x00, 0x10]))  # 0, 4095 | 2048, 16
    np.testing.assert_array_equal(decode(content, 2, 2), grey([[0, 255], [128, 1]]))


def test_16_bit_rgb_is_scaled_within_one_level():
    samples = np.array([[[0x1234, 0x5678, 0x9ABC], [65535, 0, 257 * 128]]], np.uint16)
    content = png(2, 1, 16, 2, [samples[0].astype(">u2").tobytes()])
    np.testing.assert_allclose(decode(content, 1, 2).astype(int), samples / 257, atol=1)


def test_16_bit_rgba_is_laid_on_white():
    samples = np.array([[[65535, 0, 0, 65535], [0, 0, 0, 0]]], np.uint16)
    content = png(2, 1, 16, 6, [samples[0].astype(">u2").tobytes()])
    np.testing.assert_array_equal(decode(content, 1, 2), [[RED, WHITE]])


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_grey_without_an_agreed_white_spans_its_own_range(dtype):
    content = encode(Image.fromarray(np.array([[-1000, 0], [500, 1000]], dtype)), "TIFF")
    np.testing.assert_array_equal(decode(content, 2, 2), grey([[0, 128], [191, 255]]))


def test_floating_point_grey_may_hold_nan_and_infinity():
    content = encode(Image.fromarray(np.array([[np.nan, np.inf], [-np.inf, 1]], np.float32)), "TIFF")
    np.testing.assert_array_equal(decode(content, 2, 2), grey([[128, 255], [0, 128]]))


def test_a_floating_point_picture_of_one_value_is_black():
    assert (decode(encode(Image.new("F", (2, 2), 7.5), "TIFF"), 2, 2) == 0).all()


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF"])
def test_rgba_is_laid_on_white(image_format):
    pixels = np.array([[(255, 0, 0, 255), (255, 0, 0, 0)], [(0, 0, 0, 128), (0, 0, 255, 51)]], np.uint8)
    options = {"lossless": True, "exact": True} if image_format == "WEBP" else {}
    array = decode(encode(Image.fromarray(pixels), image_format, **options), 2, 2)
    np.testing.assert_array_equal(array, [[RED, WHITE], [(127,) * 3, (204, 204, 255)]])


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_grey_with_alpha_is_laid_on_white(image_format):
    pixels = np.array([[(0, 255), (0, 0)], [(0, 128), (100, 255)]], np.uint8)
    array = decode(encode(Image.fromarray(pixels, "LA"), image_format), 2, 2)
    np.testing.assert_array_equal(array, grey([[0, 255], [127, 100]]))


def test_premultiplied_alpha_is_laid_on_white():
    grey_alpha = tiff(2, 1, [8, 8], 1, bytes([64, 128, 0, 0]), extra_samples=[1])
    np.testing.assert_allclose(decode(grey_alpha, 1, 2).astype(int), grey([[64 + 127, 255]]), atol=1)
    rgb_alpha = tiff(2, 1, [8] * 4, 2, bytes([128, 0, 0, 128, 0, 0, 0, 0]), extra_samples=[1])
    np.testing.assert_allclose(decode(rgb_alpha, 1, 2).astype(int), [[(255, 127, 127), WHITE]], atol=1)


def palette_image():
    image = Image.new("P", (2, 2))
    image.putpalette([*RED, *GREEN, *BLUE, *BLACK])
    image.putdata([0, 1, 2, 3])
    return image


@pytest.mark.parametrize("image_format", ["PNG", "GIF", "BMP", "TIFF"])
def test_a_palette_is_looked_up(image_format):
    array = decode(encode(palette_image(), image_format), 2, 2)
    np.testing.assert_array_equal(array, [[RED, GREEN], [BLUE, BLACK]])


@pytest.mark.parametrize("image_format", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_white(image_format):
    array = decode(encode(palette_image(), image_format, transparency=1), 2, 2)
    np.testing.assert_array_equal(array, [[RED, WHITE], [BLUE, BLACK]])


def test_a_palette_with_an_alpha_for_each_entry_is_laid_on_white():
    array = decode(encode(palette_image(), "PNG", transparency=bytes([255, 0, 51, 128])), 2, 2)
    np.testing.assert_array_equal(array, [[RED, WHITE], [(204, 204, 255), (127,) * 3]])


@pytest.mark.parametrize(
    ("mode", "transparent", "expected"),
    [("L", 100, [[WHITE, (50,) * 3]]), ("RGB", (100, 100, 100), [[WHITE, (50,) * 3]]), ("1", 0, [[WHITE, WHITE]])],
)
def test_a_transparent_colour_is_white(mode, transparent, expected):
    image = Image.fromarray(np.array([[100, 50]], np.uint8)).convert(mode, dither=Image.Dither.NONE)
    np.testing.assert_array_equal(decode(encode(image, "PNG", transparency=transparent), 1, 2), expected)


def test_a_transparent_colour_of_16_bits_is_white():
    content = encode(Image.fromarray(np.array([[2570, 2571]], np.uint16)), "PNG", transparency=2570)
    np.testing.assert_array_equal(decode(content, 1, 2), grey([[255, 10]]))
    row = struct.pack(">6H", 0x1234, 0x5678, 0x9ABC, 0, 0, 0)
    content = png(2, 1, 16, 2, [row], transparency=struct.pack(">3H", 0x1234, 0x5678, 0x9ABC))
    np.testing.assert_array_equal(decode(content, 1, 2), [[WHITE, BLACK]])


CYAN_INK, NO_INK, BLACK_INK = (255, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 255)


@pytest.mark.parametrize("image_format", ["JPEG", "TIFF"])
@pytest.mark.parametrize(("ink", "colour"), [(CYAN_INK, (0, 255, 255)), (NO_INK, WHITE), (BLACK_INK, BLACK)])
def test_cmyk_ink_is_light_taken_away(image_format, ink, colour):
    options = {"quality": 95} if image_format == "JPEG" else {}
    array = decode(encode(Image.new("CMYK", (16, 16), ink), image_format, **options), 16, 16)
    np.testing.assert_allclose(array.astype(int), np.broadcast_to(colour, (16, 16, 3)), atol=4)


def test_ycck_jpeg_is_read_as_adobe_writes_it():
    """An APP14 marker with transform 2: YCbCr of the ink amounts taken as RGB, then inverted black."""
    luma, chroma_blue, chroma_red, inverted_black = 179, 171, 0, 255  # ink (0, 255, 255), no black: red
    # Pillow inverts every sample it writes, and marks them as untransformed.
    inverted = tuple(255 - sample for sample in (luma, chroma_blue, chroma_red, inverted_black))
    content = encode(Image.new("CMYK", (16, 16), inverted), "JPEG", quality=100)
    transform = content.index(b"Adobe") + 11
    assert content[transform] == 0
    ycck = content[:transform] + b"\x02" + content[transform + 1 :]
    np.testing.assert_allclose(decode(ycck, 16, 16).astype(int), np.broadcast_to(RED, (16, 16, 3)), atol=4)


@pytest.mark.parametrize("mode", ["YCbCr", "LAB"])
def test_other_colour_spaces_of_tiff_are_converted(mode):
    image = Image.new("RGB", (2, 2), (200, 30, 60)).convert(mode)
    array = decode(encode(image, "TIFF"), 2, 2)
    np.testing.assert_allclose(array.astype(int), np.broadcast_to((200, 30, 60), (2, 2, 3)), atol=4)


def test_colour_profiles_are_ignored():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    content = encode(Image.fromarray(FOUR_COLOURS), "PNG", icc_profile=profile)
    np.testing.assert_array_equal(decode(content, 2, 2), FOUR_COLOURS)
