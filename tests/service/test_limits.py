"""What a request may cost: bytes, pixels, characters, inputs; and bodies that lie about it or never end."""

import json
import socket
import struct
import time
import zlib
from pathlib import Path
from urllib.parse import urlsplit

import pytest

LARGEST_BODY = 1_000_000


def refused(response, code: str) -> dict:
    assert (response.status_code, response.json()["error"]["code"]) == (413, code)
    return response.json()["error"]


@pytest.fixture
def connection(service):
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        yield connection


def read_to_the_end(connection: socket.socket) -> bytes:
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass  # the service closed with our bytes unread
    return received


def bomb(side: int) -> bytes:
    """A PNG of one bit a pixel that is a thousand times smaller than what it unpacks to."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes((side // 8 + 1) * side), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def peak_memory_kib(process_id: int) -> int:
    status = Path(f"/proc/{process_id}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def test_a_decompression_bomb_is_refused_before_it_is_decoded(service, client):
    before = peak_memory_kib(service.process.pid)
    start = time.monotonic()
    error = refused(client.post("/predict", files={"files": bomb(side=40_000)}), "image_too_large")
    assert error["detail"] == {"quantity": "pixels", "limit": 4_000_000, "value": 40_000**2}
    assert time.monotonic() - start < 5
    assert peak_memory_kib(service.process.pid) - before < 64 * 1024


def test_a_picture_of_too_many_bytes_is_413(client):
    content = b"\xff\xd8\xff" + bytes(300_000)
    error = refused(client.post("/predict", files={"files": content}), "image_too_large")
    assert error["detail"] == {"quantity": "bytes", "limit": 300_000, "value": 300_003}


def test_a_text_of_too_many_characters_is_413_and_one_of_just_enough_is_not(client):
    assert client.post("/predict", json={"text": "é" * 2_000}).status_code == 200
    for form in (
        {"json": {"text": "é" * 2_001}},
        {"files": {"text": (None, "é" * 2_001)}},
        {"content": "é" * 2_001, "headers": {"content-type": "text/plain"}},
    ):
        assert refused(client.post("/predict", **form), "text_too_long")["detail"] == {"limit": 2_000, "value": 2_001}


def test_a_batch_of_too_many_inputs_is_413_and_one_of_just_enough_is_not(client, png, png_base64):
    assert len(client.post("/predict", files=[("files", png)] * 8).json()["predictions"]) == 8
    for form in (
        {"files": [("files", png)] * 9},
        {"files": [("text", (None, "a"))] * 9},
        {"json": {"images": [png_base64] * 9}},
        {"json": {"texts": ["a"] * 9}},
    ):
        assert refused(client.post("/predict", **form), "batch_too_large")["detail"] == {"limit": 8}


@pytest.mark.parametrize(
    "content_type", ["image/png", "application/json", "text/plain", "multipart/form-data; boundary=x"]
)
def test_a_declared_body_over_the_limit_is_refused_before_it_is_sent(connection, content_type):
    connection.sendall(
        f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nExpect: 100-continue\r\n"
        f"Content-Length: {LARGEST_BODY + 1}\r\n\r\n".encode()
    )
    answer = read_to_the_end(connection)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"body_too_large" in answer


@pytest.mark.parametrize(
    ("path", "headers", "code", "what"),
    [
        ("/predict", "Content-Type: image/png", "image_too_large", "a picture"),
        ("/predict", "Content-Type: audio/wav", "recording_too_large", "a recording"),
        ("/v2/models/image-demo/infer", "Inference-Header-Content-Length: 0", None, "a picture"),
    ],
)
def test_a_file_that_says_it_is_too_large_is_refused_before_it_is_sent(connection, path, headers, code, what):
    connection.sendall(
        f"POST {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\nExpect: 100-continue\r\n"
        "Content-Length: 300001\r\n\r\n".encode()
    )
    head, _, body = read_to_the_end(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413")
    message = f"{what} must have at most 300000 bytes, got 300001"
    detail = {"quantity": "bytes", "limit": 300_000, "value": 300_001}
    error = {"code": code, "message": message, "detail": detail} if code else message
    assert json.loads(body) == {"error": error}


@pytest.mark.parametrize(
    "content_type", ["image/png", "application/json", "text/plain", "multipart/form-data; boundary=x"]
)
def test_of_an_endless_chunked_body_nothing_is_kept_and_its_caller_told_so(service, client, connection, content_type):
    before = peak_memory_kib(service.process.pid)
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\n"
    connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
    first = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
    connection.sendall(b"%x\r\n%s\r\n" % (len(first), first))
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    # How long that goes on is told in `test_lingering.py`.
    for _ in range(50 * LARGEST_BODY // len(chunk)):
        connection.sendall(chunk)
    answer = read_to_the_end(connection)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"body_too_large" in answer
    assert peak_memory_kib(service.process.pid) - before < 16 * 1024
    assert client.post("/predict", json={"text": "next"}).status_code == 200


def test_a_chunked_body_over_the_limit_is_answered_with_413(connection):
    connection.sendall(
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    connection.sendall(b"%x\r\n" % (LARGEST_BODY + 1) + bytes(LARGEST_BODY + 1))
    answer = read_to_the_end(connection)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"body_too_large" in answer


@pytest.mark.parametrize("value", ["1,", '"",', "[],", '{"a":1},'])
def test_json_of_a_great_many_values_is_refused_before_it_is_parsed(service, client, value):
    before = peak_memory_kib(service.process.pid)
    body = '{"texts": [' + value * (900_000 // len(value)) + "1]}"
    response = client.post("/predict", content=body, headers={"content-type": "application/json"})
    refused(response, "body_too_large")
    assert peak_memory_kib(service.process.pid) - before < 16 * 1024


def test_many_quotes_and_backslashes_within_a_text_are_no_structure(client):
    text = '\\",[{' * 333
    assert client.post("/predict", json={"text": text}).status_code == 200
    assert client.post("/predict", json={"text": text * 200}).json()["error"]["code"] == "text_too_long"


def test_a_caller_who_leaves_in_the_middle_harms_nobody(service, client, connection):
    connection.sendall(
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\nhalf"
    )
    connection.close()
    assert client.post("/predict", json={"text": "next"}).status_code == 200
    assert "Traceback" not in service.log.read_text()
