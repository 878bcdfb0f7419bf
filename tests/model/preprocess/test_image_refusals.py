"""What is refused, with which code, and that nothing else ever escapes from a broken file."""

import random
import struct
import subprocess
import sys
import time
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from model import preprocess
from model.errors import LabelsetError
from model.manifest import ImagePreprocessing

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
START_OF_SCAN = b"\xff\xda"


def encode(image, image_format, **options):
    stream = BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def build(**limits):
    return preprocess.build(ImagePreprocessing(height=32, width=32), limits=preprocess.Limits(**limits))


def refusal(content, **limits):
    with pytest.raises(LabelsetError) as caught:
        build(**limits)(content)
    return caught.value


def noise(mode="RGB"):
    channels = {"L": (), "P": (), "RGB": (3,), "RGBA": (4,), "CMYK": (4,)}[mode]
    pixels = np.random.default_rng(1).integers(0, 256, (40, 56, *channels), np.uint8)
    return Image.frombytes(mode, (56, 40), pixels.tobytes())


def png_header(width, height):
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 100)
    chunks = [
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in (header, data)
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def bmp_header(width, height):
    content = bytearray(encode(Image.new("RGB", (1, 1)), "BMP"))
    content[18:26] = struct.pack("<ii", width, height)
    return bytes(content)


def gif_header(width, height):
    content = bytearray(encode(Image.new("L", (1, 1)), "GIF"))
    content[6:10] = struct.pack("<HH", width, height)
    return bytes(content)


def jpeg_header(width, height):
    content = bytearray(encode(Image.new("RGB", (8, 8)), "JPEG"))
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(content)


def webp_header(width, height):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    content = bytearray(encode(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
    assert content[12:16] == b"VP8X"
    content[24:30] = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return bytes(content)


def tiff_directory(tags):
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0" * 4


def tiff_header(width, height):
    return tiff_directory({256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 0, 277: 1, 278: height, 279: 1})


def tiff_tiles(width, height):
    """A narrow picture, of which each of many tiles has much that lies outside of it."""
    tile = {322: width, 323: 16, 324: 0, 325: 1}
    return tiff_directory({256: 1, 257: height, 258: 8, 259: 8, 262: 1, 277: 1, **tile})


def tiff_tile(width, height):
    """A picture of one pixel, which lies within one compressed tile of the given size."""
    tile = {322: width, 323: height, 324: 0, 325: 1}
    return tiff_directory({256: 1, 257: 1, 258: 8, 259: 8, 262: 1, 277: 1, **tile})


@pytest.mark.parametrize(
    "header",
    [png_header, bmp_header, gif_header, jpeg_header, webp_header, tiff_header, tiff_tile, tiff_tiles],
    ids=lambda header: header.__name__,
)
def test_a_decompression_bomb_is_refused_from_its_header(header, monkeypatch):
    preprocessor, content = build(), header(60000, 60000)
    assert len(content) < 2000

    def allocate(mode, size):
        pytest.fail(f"pixels were allocated: {mode} {size}")

    monkeypatch.setattr(Image.core, "new", allocate)
    start = time.perf_counter()
    with pytest.raises(preprocess.ImageTooLarge) as caught:
        preprocessor(content)
    assert time.perf_counter() - start < 0.05
    assert caught.value.code == "image_too_large"
    assert caught.value.detail == {"quantity": "pixels", "limit": 50_000_000, "value": 3_600_000_000}


@pytest.mark.parametrize("image_format", FORMATS)
def test_the_pixel_limit_counts_the_pixels_of_the_header(image_format):
    content = encode(Image.new("L", (100, 101)), image_format)
    assert build(max_image_pixels=10_100)(content).shape == (32, 32, 3)
    error = refusal(content, max_image_pixels=10_099)
    assert error.detail == {"quantity": "pixels", "limit": 10_099, "value": 10_100}


def test_a_picture_larger_than_pillow_s_own_limit_is_read_where_ours_allows_it():
    content = encode(Image.new("L", (9_500, 9_500)), "JPEG")
    assert build(max_image_pixels=9_500**2)(content).shape == (32, 32, 3)


def test_the_bytes_limit_comes_before_the_file_is_looked_at():
    content = b"not even a picture"
    error = refusal(content, max_image_bytes=len(content) - 1)
    assert error.code == "image_too_large"
    assert error.detail == {"quantity": "bytes", "limit": len(content) - 1, "value": len(content)}
    assert refusal(content, max_image_bytes=len(content)).code == "not_an_image"


def test_a_progressive_jpeg_of_very_many_scans_is_refused():
    content = encode(noise(), "JPEG", progressive=True)
    assert build()(content).shape == (32, 32, 3)
    last_scan = content[content.rindex(START_OF_SCAN) : -2]
    error = refusal(content[:-2] + last_scan * 100 + content[-2:])
    assert error.code == "image_too_large"
    assert error.detail["quantity"] == "scans"


def _of_scans(count, between=b""):
    """A JPEG that is not progressive, of 49 million pixels, whose scans are empty and have something between them."""
    content = encode(Image.new("RGB", (64, 64)), "JPEG", subsampling=0)
    frame = content.index(b"\xff\xc0")
    head = content[: frame + 5] + struct.pack(">HH", 7000, 7000) + content[frame + 9 : content.index(START_OF_SCAN)]
    scan = START_OF_SCAN + struct.pack(">HB", 8, 1) + bytes([1, 0, 0, 63, 0])
    return head + (scan + between) * count + b"\xff\xd9"


@pytest.mark.parametrize(
    "between",
    [
        b"",
        b"\xff\xfe\0\4\xff\xd9",  # a comment that holds an end of the image
        b"\xff\xfe\0\4\xff\xd9" * 200,
        b"\0\xff\0\xff\xd0\xff\xff",
    ],
)
def test_any_jpeg_of_very_many_scans_is_refused_before_it_is_decoded(between):
    started = time.perf_counter()
    error = refusal(_of_scans(1_000, between))
    assert (error.code, error.detail["quantity"]) == ("image_too_large", "scans")
    assert time.perf_counter() - started < 0.5


def test_scans_behind_a_marker_that_has_no_segment_are_seen():
    # A decoder that looks for a restart marker drops an invalid one and goes on behind it, not behind a segment.
    bomb = _of_scans(1_000)
    first = bomb.index(START_OF_SCAN) + 10
    error = refusal(bomb[:first] + b"\0\xff\2\xef\xef" + bomb[first:-2] + bytes(60_000) + b"\xff\xd9")
    assert error.detail["quantity"] == "scans"


def test_scans_of_a_picture_in_several_parts_are_seen():
    stream = BytesIO()
    Image.new("RGB", (64, 64)).save(stream, "MPO", save_all=True, append_images=[Image.new("RGB", (64, 64))])
    several = stream.getvalue()
    assert build()(several).shape == (32, 32, 3)
    scan = several.index(START_OF_SCAN)
    error = refusal(several[:scan] + several[scan : scan + 14] * 1_000 + several[scan:])
    assert error.detail["quantity"] == "scans"


def test_a_jpeg_with_a_film_behind_it_is_read_whatever_bytes_that_has():
    content = encode(noise(), "JPEG")
    film = START_OF_SCAN * 500 + b"\0" * 1_000_000
    np.testing.assert_array_equal(build()(content + film), build()(content))


@pytest.mark.parametrize("filling", [b"\xff\xe0\0\2", b"\xff", b"\xff\0"])
def test_a_jpeg_of_millions_of_empty_segments_is_refused_before_they_are_all_read(filling):
    content = encode(noise(), "JPEG")
    start = time.perf_counter()
    error = refusal(content[:2] + filling * (5_000_000 // len(filling)) + content[2:])
    assert error.message == "the JPEG file cannot be decoded: it has more than 300000 pieces"
    assert time.perf_counter() - start < 1.5  # five times what it takes
    assert build()(content[:2] + filling * 40_000 + content[2:]).shape == (32, 32, 3)


def test_the_largest_gif_that_may_be_sent_is_read():
    content = encode(Image.effect_noise((3_900, 3_900), 80), "GIF")
    assert 0.9 < len(content) / (20 * 1024 * 1024) < 1
    assert build()(content).shape == (32, 32, 3)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"hello",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7",
        b"RIFF\0\0\0\0WAVEfmt ",
        encode(Image.new("RGB", (4, 4)), "ICO"),
        encode(Image.new("RGB", (4, 4)), "PPM"),
        encode(Image.new("RGB", (4, 4)), "JPEG2000"),
        encode(Image.new("RGB", (4, 4)), "TGA"),
        encode(Image.new("RGB", (4, 4)), "EPS"),
        b"\0\0\0\x20ftypavif\0\0\0\0avifmif1",
    ],
    ids=lambda content: repr(content[:12]),
)
def test_other_formats_and_other_things_are_not_images(content):
    error = refusal(content)
    assert error.code == "not_an_image"
    assert "JPEG, PNG, WEBP, GIF, BMP, TIFF" in error.message


def test_a_text_is_of_the_wrong_kind():
    assert refusal("a text").code == "wrong_input_kind"


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("fraction", [0.2, 0.6])
def test_a_truncated_picture_is_corrupt(image_format, fraction):
    content = encode(noise(), image_format)
    error = refusal(content[: int(len(content) * fraction)])
    assert error.code == "image_corrupt"
    assert error.detail == {"format": image_format}


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_signature_with_nothing_behind_it_is_corrupt(image_format):
    error = refusal(encode(noise(), image_format)[:16])
    assert error.code == "image_corrupt"
    assert "BytesIO" not in error.message


def specimens():
    yield "jpeg", encode(noise(), "JPEG", exif=Image.Exif())
    yield "jpeg progressive", encode(noise(), "JPEG", progressive=True)
    yield "jpeg cmyk", encode(noise("CMYK"), "JPEG")
    yield "jpeg stereo", encode(noise(), "MPO", save_all=True, append_images=[noise()])
    yield "png rgba", encode(noise("RGBA"), "PNG")
    yield "png palette", encode(noise("L").quantize(16), "PNG", transparency=bytes(range(16)))
    yield "png 16 bit", encode(Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20)), "PNG")
    yield "png animated", encode(noise(), "PNG", save_all=True, append_images=[Image.new("RGB", (56, 40))])
    yield "webp", encode(noise(), "WEBP")
    yield "webp lossless", encode(noise("RGBA"), "WEBP", lossless=True)
    yield "webp animated", encode(noise(), "WEBP", save_all=True, append_images=[Image.new("RGB", (56, 40))])
    yield "gif", encode(noise("L"), "GIF", save_all=True, append_images=[Image.new("L", (56, 40))], transparency=3)
    yield "bmp", encode(noise(), "BMP")
    yield "bmp palette", encode(noise("L").quantize(16), "BMP")
    yield "tiff", encode(noise(), "TIFF")
    yield "tiff float", encode(Image.fromarray(np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)), "TIFF")
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        yield f"tiff {compression}", encode(noise(), "TIFF", compression=compression)


