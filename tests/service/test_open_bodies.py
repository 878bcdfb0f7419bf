"""Bodies of many requests at once: what they take together has a bound and comes back; small ones are not touched."""

import contextlib
import gzip
import json
import os
import re
import signal
import socket
import struct
import threading
import time
from pathlib import Path

import httpx
import pytest

from service.errors import BodiesFull
from service.open_bodies import UNCOUNTED_BYTES, HeldBody, OpenBodies

MOST, LARGEST = 3_000_000, 1_000_000
INFER = "/v2/models/text-demo/infer"
MIB = 1024 * 1024


def test_room_is_taken_as_a_body_grows_and_given_back_whole():
    bodies = OpenBodies(MOST)
    first, second = HeldBody(bodies), HeldBody(bodies)
    first.grow_to(LARGEST)
    first.grow_to(LARGEST // 2)  # of what it says it has, this much has come
    assert bodies.taken == LARGEST
    second.grow_to(MOST - LARGEST)
    with pytest.raises(BodiesFull) as refused:
        first.grow_to(LARGEST + 1)
    assert refused.value.detail == {"limit": MOST}
    assert bodies.taken == MOST
    for held in (first, second, second):
        held.let_go()
    assert bodies.taken == 0


def test_a_body_that_is_refused_or_fails_holds_nothing():
    bodies = OpenBodies(MOST)
    with pytest.raises(BodiesFull), bodies.hold(MOST + 1):
        pytest.fail("there is no room")
    with pytest.raises(RuntimeError), bodies.hold(MOST):
        raise RuntimeError
    assert bodies.taken == 0


def test_a_small_body_has_room_always():
    bodies = OpenBodies(MOST)
    with bodies.hold(MOST), bodies.hold(UNCOUNTED_BYTES):
        assert bodies.taken == MOST


@pytest.fixture(scope="module")
def service(serve):
    sizes = {"max_image_bytes": 300_000, "max_audio_bytes": 300_000, "max_body_bytes": LARGEST}
    return serve(max_open_body_bytes=MOST, body_seconds=20, **sizes)


def connected(service) -> socket.socket:
    host, port = service.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def begin(service, *headers: str, content: bytes = b"", path: str = "/predict") -> socket.socket:
    """A connection on which a request begins."""
    connection = connected(service)
    head = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", *headers]
    connection.sendall("\r\n".join([*head, "", ""]).encode() + content)
    return connection


def answer_on(connection: socket.socket) -> tuple[str, dict]:
    """Head and body of an answer, after which the service closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    return head.decode().lower(), json.loads(body)


def held_bytes(service) -> int:
    metrics = httpx.get(f"{service.url}/metrics", timeout=60).text
    [found] = re.findall(r"(?m)^labelset_open_body_bytes (\S+)$", metrics)
    return int(float(found))


def wait_until_held(service, size: int) -> None:
    deadline = time.monotonic() + 20
    while (held := held_bytes(service)) != size:
        assert time.monotonic() < deadline, held
        time.sleep(0.02)


def ask(service, text: str) -> httpx.Response:
    return httpx.post(f"{service.url}/predict", json={"text": text}, timeout=60)


@pytest.fixture
def full(service):
    """The service, its room taken by callers who have sent half of what they said."""
    wait_until_held(service, 0)
    half = b" " * (LARGEST // 2)
    connections = [begin(service, f"Content-Length: {LARGEST}", content=half) for _ in range(MOST // LARGEST)]
    wait_until_held(service, MOST)
    yield service
    for connection in connections:
        connection.close()
    wait_until_held(service, 0)


@pytest.mark.parametrize("path", ["/predict", INFER])
def test_a_body_for_which_there_is_no_room_is_503_before_it_is_sent(full, path):
    with begin(full, f"Content-Length: {UNCOUNTED_BYTES + 1}", "Expect: 100-continue", path=path) as connection:
        head, body = answer_on(connection)
    assert head.startswith("http/1.1 503")
    assert {"retry-after: 1", "connection: close"} < set(head.split("\r\n"))
    message = f"bodies of at most {MOST} bytes are held at once, and this one would be more: try again in a second"
    whole = {"code": "bodies_full", "message": message, "detail": {"limit": MOST}}
    assert body == {"error": whole if path == "/predict" else message}


def test_a_body_of_unknown_length_is_503_where_the_room_ends(full):
    chunk = b"%x\r\n%s\r\n" % (UNCOUNTED_BYTES, b" " * UNCOUNTED_BYTES)
    with begin(full, "Transfer-Encoding: chunked", content=chunk) as connection:
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):  # so far it is a small one
            connection.recv(1)
        connection.settimeout(20)
        connection.sendall(b"1\r\n \r\n")
        head, body = answer_on(connection)
    assert head.startswith("http/1.1 503")
    assert body["error"]["code"] == "bodies_full"


def test_who_says_much_and_sends_nothing_takes_little_room_from_others(serve):
    service = serve(max_open_body_bytes=128 * MIB)
    silent = [begin(service, f"Content-Length: {64 * MIB}") for _ in range(30)]
    wait_until_held(service, 30 * MIB)
    assert ask(service, "a" * 9_000_000).json()["error"]["code"] == "text_too_long"
    for connection in silent:
        connection.close()
    wait_until_held(service, 0)


def test_small_requests_are_answered_however_many_large_ones_there_are(full):
    assert ask(full, "It encrypts the disk.").status_code == 200
    assert ask(full, "a" * 60_000).status_code == 200


def test_a_body_counts_as_large_as_it_is_unpacked(full):
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["It encrypts the disk."]}
    content = json.dumps({"inputs": [tensor]}).encode()
    headers = {"content-encoding": "gzip"}
    small = httpx.post(f"{full.url}{INFER}", content=gzip.compress(content), headers=headers)
    assert small.status_code == 200
    large = httpx.post(f"{full.url}{INFER}", content=gzip.compress(content + b" " * 800_000), headers=headers)
    assert (large.status_code, large.headers["retry-after"]) == (503, "1")


def leave(connection: socket.socket) -> None:
    connection.close()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def send_nonsense(connection: socket.socket) -> None:
    connection.sendall(b"no chunk\r\n")
    answer = connection.recv(65536)
    assert answer == b"" or b"400" in answer
    connection.close()


@pytest.mark.parametrize("end", [leave, reset])
@pytest.mark.parametrize("length", [f"Content-Length: {LARGEST}", "Transfer-Encoding: chunked"])
def test_who_leaves_half_way_leaves_his_room(service, length, end):
    wait_until_held(service, 0)
    size = LARGEST // 2
    content = b"%x\r\n%s\r\n" % (size, b" " * size) if "chunked" in length else b" " * size
    for _ in range(5):
        connections = [begin(service, length, content=content) for _ in range(MOST // LARGEST)]
        wait_until_held(service, MOST if "Length" in length else MOST // 2)
        for connection in connections:
            end(connection)
        wait_until_held(service, 0)
    assert ask(service, "a" * 900_000).json()["error"]["code"] == "text_too_long"
    assert "Traceback" not in service.log.read_text()


def test_a_broken_chunk_leaves_no_room_taken(service):
    wait_until_held(service, 0)
    connection = begin(service, "Transfer-Encoding: chunked", content=b"%x\r\n%s\r\n" % (200_000, b" " * 200_000))
    wait_until_held(service, 200_000)
    send_nonsense(connection)
    wait_until_held(service, 0)


def test_a_body_that_comes_too_late_leaves_its_room(serve):
    service = serve(max_open_body_bytes=64 * MIB, body_seconds=0.5)
    with begin(service, f"Content-Length: {64 * MIB}", content=b" " * 100_000) as connection:
        wait_until_held(service, 100_000 + MIB)
        head, _ = answer_on(connection)
    assert head.startswith("http/1.1 408")
    wait_until_held(service, 0)


@pytest.mark.parametrize("headers", [{}, {"timeout-ms": "500"}], ids=["answered", "cancelled"])
def test_a_body_is_counted_until_its_request_is_answered_or_given_up(service, headers):
    tasks = Path(f"/proc/{service.process.pid}/task").glob("*/children")
    [session_process] = [int(child) for task in tasks for child in task.read_text().split()]
    content = json.dumps({"text": "It encrypts the disk. " * 4_000}).encode()
    headers = {"content-type": "application/json", **headers}
    wait_until_held(service, 0)
    answers: list[int] = []

    def send() -> None:
        answers.append(httpx.post(f"{service.url}/predict", content=content, headers=headers, timeout=60).status_code)

    waiting = threading.Thread(target=send)
    os.kill(session_process, signal.SIGSTOP)
    try:
        waiting.start()
        wait_until_held(service, len(content))
        if "timeout-ms" in headers:
            wait_until_held(service, 0)
    finally:
        os.kill(session_process, signal.SIGCONT)
        waiting.join(timeout=60)
    assert answers == [504 if "timeout-ms" in headers else 200]
    wait_until_held(service, 0)


def memory(service, name: str) -> int:
    """`VmRSS`, what the service has now, or `VmHWM`, the most that it ever had; in bytes."""
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    [found] = re.findall(rf"(?m)^{name}:\s+(\d+) kB", status)
    return int(found) * 1024


@pytest.mark.parametrize(("count", "size"), [(16, 60 * MIB), (400, 900_000)], ids=["few", "many"])
def test_memory_has_a_bound_under_a_burst_of_uploads_and_comes_back_after_it(serve, count, size):
    service = serve(max_open_body_bytes=256 * MIB)
    assert ask(service, "It encrypts the disk.").status_code == 200
    before = memory(service, "VmRSS")
    connections = [begin(service, f"Content-Length: {size}") for _ in range(count)]

    def send(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # refused, and closed
            connection.sendall(b" " * (size - 1))

    sending = [threading.Thread(target=send, args=(connection,)) for connection in connections]
    for one in sending:
        one.start()
    for one in sending:
        one.join(timeout=60)
    assert ask(service, "It deletes the backups.").status_code == 200
    assert 0 < held_bytes(service) <= 256 * MIB
    for connection in connections:
        connection.close()
    assert 200 * MIB < memory(service, "VmHWM") - before < 256 * MIB + 128 * MIB
    deadline = time.monotonic() + 20
    while memory(service, "VmRSS") > before + 24 * MIB:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert ask(service, "It logs keystrokes.").status_code == 200
    assert "Traceback" not in service.log.read_text()


def test_a_length_of_thousands_of_digits_is_read_as_any_other(service):
    with begin(service, f"Content-Length: {'0' * 5000}5", "Connection: close", content=b"[1,2]") as connection:
        head, body = answer_on(connection)
    assert head.startswith("http/1.1 422")
    assert body["error"]["code"] == "invalid_request"
