"""Inputs that are small and mean to be large, deep, endless or odd; each is refused or answered, at little cost."""

import asyncio
import gzip
import io
import struct
import time
import zlib
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

MEGABYTE = 2**20


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _png(*extra: bytes, side: int = 8) -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    pixels = _chunk(b"IDAT", zlib.compress(bytes((3 * side + 1) * side), 9))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + pixels + _chunk(b"IEND", b"")


def _zeros(count: int) -> bytes:
    return zlib.compress(bytes(count), 9)


def _animation(image_format: str) -> bytes:
    """Thousands of frames; only the first is ever looked at."""
    first = Image.new("P", (64, 64))
    stream = io.BytesIO()
    first.save(
        stream, image_format, save_all=True, append_images=[Image.new("P", (64, 64), n % 9) for n in range(3000)]
    )
    return stream.getvalue()


# What unpacks becomes a hundred megabytes.
PICTURES = {
    "zTXt": lambda: _png(*[_chunk(b"zTXt", b"k\0\0" + _zeros(100 * MEGABYTE))]),
    "many zTXt": lambda: _png(*[_chunk(b"zTXt", b"k\0\0" + _zeros(900_000))] * 100),
    "iTXt": lambda: _png(_chunk(b"iTXt", b"k\0\1\0\0\0" + _zeros(100 * MEGABYTE))),
    "iCCP": lambda: _png(_chunk(b"iCCP", b"k\0\0" + _zeros(100 * MEGABYTE))),
    "more pixels than the header says": lambda: _png(_chunk(b"IDAT", _zeros(100 * MEGABYTE))),
    "a header after another": lambda: _png(_chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))),
    "GIF": lambda: _animation("GIF"),
    "WebP": lambda: _animation("WEBP"),
    "a GIF of one frame larger than its screen": lambda: (
        b"GIF89a\1\0\1\0\0\0\0,\0\0\0\0\x60\xea\x60\xea\0" + b"\x08\x01\0\x01\0;"
    ),
    "a TIFF that comes round": lambda: b"II*\0\x08\0\0\0\1\0\0\1\4\0\1\0\0\0\1\0\0\0\x08\0\0\0",
    "a JPEG of many segments": lambda: b"\xff\xd8" + b"\xff\xe1\0\2" * 100_000 + b"\xff\xd9",
}


