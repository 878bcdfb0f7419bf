"""Callers who send slowly, or stop in the midst, on a real socket."""

import contextlib
import json
import os
import signal
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest

HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
BODY = json.dumps({"text": "It encrypts the disk."}).encode()


@pytest.fixture(scope="module")
def service(serve):
    return serve(head_seconds=0.5, body_seconds=0.5)


def _connected(service):
    host, port = service.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def _all(connection):
    """What the service sends until it closes the connection."""
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    return received


@pytest.mark.parametrize("sent", [b"", b"POST", HEAD], ids=["nothing", "a word", "half a head"])
def test_a_connection_on_which_no_head_arrives_is_closed(service, sent):
    with _connected(service) as connection:
        started = time.monotonic()
        connection.sendall(sent)
        assert _all(connection) == b""
        assert 0.4 < time.monotonic() - started < 10


def test_a_head_that_arrives_by_the_byte_is_not_waited_for_longer(service):
    with _connected(service) as connection:
        started = time.monotonic()
        with contextlib.suppress(OSError):  # the connection is closed
            while time.monotonic() - started < 20:
                connection.sendall(b"x")
                time.sleep(0.02)
        assert time.monotonic() - started < 10


def test_a_second_head_is_waited_for_no_longer_than_the_first(service):
    whole = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    with _connected(service) as connection:
        connection.sendall(whole + b"POST /pre")
        started = time.monotonic()
        assert _all(connection).startswith(b"HTTP/1.1 200 OK")
        assert time.monotonic() - started < 10


def test_empty_lines_after_an_answer_are_no_head(service):
    whole = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    with _connected(service) as connection:
        connection.sendall(whole)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
        started = time.monotonic()
        connection.sendall(b"\r\n")
        _all(connection)
        assert time.monotonic() - started < 10


def test_a_body_that_stops_in_the_midst_is_told_so_and_then_closed(service):
    with _connected(service) as connection:
        started = time.monotonic()
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY[:10])
        head, _, body = _all(connection).partition(b"\r\n\r\n")
        assert 0.4 < time.monotonic() - started < 10
    assert head.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in head.lower()
    error = json.loads(body)["error"]
    assert (error["code"], error["message"]) == ("body_too_slow", "a request's body must arrive within 0.5 seconds")


def test_an_answer_may_take_longer_than_head_and_body(serve):
    service = serve(head_seconds=0.3, body_seconds=0.3)
    tasks = Path(f"/proc/{service.process.pid}/task").glob("*/children")
    [session_process] = [int(child) for task in tasks for child in task.read_text().split()]
    os.kill(session_process, signal.SIGSTOP)
    threading.Timer(1.0, os.kill, (session_process, signal.SIGCONT)).start()
    answer = httpx.post(f"{service.url}/predict", json={"text": "The group sent phishing mails."}, timeout=60)
    assert answer.status_code == 200
    assert answer.elapsed.total_seconds() > 0.7


def test_a_hundred_connections_that_say_nothing_do_not_keep_others_from_being_served(service):
    silent = [_connected(service) for _ in range(100)]
    assert httpx.post(f"{service.url}/predict", content=BODY, headers={"content-type": "application/json"}).is_success
    assert [_all(connection) for connection in silent] == [b""] * 100
    for connection in silent:
        connection.close()
