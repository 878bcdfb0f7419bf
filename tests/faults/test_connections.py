"""Connections: ten thousand at once, more than there are files for, half closed, reset, and left without a word."""

import os
import resource
import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

CONNECTIONS = 10_000
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"
# What those say who stay: nothing, half a head, and one in ten half a body.
BEGINNINGS = (b"", HEAD, b"", HEAD, b"", HEAD, b"", HEAD, b"", HEAD + b"Content-Length: 1000\r\n\r\nhalf")


@pytest.fixture
def many_files() -> Iterator[int]:
    """The hard limit on open files, to which this process may go for a while."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < CONNECTIONS + 500:
        pytest.skip(f"needs {CONNECTIONS} open files, and the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _resident_bytes(pid: int) -> int:
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


def _wait_until(condition, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _cpu_seconds_per_answer(victim, count: int = 50) -> float:
    """What a request costs the service: another process may slow it down, but costs it nothing."""

    def spent() -> float:
        fields = Path(f"/proc/{victim.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = spent()
    for _ in range(count):
        answer = victim.ask()
        assert answer.status_code == 200
        assert answer.elapsed.total_seconds() < 5
    return (spent() - before) / count


def test_ten_thousand_connections_that_stay_keep_nobody_from_being_answered(start, many_files):
    # As most systems start a service: with a thousand files, unless it asks for more itself.
    victim = start(command=["prlimit", f"--nofile=1024:{many_files}"], head_seconds=600, body_seconds=600)
    pid = victim.process.pid
    alone, files_before, bytes_before = _cpu_seconds_per_answer(victim), _open_files(pid), _resident_bytes(pid)
    connections = []
    try:
        for number in range(CONNECTIONS):
            connections.append(socket.create_connection(victim.address, timeout=60))
            connections[-1].sendall(BEGINNINGS[number % len(BEGINNINGS)])
        _wait_until(lambda: _open_files(pid) >= files_before + CONNECTIONS)
        assert _cpu_seconds_per_answer(victim) < 2 * alone + 0.005
        # Measured: 16 KiB for each, half of that where nothing was said.
        assert _resident_bytes(pid) - bytes_before < CONNECTIONS * 32 * 1024
        for connection in connections[: CONNECTIONS // 2]:
            connection.close()
        _wait_until(lambda: _open_files(pid) < files_before + CONNECTIONS // 2 + 10)
        victim.require_unharmed()
        # Those that are left do not keep it from stopping, and are closed by it.
        victim.process.terminate()
        assert victim.process.wait(timeout=60) == -signal.SIGTERM
        assert "Traceback" not in victim.log.read_text()
    finally:
        for connection in connections:
            connection.close()


def test_where_there_are_no_files_left_for_more_those_who_are_there_are_answered(start):
    victim = start(command=["prlimit", "--nofile=200:200"])
    connections = [socket.create_connection(victim.address, timeout=60) for _ in range(500)]
    try:
        # The first request of all, for which libraries read files.
        victim.require_unharmed()
        # Half of the files are for connections, and one of those is the client's.
        _wait_until(lambda: sum(not _is_closed(connection) for connection in connections) == 99)
    finally:
        for connection in connections:
            connection.close()
    _wait_until(lambda: httpx.get(f"{victim.url}/readyz").status_code == 200)


def _is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def _all(connection: socket.socket) -> bytes:
    received = b""
    with suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            received += chunk
    return received


def test_who_says_that_he_sends_no_more_has_left(victim):
    """Half a connection looks like one whose caller is gone, and those are not computed."""
    body = b"It encrypts the disk."
    for sent in (body, body[:10]):
        with socket.create_connection(victim.address, timeout=60) as connection:
            # Held back until there is more, so that it arrives together with the end.
            connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + sent, socket.MSG_MORE)
            connection.shutdown(socket.SHUT_WR)
            assert _all(connection) == b""
    deadline = time.monotonic() + 20
    while "caller_left" not in victim.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    victim.require_unharmed()


def _reset(connection: socket.socket) -> None:
    """Close it with a reset: what is on its way is thrown away, and the other side is told so."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_callers_who_reset_at_any_moment_harm_nobody(victim):
    files_before = _open_files(victim.process.pid)
    whole = HEAD + b"Content-Length: 5000\r\n\r\n" + b"a disk " * 714 + b".."
    for number in range(100):
        connection = socket.create_connection(victim.address, timeout=60)
        connection.sendall(whole[: len(whole) * (number % 20 + 1) // 20])
        time.sleep(0.002 * (number % 7))
        if number % 20 == 19:
            connection.recv(10)  # in the midst of the answer
        _reset(connection)
    victim.require_unharmed()
    _wait_until(lambda: _open_files(victim.process.pid) <= files_before + 2)


def _pushed(connection: socket.socket, content: bytes, most: int) -> int:
    """How much can be sent before the other side hangs up, or takes no more for a second."""
    connection.settimeout(1)
    sent = 0
    with suppress(TimeoutError, BrokenPipeError, ConnectionResetError):
        while sent < most:
            sent += connection.send(content)
    return sent


def test_a_caller_who_takes_no_answers_is_not_waited_for_for_ever(start):
    victim = start(body_seconds=1)
    files_before = _open_files(victim.process.pid)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(victim.address)
        request = HEAD.replace(b"POST /predict", b"GET /models/image-demo/examples") + b"\r\n"
        for _ in range(100):  # more than the buffers on the way hold
            connection.sendall(request)
        _wait_until(lambda: _open_files(victim.process.pid) <= files_before)
    victim.require_unharmed()


ENDLESS = {
    "requests": (b"", HEAD.replace(b"POST /predict", b"GET /models") + b"\r\n"),
    "a header": (HEAD + b"X: ", b"a" * 10_000),
    "headers": (HEAD, b"X-A: a\r\n" * 1000),
    "a path": (b"GET /", b"a" * 10_000),
    "trailers": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-A: a\r\n" * 1000),
    "a chunk's extension": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;", b"a" * 10_000),
}
# Refused with an answer, after which what comes is read for a while, and thrown away (`service/lingering.py`).
ANSWERED = {"a header", "headers", "a path"}


@pytest.mark.parametrize("endless", ENDLESS)
def test_what_never_ends_is_cut_off_before_it_fills_the_memory(victim, endless):
    beginning, content = ENDLESS[endless]
    bytes_before = _resident_bytes(victim.process.pid)
    with socket.create_connection(victim.address, timeout=60) as connection:
        connection.sendall(beginning)
        pushed = _pushed(connection, content, most=100_000_000)
        if endless in ANSWERED:
            assert _all(connection).startswith(b"HTTP/1.1 400")
        else:
            assert pushed < 20_000_000  # the buffers on the way hold a few
    assert _resident_bytes(victim.process.pid) - bytes_before < 40 * 2**20
    victim.require_unharmed()


def test_many_headers_and_small_chunks_and_requests_in_advance_are_read_all_the_same(victim):
    head = HEAD + b"X-A: a\r\n" * 5000 + b"Transfer-Encoding: chunked\r\n\r\n"
    request = head + b"1;x=y\r\na\r\n" * 20_000 + b"0\r\n\r\n"
    with socket.create_connection(victim.address, timeout=60) as connection:
        connection.sendall(request * 2 + request.replace(b"Host: x\r\n", b"Host: x\r\nConnection: close\r\n"))
        assert _all(connection).count(b"HTTP/1.1 200 OK") == 3
    victim.require_unharmed()
