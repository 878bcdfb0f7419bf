"""Callers who are still sending when they are answered: each gets the answer, and none can keep the connection."""

import asyncio
import contextlib
import http.client
import json
import signal
import socket
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

# More than the buffers of both sockets hold, so that a caller who is not read any more notices it.
LARGE = bytes(40_000_000)
HEAD = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"
LINGERS_SECONDS = 5


def _connected(service):
    address = urlsplit(service.url)
    return socket.create_connection((address.hostname, address.port), timeout=30)


def _all(connection):
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def _by_http_client(service, body):
    connection = http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", "/predict", body=body, headers={"Content-Type": "text/plain"})
        answer = connection.getresponse()
        return answer.status, answer.read()


def _by_httpx(service, body):
    answer = httpx.post(f"{service.url}/predict", files={"files": body}, timeout=30)
    return answer.status_code, answer.content


def _by_asynchronous_httpx(service, body):
    async def ask():
        async with httpx.AsyncClient(timeout=30) as client:
            return await client.post(f"{service.url}/predict", files={"files": body})

    answer = asyncio.run(ask())
    return answer.status_code, answer.content


CLIENTS = [_by_http_client, _by_httpx, _by_asynchronous_httpx]


@pytest.mark.parametrize("ask", CLIENTS)
def test_a_body_that_is_too_large_is_told_so_while_it_is_sent(service, ask):
    for _ in range(3):
        started = time.monotonic()
        status, answer = ask(service, LARGE)
        assert (status, json.loads(answer)["error"]["code"]) == (413, "body_too_large")
        assert time.monotonic() - started < LINGERS_SECONDS  # it has ended with the body


def test_a_body_without_a_declared_length_is_told_so_too(service):
    status, answer = _by_http_client(service, (LARGE[:1_000_000] for _ in range(40)))
    assert (status, json.loads(answer)["error"]["code"]) == (413, "body_too_large")


def test_tritons_client_is_told_why(service):
    tritonclient = pytest.importorskip("tritonclient.http")
    text = tritonclient.InferInput("text", [1], "BYTES")
    text.set_data_from_numpy(np.array([LARGE + b"a"], dtype=object))
    with (
        tritonclient.InferenceServerClient(urlsplit(service.url).netloc) as client,
        pytest.raises(tritonclient.InferenceServerException, match="must have at most 1000000 bytes"),
    ):
        client.infer("text-demo", [text])


@pytest.mark.parametrize(
    ("request_line", "header", "code"),
    [
        ("POST /nowhere", "Connection: close", b"404"),
        ("POST /pre dict", "X: y", b"400"),
        ("POST /predict", "X", b"400"),
    ],
    ids=["the last of its connection", "no request line", "no header"],
)
def test_every_answer_that_ends_the_connection_is_heard_and_its_end_too(service, request_line, header, code):
    head = f"{request_line} HTTP/1.1\r\nHost: x\r\n{header}\r\nContent-Length: {len(LARGE)}\r\n\r\n"
    with _connected(service) as connection:
        connection.sendall(head.encode())
        connection.sendall(LARGE)  # else it fails here
        started = time.monotonic()
        assert _all(connection).startswith(b"HTTP/1.1 " + code)
        assert time.monotonic() - started < 2


def test_of_requests_in_advance_the_first_is_answered_where_no_other_will_be(serve):
    service = serve(leave_seconds=4)
    service.process.terminate()
    while httpx.get(f"{service.url}/readyz").status_code == 200:
        time.sleep(0.02)
    with _connected(service) as connection:
        first = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
        connection.sendall(first + f"{HEAD}Content-Length: {len(LARGE)}\r\n\r\n".encode() + LARGE)
        answer = _all(connection)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" in answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert service.process.wait(timeout=60) == -signal.SIGTERM


def _seconds_until_hung_up(connection, piece, pause):
    started = time.monotonic()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while time.monotonic() - started < 30:
            connection.sendall(piece)
            time.sleep(pause)
    return time.monotonic() - started


def _resident_bytes(service):
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) * 1024


@pytest.mark.parametrize(("piece", "pause"), [(bytes(1_000_000), 0), (b"a", 0.05)], ids=["fast", "slowly"])
def test_who_never_ends_is_hung_up_on_and_fills_no_memory(service, client, piece, pause):
    before = _resident_bytes(service)
    with _connected(service) as connection:
        connection.sendall(f"{HEAD}Content-Length: {10**12}\r\n\r\n".encode())
        assert LINGERS_SECONDS - 1 < _seconds_until_hung_up(connection, piece, pause) < 3 * LINGERS_SECONDS
    assert _resident_bytes(service) - before < 16 * 2**20
    assert client.post("/predict", json={"text": "next"}).status_code == 200
    assert "Traceback" not in service.log.read_text()


def test_a_caller_who_lingers_does_not_keep_the_service_from_stopping(serve):
    service = serve(leave_seconds=0, drain_seconds=60)
    with _connected(service) as connection:
        connection.sendall(f"{HEAD}Content-Length: {10**12}\r\n\r\n".encode())
        assert _all(connection).startswith(b"HTTP/1.1 413")
        started = time.monotonic()
        service.process.terminate()
        assert service.process.wait(timeout=60) == -signal.SIGTERM
        assert time.monotonic() - started < 3 * LINGERS_SECONDS


def test_a_body_that_is_on_its_way_when_the_service_stops_does_not_cost_its_answer(serve):
    """The answer does not end the connection, since it was given before the service was told to stop."""
    service = serve(leave_seconds=0)
    head = f"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: {len(LARGE)}\r\n\r\n"
    with _connected(service) as connection:
        connection.sendall(head.encode())
        service.logged(" 404 ")
        service.process.terminate()
        time.sleep(0.6)  # by then it has asked connections to end
        connection.sendall(LARGE)
        answer = _all(connection)
    assert answer.startswith(b"HTTP/1.1 404")
    assert service.process.wait(timeout=60) == -signal.SIGTERM


def test_many_who_are_told_that_it_is_too_much_do_not_keep_others_waiting(service, client):
    statuses = []
    callers = [threading.Thread(target=lambda: statuses.append(_by_http_client(service, LARGE)[0])) for _ in range(8)]
    for caller in callers:
        caller.start()
    while any(caller.is_alive() for caller in callers):
        assert client.get("/livez").elapsed.total_seconds() < 2
    assert statuses == [413] * 8
