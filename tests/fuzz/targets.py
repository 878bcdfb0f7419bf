"""What is fuzzed: functions of any bytes, from which nothing but a `LabelsetError` for the caller may come.

    python -m tests.fuzz.run image --seconds 600

Each target also makes its own seeds: small inputs of every kind that it can tell apart.
"""

import io
import json
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from model import preprocess
from model.bundle import TOKENIZER
from model.errors import LabelsetError
from model.manifest import AudioPreprocessing, ImagePreprocessing
from model.repository import EMBEDDED_BUNDLES
from service.catalogue import ServedModel
from service.errors import STATUS
from service.intake import _from_json
from service.repository import Repository
from service.schemas import PredictOptions
from service.session_host import SessionHost
from service.settings import Settings
from service.v2.compression import decompressed
from service.v2.infer import read_question

# Small, so that the time goes into what is read and not into pixels.
LIMITS = preprocess.Limits(max_image_bytes=100_000, max_image_pixels=250_000, max_audio_bytes=100_000)
MAX_BATCH_SIZE = 8
MAX_MESSAGE_CHARS = 1_000


@dataclass(frozen=True)
class Target:
    """A function of any bytes, and inputs to begin with."""

    read: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]


def _judged(error: LabelsetError) -> None:
    """An error for the caller, in a message that he can read."""
    if not 400 <= STATUS.get(error.code, 0) < 500:
        raise AssertionError(f"{error.code} is no error of the caller's") from error
    if len(error.message) > MAX_MESSAGE_CHARS:
        raise AssertionError(f"a message of {len(error.message)} characters") from error


@cache
def _image() -> preprocess.Preprocessor:
    return preprocess.build(ImagePreprocessing(kind="image", width=32, height=32), limits=LIMITS)


@cache
def _audio() -> preprocess.Preprocessor:
    return preprocess.build(AudioPreprocessing(kind="audio", sample_rate=8_000, seconds=0.5), limits=LIMITS)


def _decode(build: Callable[[], preprocess.Preprocessor], shape: tuple[int, ...]) -> Callable[[bytes], None]:
    def read(content: bytes) -> None:
        try:
            array = build()(content)
        except LabelsetError as error:
            _judged(error)
            return
        if array.shape != shape:
            raise AssertionError(f"an array of shape {array.shape}")

    return read


def _image_seeds() -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 4), np.uint8)
    rgba = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6
    made: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (rgba.convert("RGB"), "JPEG", {"exif": exif}),
        (rgba.convert("RGB"), "JPEG", {"progressive": True}),
        (rgba.convert("CMYK"), "JPEG", {}),
        (rgba, "PNG", {"exif": exif}),
        (rgba.convert("P"), "PNG", {"transparency": 0}),
        (rgba.convert("I;16"), "PNG", {}),
        (rgba.convert("P"), "GIF", {"transparency": 1}),
        (rgba, "GIF", {"save_all": True, "append_images": [rgba.rotate(90)]}),
        (rgba, "WEBP", {"lossless": True}),
        (rgba.convert("RGB"), "WEBP", {"exif": exif}),
        (rgba.convert("RGB"), "BMP", {}),
        (rgba.convert("1"), "BMP", {}),
        *[(rgba.convert("RGB"), "TIFF", {"compression": name}) for name in ("raw", "tiff_lzw", "tiff_adobe_deflate")],
        (rgba.convert("1"), "TIFF", {"compression": "group4"}),
        (rgba.convert("F"), "TIFF", {}),
    ]
    return [_saved(image, image_format, options) for image, image_format, options in made]


def _saved(image: Image.Image, image_format: str, options: Mapping[str, Any]) -> bytes:
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def _audio_seeds() -> list[bytes]:
    sound = np.sin(np.arange(400) / 5)[:, None] * [0.5, -0.5]
    formats = [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "IMA_ADPCM"), ("WAVEX", "PCM_24"), ("FLAC", "PCM_16")]
    formats += [("OGG", "VORBIS"), ("OGG", "OPUS"), ("AIFF", "PCM_16"), ("MP3", "MPEG_LAYER_III")]
    seeds = []
    for file_format, subtype in formats:
        stream = io.BytesIO()
        soundfile.write(stream, sound, 8_000, format=file_format, subtype=subtype)
        seeds.append(stream.getvalue())
    return seeds


