"""Messages to and from the session process, over a real socket pair."""

import socket
import threading
import time

import numpy as np
import pytest

from service import session_messages


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
    array = np.arange(size, dtype=np.uint8).reshape(-1, 1)
    number, arrays = _through(ends, (7, {"a": array, "b": array[::2], "c": np.float32([1.5]), "d": np.zeros(5000)}))
    assert number == 7
    assert arrays["d"].flags.aligned  # whatever the length of what comes before it
    np.testing.assert_array_equal(arrays["a"], array)
    np.testing.assert_array_equal(arrays["b"], array[::2])
    assert arrays["c"].tolist() == [1.5]


def test_more_arrays_arrive_than_one_call_of_the_system_takes(ends):
    sent = [np.full(40_000, number % 256, np.uint8) for number in range(600)]
    received = _through(ends, sent)
    assert [array[-1] for array in received] == [array[0] for array in sent]


def test_one_message_follows_another_on_the_same_connection(ends):
    for message in ("first", np.zeros(100_000), "third"):
        assert type(_through(ends, message)) is type(message)


def test_the_end_of_the_other_side_is_told(ends):
    ends[0].sendall(b"\x01\x00\x00\x00\x00")
    ends[0].close()
    with pytest.raises(EOFError):
        session_messages.receive(ends[1])


def _receive_nothing(end):
    session_messages.receive(end)


def _send_more_than_the_socket_holds(end):
    session_messages.send(end, np.zeros(10_000_000))


@pytest.mark.parametrize("wait", [_receive_nothing, _send_more_than_the_socket_holds])
def test_nobody_waits_longer_than_the_limit(ends, wait):
    session_messages.limit_silence(ends[0], 0.25)
    started = time.monotonic()
    with pytest.raises(BlockingIOError):
        wait(ends[0])
    assert 0.2 < time.monotonic() - started < 10
