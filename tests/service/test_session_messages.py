"""Messages to and from the session process, over a real socket pair."""

import pickle
import socket
import threading
import time

import pytest

from service import session_messages
from service.session_messages import LARGE_BYTES


@pytest.fixture
def ends():
    here, there = socket.socketpair()
    with here, there:
        yield here, there


def _through(ends, message):
    sender = threading.Thread(target=session_messages.send, args=(ends[0], message))
    sender.start()
    received = session_messages.receive(ends[1])
    sender.join(timeout=20)
    return received


# From what fits into one read, and lies within the pickle, to what fills the socket many times.
@pytest.mark.parametrize("size", [0, 1, 32 * 1024 - 1, 32 * 1024, 64 * 1024 - 20, 64 * 1024, 5_000_000])
def test_what_is_sent_arrives(ends, size):
    file = bytes(range(256)) * (size // 256) + b"\xff" * (size % 256)
    number, files = _through(
        ends, (7, {"a": pickle.PickleBuffer(file), "b": file[::2], "c": pickle.PickleBuffer(b"c")})
    )
    assert number == 7
    assert {name: bytes(content) for name, content in files.items()} == {"a": file, "b": file[::2], "c": b"c"}
    # Only a large one lies beside the pickle; a small one becomes part of it.
    assert [type(files[name]) for name in "abc"] == [memoryview if size >= LARGE_BYTES else bytes, bytes, bytes]


def test_more_files_arrive_than_one_call_of_the_system_takes(ends):
    sent = [bytes([number % 256]) * 40_000 for number in range(600)]
    received = _through(ends, list(map(pickle.PickleBuffer, sent)))
    assert [bytes(file) for file in received] == sent


def test_one_message_follows_another_on_the_same_connection(ends):
    for message in ("first", list(range(100_000)), "third"):
        assert type(_through(ends, message)) is type(message)


def test_the_end_of_the_other_side_is_told(ends):
    ends[0].sendall(b"\x01\x00\x00\x00\x00")
    ends[0].close()
    with pytest.raises(EOFError):
        session_messages.receive(ends[1])


def _receive_nothing(end):
    session_messages.receive(end)


def _send_more_than_the_socket_holds(end):
    session_messages.send(end, pickle.PickleBuffer(bytes(80_000_000)))


@pytest.mark.parametrize("wait", [_receive_nothing, _send_more_than_the_socket_holds])
def test_nobody_waits_longer_than_the_limit(ends, wait):
    session_messages.limit_silence(ends[0], 0.25)
    started = time.monotonic()
    with pytest.raises(BlockingIOError):
        wait(ends[0])
    assert 0.2 < time.monotonic() - started < 10