@cache
def _models() -> dict[str, ServedModel]:
    host = SessionHost(call_seconds=60)
    try:
        return {model.kind: model for model in Repository.open(Settings(models=EMBEDDED_BUNDLES), host).catalogue}
    finally:
        host.close()  # what callers send is read without it


@cache
def _text() -> preprocess.Preprocessor:
    bundle = _models()["text"].bundle
    return preprocess.build(bundle.manifest.preprocessing, bundle.read_text(TOKENIZER))


# The first byte of what a parser of the protocol is given says how it is called.
_GZIP, _DEFLATE, _HAS_HEADER, _IMAGE = 1, 2, 4, 8


def _read_infer(content: bytes) -> None:
    if len(content) < 3:
        return
    flags, length = struct.unpack_from("<BH", content)
    encoding = "gzip" if flags & _GZIP else "deflate" if flags & _DEFLATE else ""
    model = _models()["image" if flags & _IMAGE else "text"]
    try:
        body = decompressed(content[3:], encoding, limit=1_000_000)
        question = read_question(body, str(length) if flags & _HAS_HEADER else None, model, MAX_BATCH_SIZE)
        question.wishes.refusals(model)
    except LabelsetError as error:
        _judged(error)
        return
    if not 1 <= len(question.items) <= MAX_BATCH_SIZE:
        raise AssertionError(f"{len(question.items)} items")


def _infer_seeds() -> list[bytes]:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [2]}
    wishes = {"label_count": 2, "binary_data_output": True, "only": ["impact"], "min_probability": 0.1}
    outputs = [{"name": "label", "parameters": {"classification": 2}}, {"name": "probabilities"}]
    as_json = json.dumps({"id": "1", "inputs": [{**tensor, "data": ["a", "b"]}], "outputs": outputs}).encode()
    nested = json.dumps(
        {"inputs": [{**tensor, "shape": [2, 1], "data": [["a"], ["b"]]}], "parameters": wishes}
    ).encode()
    elements = struct.pack("<I", 1) + b"a" + struct.pack("<I", 2) + b"bc"
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": len(elements)}}]}).encode()
    image = head.replace(b"text", b"image")
    packing = zlib.compressobj(wbits=31)
    return [
        struct.pack("<BH", 0, 0) + as_json,
        struct.pack("<BH", 0, 0) + nested,
        struct.pack("<BH", _HAS_HEADER, len(head)) + head + elements,
        struct.pack("<BH", _HAS_HEADER | _IMAGE, len(image)) + image + elements,
        struct.pack("<BH", _HAS_HEADER, 0) + b"the text itself",
        struct.pack("<BH", _GZIP, 0) + packing.compress(as_json) + packing.flush(),
        struct.pack("<BH", _DEFLATE, 0) + zlib.compress(as_json),
    ]


def _read_json(content: bytes) -> None:
    try:
        inputs = _from_json(content, PredictOptions())
        inputs.options.wish().check(_models()["text"])
    except LabelsetError as error:
        _judged(error)
        return
    for item in inputs.items if inputs.kind == "text" else ():
        try:
            _text()(item) if not isinstance(item, LabelsetError) else _judged(item)
        except LabelsetError as error:
            _judged(error)


def _json_seeds() -> list[bytes]:
    bodies: list[dict[str, Any]] = [
        {"text": "The group sent phishing mails.", "label_count": 3, "model": "text-demo", "version": "1"},
        {"texts": ["a", "\u0301\U0001f468\u200d\0"], "sparsity_rate": 0.5, "max_labels": 2},
        {"words": [["The", "dog"], ["barks"]], "min_probability": 1e-3},
        {"image": "iVBORw0KGgo=", "only": ["impact"], "exclude": ["persistence"]},
        {"audios": ["UklGRg==", "é"]},
    ]
    return [json.dumps(body).encode() for body in bodies] + [json.dumps(bodies[1], ensure_ascii=False).encode()]


TARGETS = {
    "image": Target(_decode(_image, (32, 32, 3)), _image_seeds),
    "audio": Target(_decode(_audio, (4_000,)), _audio_seeds),
    "infer": Target(_read_infer, _infer_seeds),
    "json": Target(_read_json, _json_seeds),
}