def _peak(pid: int) -> int:
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def _forget_peak(pid: int) -> int:
    """Let the peak begin anew; gives what it is now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _peak(pid)


@pytest.mark.parametrize("make", PICTURES.values(), ids=PICTURES)
def test_a_picture_that_means_to_be_large_costs_little(victim, make):
    content = make()
    before, started = _forget_peak(victim.process.pid), time.monotonic()
    answer = victim.client.post("/predict", content=content, headers={"content-type": "image/png"})
    assert answer.status_code in (200, 413, 422)
    assert time.monotonic() - started < 20
    assert _peak(victim.process.pid) - before < 64 * MEGABYTE
    victim.require_unharmed()


def test_one_of_eight_pictures_that_is_broken_fails_alone(victim):
    chance = np.random.default_rng(0)
    pictures = []
    for _ in range(8):
        stream = io.BytesIO()
        Image.fromarray(chance.integers(0, 256, (64, 64, 3), np.uint8)).save(stream, "JPEG")
        pictures.append(stream.getvalue())
    pictures[3] = pictures[3][: len(pictures[3]) // 2]

    async def ask():
        async with httpx.AsyncClient(base_url=victim.url, timeout=60) as client:
            path, headers = "/predict?model=image-demo", {"content-type": "image/jpeg"}
            return await asyncio.gather(*(client.post(path, content=picture, headers=headers) for picture in pictures))

    for _ in range(5):
        statuses = [answer.status_code for answer in asyncio.run(ask())]
        assert statuses == [200] * 3 + [422] + [200] * 4
    victim.require_unharmed()


@pytest.mark.parametrize(
    ("path", "status"), [("/predict", 415), ("/v2/models/text-demo/infer", 413)], ids=["predict", "v2"]
)
def test_a_compressed_bomb_is_not_unpacked_at_either_door(victim, path, status):
    body = gzip.compress(bytes(500 * MEGABYTE), 1)
    before = _forget_peak(victim.process.pid)
    headers = {"content-encoding": "gzip", "content-type": "application/octet-stream"}
    answer = victim.client.post(path, content=body, headers=headers)
    assert answer.status_code == status
    assert _peak(victim.process.pid) - before < 150 * MEGABYTE
    victim.require_unharmed()


DEEP = 50_000
JSON_BODIES = {
    "lists": b"[" * DEEP + b"]" * DEEP,
    "objects": b'{"text":' * (DEEP // 8) + b"1" + b"}" * (DEEP // 8),
    "in a known field": b'{"texts": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "in a tensor": b'{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": '
    + b"[" * 30_000 + b"]" * 30_000 + b"}]}",
    "a number of many digits": b'{"text": "a", "label_count": ' + b"9" * 60_000 + b"}",
    "a number of many zeros": b'{"text": "a", "sparsity_rate": 1e' + b"9" * 60_000 + b"}",
    "the same key again and again": b'{"text": "a"' + b',"text": "a"' * 4_000 + b"}",
    "a lone surrogate": b'{"text": "\\ud800"}',
    "halves of two surrogates": b'{"text": "\\udc00\\ud800"}',
    "NUL": b'{"text": "a\\u0000b"}',
    "a raw NUL": b'{"text": "a\0b"}',
    "not a number": b'{"text": "a", "sparsity_rate": NaN}',
}  # fmt: skip


@pytest.mark.parametrize("path", ["/predict", "/v2/models/text-demo/infer"])
@pytest.mark.parametrize("body", JSON_BODIES.values(), ids=JSON_BODIES)
def test_odd_json_is_answered_or_refused_at_either_door(victim, path, body):
    started = time.monotonic()
    answer = victim.client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (200, 400, 413, 422), answer.text
    assert len(answer.content) < 3_000
    assert time.monotonic() - started < 10
    victim.require_unharmed()


TEXTS = {
    "combining characters": "a" + "\u0301" * 99_999,
    "combining characters that must be ordered": "a" + "\u0301\u0316" * 49_999,
    "one long word": "a" * 100_000,
    "Chinese": "\u4e00" * 100_000,
    "what one letter can become": "\ufdfa" * 100_000,
    "NUL": "\0" * 100_000,
    "controls and marks of direction": "\u202e\u200b\ufeff\x1b[2J" * 10_000,
    "private": "\U0010ffff" * 100_000,
    "emoji that are joined": "\U0001f468\u200d" * 50_000,
    "blanks": "a" + " " * 99_998 + "a",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_an_odd_text_is_answered_or_refused_in_time(victim, text):
    started, before = time.monotonic(), _forget_peak(victim.process.pid)
    answer = victim.client.post("/predict", json={"text": text})
    assert answer.status_code in (200, 422), answer.text
    assert time.monotonic() - started < 10
    assert _peak(victim.process.pid) - before < 128 * MEGABYTE
    victim.require_unharmed()


def test_a_megabyte_of_combining_characters_is_refused_before_anything_reads_it(victim):
    answer = victim.client.post("/predict", json={"text": "a" + "\u0301" * 1_000_000})
    assert answer.json()["error"]["code"] == "text_too_long"


def test_a_form_of_very_many_parts_is_refused_early(victim):
    part = b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\na\r\n'
    before, started = _forget_peak(victim.process.pid), time.monotonic()
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = victim.client.post("/predict", content=part * 500_000 + b"--x--\r\n", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "batch_too_large")
    assert time.monotonic() - started < 20
    assert _peak(victim.process.pid) - before < 64 * MEGABYTE
    victim.require_unharmed()


FORMS = {
    "headers of a part without end": b"--x\r\n" + b"A: b\r\n" * 1_000_000,
    "a header of a part without end": b"--x\r\nA: " + b"b" * 10_000_000,
    "what comes before the first part": b"a" * 10_000_000,
    "almost the boundary, again and again": b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\n'
    + b"\r\n--" * 2_500_000,
}


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS)
def test_an_odd_form_is_refused_and_holds_up_nobody(victim, body):
    headers = {"content-type": "multipart/form-data; boundary=x"}
    started, before = time.monotonic(), _forget_peak(victim.process.pid)
    answer = victim.client.post("/predict", content=body, headers=headers)
    assert answer.status_code in (400, 413, 422)
    assert time.monotonic() - started < 20
    assert _peak(victim.process.pid) - before < 128 * MEGABYTE
    victim.require_unharmed()
