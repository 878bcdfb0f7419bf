"""Encoded picture -> uint8 `[height, width, 3]`: decode, lay on white, turn upright, resize.

Knows no mean or standard deviation: those live in the graph. ICC profiles are ignored: every picture is read as sRGB.

Importing this module sets two things of Pillow's for the whole process: its limit on pixels is lifted, because
`Limits.max_image_pixels` takes its place, and its warnings about odd metadata are silenced, because a picture either
gives an array or an error here.
"""

import math
import re
import warnings
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import BmpImagePlugin, GifImagePlugin, Image, PngImagePlugin, UnidentifiedImageError, WebPImagePlugin
from PIL.ExifTags import Base as ExifTag
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, TILELENGTH, TILEWIDTH, TiffImageFile

from model.errors import LabelsetError
from model.manifest import ImagePreprocessing
from model.preprocess import (
    DEFAULT_LIMITS,
    ImageCorrupt,
    ImageTooLarge,
    Item,
    Limits,
    NewArray,
    NotAnImage,
    WrongInputKind,
    stack,
)
from model.preprocess.jpeg_scans import count_scans

Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

# Only these are ever opened: each further decoder is a further way in for a hostile file.
_SIGNATURES = {
    JpegImageFile.format: rb"\xff\xd8\xff",
    PngImagePlugin.PngImageFile.format: rb"\x89PNG\r\n\x1a\n",
    WebPImagePlugin.WebPImageFile.format: rb"RIFF....WEBP",
    GifImagePlugin.GifImageFile.format: rb"GIF8[79]a",
    BmpImagePlugin.BmpImageFile.format: rb"BM",
    TiffImageFile.format: rb"II\x2a\0|MM\0\x2a|II\x2b\0|MM\0\x2b",
}

