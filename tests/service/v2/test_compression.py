"""gzip and deflate bodies: unpacked with a bound, refused where they are broken; answers as `Accept-Encoding` asks."""

import contextlib
import gzip
import json
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BodyTooLarge, InvalidBody
from service.v2.compression import chosen_encoding, compressed, decompressed


def peak_memory_kib(process_id: int) -> int:
    status = Path(f"/proc/{process_id}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


BODY = json.dumps({"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["A dog barks."]}]}).encode()
# The same whenever it is made: the tests have it in their names, by which several processes share them.
GZIPPED = gzip.compress(BODY, mtime=0)


@given(content=st.binary(max_size=5_000), encoding=st.sampled_from(["gzip", "deflate"]))
def test_what_was_packed_is_unpacked(content, encoding):
    assert decompressed(compressed(content, encoding), encoding, len(content)) == content


@given(content=st.binary(max_size=500), encoding=st.sampled_from(["gzip", "deflate"]))
def test_garbage_is_refused_or_unpacked_and_nothing_else(content, encoding):
    with contextlib.suppress(InvalidBody, BodyTooLarge):
        decompressed(content, encoding, 1_000)


def test_the_limit_is_on_what_comes_out():
    packed = gzip.compress(bytes(1_000))
    assert decompressed(packed, "gzip", 1_000) == bytes(1_000)
    with pytest.raises(BodyTooLarge, match="at most 999 bytes unpacked"):
        decompressed(packed, "gzip", 999)


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("", None),
        ("identity", None),
        ("br, zstd", None),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("GZIP", "gzip"),
        ("gzip, deflate", "gzip"),
        ("deflate, gzip", "gzip"),
        ("gzip;q=0.5, deflate;q=0.8", "deflate"),
        ("gzip; q=0.5 , deflate", "deflate"),
        ("gzip;q=0", None),
        ("gzip;q=nonsense", None),
        ("gzip;q=0.5, identity", None),
        ("*", None),
    ],
)
def test_the_encoding_is_the_one_that_the_caller_likes_best(accepted, chosen):
    assert chosen_encoding(accepted) == chosen


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_packed_body_is_answered_as_the_plain_one(v2, infer_path, encoding, pack):
    plain = v2.post(infer_path["text"], content=BODY)
    packed = v2.post(infer_path["text"], content=pack(BODY), headers={"content-encoding": encoding})
    assert packed.json()["outputs"][2] == plain.json()["outputs"][2]
    assert "content-encoding" not in packed.headers
    answer = v2.post(infer_path["text"], content=BODY, headers={"accept-encoding": encoding})
    assert answer.headers["content-encoding"] == encoding
    assert answer.json()["outputs"][2] == plain.json()["outputs"][2]


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_bomb_is_413_and_never_unpacked(service, v2, infer_path, encoding, pack):
    bomb = pack(bytes(100_000_000))
    assert len(bomb) < 500_000  # the limit on the body as it comes is 1,000,000
    before = peak_memory_kib(service.process.pid)
    response = v2.post(infer_path["text"], content=bomb, headers={"content-encoding": encoding})
    assert response.status_code == 413
    assert response.json()["error"] == "a request's body must have at most 1000000 bytes unpacked, got more"
    assert peak_memory_kib(service.process.pid) - before < 16 * 1024


@pytest.mark.parametrize(
    ("content", "encoding", "status", "named"),
    [
        (b"not gzip", "gzip", 400, "it cannot be unpacked"),
        (zlib.compress(BODY), "gzip", 400, "it cannot be unpacked"),
        (GZIPPED, "deflate", 400, "it cannot be unpacked"),
        (GZIPPED[:-4], "gzip", 400, "cut off"),
        (b"", "gzip", 400, "cut off"),
        (GZIPPED + b"more", "gzip", 400, "followed by more"),
        (BODY, "br", 415, "got 'br'"),
        (gzip.compress(GZIPPED, mtime=0), "gzip, gzip", 415, "got 'gzip, gzip'"),
    ],
)
def test_a_body_that_is_not_what_its_encoding_says_is_refused(v2, infer_path, content, encoding, status, named):
    response = v2.post(infer_path["text"], content=content, headers={"content-encoding": encoding})
    assert response.status_code == status
    assert named in response.json()["error"]