def mutations(content, count, seed):
    """Truncations, and flips that fall on the header, where they hurt, as often as on the rest."""
    generator = random.Random(seed)
    for _ in range(count):
        broken = bytearray(content)
        for _ in range(generator.choice((0, 1, 1, 2, 8))):
            reach = generator.choice((64, 512, len(broken)))
            broken[generator.randrange(min(reach, len(broken)))] = generator.choice(
                (0, 1, 127, 128, 255, generator.randrange(256))
            )
        if generator.random() < 0.3:
            del broken[generator.randrange(len(broken)) :]
        yield bytes(broken)


@pytest.mark.parametrize(
    ("name", "content"), list(specimens()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_broken_file_gives_an_array_or_one_of_our_errors(name, content):
    # A small limit on pixels: a flipped size must not make the test slow.
    preprocessor = build(max_image_pixels=1_000_000)
    outcomes = set()
    for broken in mutations(content, count=150, seed=name):
        try:
            array = preprocessor(broken)
        except preprocess.InputError as error:
            outcomes.add(error.code)
        else:
            outcomes.add("array")
            assert array.shape == (32, 32, 3)
    assert "image_corrupt" in outcomes
    assert outcomes <= {"array", "image_corrupt", "not_an_image", "image_too_large"}


def jpeg_with_broken_exif():
    content = encode(noise(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    with pytest.warns(UserWarning, match="Corrupt EXIF"), Image.open(BytesIO(content)) as image:
        image.getexif()
    return content


def test_broken_metadata_neither_refuse_a_picture_nor_warn(tmp_path):
    """In a process of its own: pytest puts its warning filters before the one that is tested."""
    path = tmp_path / "picture.jpg"
    path.write_bytes(jpeg_with_broken_exif())
    program = (
        "import sys, pathlib\n"
        "from model import preprocess\n"
        "from model.manifest import ImagePreprocessing\n"
        "array = preprocess.build(ImagePreprocessing(height=8, width=8))(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "print(array.shape)\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(path)], capture_output=True, text=True, check=False
    )
    assert (result.stdout, result.stderr) == ("(8, 8, 3)\n", "")