# A progressive JPEG has about ten scans, another up to four. Each costs a pass over all pixels (50 ms at 50 million of
# them), so that without a bound one file within the limits could occupy a core for hours.
_MAX_JPEG_SCANS = 100
# Pillow reads what stands before the pixels in Python, piece by piece: five million empty segments would take it many
# seconds. The largest GIF within the limits has half as many pieces.
_MAX_READS = 300_000

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDES_SWAPPED = {5, 6, 7, 8}

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class ImagePreprocessor:
    """Makes the array of a picture; the same bytes always give the same array."""

    def __init__(self, params: ImagePreprocessing, limits: Limits = DEFAULT_LIMITS) -> None:
        self._params = params
        self._limits = limits
        self._filter = _FILTERS[params.interpolation]

    def __call__(self, item: Item) -> npt.NDArray[np.uint8]:
        """Decode a JPEG, PNG, WebP, GIF, BMP or TIFF file, its first frame where it has several.

        Returns:
            uint8 `[height, width, 3]`, RGB.

        Raises:
            WrongInputKind: a text.
            ImageTooLarge: more bytes or pixels than the limits allow; found before a pixel is decoded.
            NotAnImage: another format, or no picture at all.
            ImageCorrupt: a picture that cannot be decoded.
        """
        if not isinstance(item, bytes):
            raise WrongInputKind("an image model takes the bytes of a picture, got a text", expected="image")
        _check_limit("bytes", len(item), self._limits.max_image_bytes)
        image_format = _format_of(item)
        stream = _CountedReads(item)
        try:
            with Image.open(stream, formats=[image_format]) as image:
                _check_limit("pixels", _pixel_count(image), self._limits.max_image_pixels)
                if image_format == JpegImageFile.format:
                    _check_limit("scans", count_scans(item, _MAX_JPEG_SCANS), _MAX_JPEG_SCANS)
                upright = self._decode(image)
            return np.array(self._resize(upright))
        except LabelsetError:
            raise
        # Pillow's decoders raise a dozen types for broken files: OSError, SyntaxError, struct.error, ZeroDivisionError…
        except Exception as error:
            reason = "its header is broken" if isinstance(error, UnidentifiedImageError) else error
            raise ImageCorrupt(f"the {image_format} file cannot be decoded: {reason}", format=image_format) from error

    def collate(self, arrays: Sequence[npt.NDArray[Any]], empty: NewArray = np.empty) -> dict[str, npt.NDArray[Any]]:
        """`pixels`: uint8 `[N, height, width, 3]`."""
        return {"pixels": stack(arrays, empty)}

    def _decode(self, image: Image.Image) -> Image.Image:
        if self._params.jpeg_scaled_decode and isinstance(image, JpegImageFile):
            image.draft(None, self._smallest_decode(image))
        image.load()
        # Read after loading: Pillow turns a TIFF itself while it loads, and then forgets the orientation.
        transposition = _UPRIGHT.get(_orientation(image))
        rgb = _to_rgb(image)
        return rgb if transposition is None else rgb.transpose(transposition)

    def _smallest_decode(self, image: Image.Image) -> tuple[int, int]:
        """The size, in stored orientation, below which a decoded picture would have to be scaled up again."""
        width, height = self._params.width, self._params.height
        if _orientation(image) in _SIDES_SWAPPED:
            width, height = height, width
        if self._params.resize == "stretch":
            return width, height
        # Only the side that fills its target limits the scale; the other one is rounded down so that it never does.
        if width * image.height <= height * image.width:
            return width, max(1, image.height * width // image.width)
        return max(1, image.width * height // image.height), height

    def _resize(self, image: Image.Image) -> Image.Image:
        width, height = self._params.width, self._params.height
        if self._params.resize == "stretch":
            return self._stretch(image, width, height)
        scale = min(width / image.width, height / image.height)
        fitted_width = min(width, max(1, round(image.width * scale)))
        fitted_height = min(height, max(1, round(image.height * scale)))
        canvas = Image.new("RGB", (width, height), "white")
        corner = ((width - fitted_width) // 2, (height - fitted_height) // 2)
        canvas.paste(self._stretch(image, fitted_width, fitted_height), corner)
        return canvas

    def _stretch(self, image: Image.Image, width: int, height: int) -> Image.Image:
        # Pillow resizes rows first: a picture one pixel wide and millions high would grow to gigabytes in between.
        if width > image.width and height < image.height:
            image = image.resize((image.width, height), self._filter)
        return image.resize((width, height), self._filter)


class _CountedReads(BytesIO):
    """A file that may be read in so many pieces, and no more."""

    _reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self._reads += 1
        if self._reads > _MAX_READS:
            raise OSError(f"it has more than {_MAX_READS} pieces")
        return super().read(size)


def _check_limit(quantity: str, value: int, limit: int) -> None:
    if value > limit:
        raise ImageTooLarge(
            f"a picture must have at most {limit} {quantity}, got {value}", quantity=quantity, limit=limit, value=value
        )


def _format_of(content: bytes) -> str:
    for name, signature in _SIGNATURES.items():
        if re.match(signature, content, re.DOTALL):
            return name
    raise NotAnImage(f"a picture must be one of {', '.join(_SIGNATURES)}, got bytes that begin as none of them")


def _pixel_count(image: Image.Image) -> int:
    """Pixels that decoding will allocate, as the header says."""
    count = image.width * image.height
    if isinstance(image, TiffImageFile):
        # A tile is decoded whole, however little of it lies within the picture.
        width, length = int(image.tag_v2.get(TILEWIDTH, 0)), int(image.tag_v2.get(TILELENGTH, 0))
        if width > 0 and length > 0:
            tiles = math.ceil(image.width / width) * math.ceil(image.height / length)
            count = max(count, tiles * width * length)
    return count


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTag.Orientation, 1))
    except Exception:  # broken metadata are no reason to refuse a picture that can be seen
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    """Eight bits a channel, transparent parts laid on white."""
    if image.mode.startswith("I;16"):
        image = _from_16_bits(image)
    elif image.mode in {"I", "F"}:
        image = _from_unbounded(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    transparent = image.info.get("transparency")
    if isinstance(transparent, tuple) and max(transparent) > 255:
        # Of a 16-bit RGB picture Pillow keeps the high bytes, but of its transparent colour all 16 bits.
        image.info["transparency"] = tuple(value >> 8 for value in transparent)
    rgba = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
    rgb = Image.new("RGB", rgba.size, "white")
    rgb.paste(rgba, mask=rgba)
    return rgb


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits (12 in some TIFFs) scaled to 8; Pillow's own conversion clips at 255 instead."""
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    white = 2 ** tags.get(BITSPERSAMPLE, (16,))[0] - 1
    values = np.asarray(image).astype(np.uint32)
    grey = ((values * 255 + white // 2) // white).astype(np.uint8)
    if tags.get(PHOTOMETRIC_INTERPRETATION) == 0:
        grey = 255 - grey
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey)


def _from_unbounded(image: Image.Image) -> Image.Image:
    """Grey of 32 bits or floating point has no agreed white: its own darkest and brightest value become 0 and 255."""
    values = np.nan_to_num(np.asarray(image)).astype(np.float64)
    darkest, brightest = values.min(), values.max()
    span = brightest - darkest if brightest > darkest else 1.0
    return Image.fromarray(np.rint((values - darkest) / span * 255).astype(np.uint8))
