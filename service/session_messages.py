"""Messages between the service and its session process: pickled, with large files beside the pickle and not in it.

A connection carries one message at a time: whoever has sent one waits for the answer before the next.
"""

import pickle
import socket
import struct
from typing import Any

# Before a message: how many parts it has, then the length of each. The first part is the pickle.
_COUNT = struct.Struct("<Q")
_LENGTH = struct.Struct("<Q")
# Smaller ones cost less within the pickle than as a part of their own.
LARGE_BYTES = 32 * 1024
# Most messages are read in one go.
_FIRST_READ = 64 * 1024
# Parts that one call of the system takes.
_MOST_PARTS = 512


def encode(message: Any) -> list[memoryview]:
    """What to send, in parts."""
    large: list[memoryview] = []

    def stays_within(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < LARGE_BYTES:
            return True
        large.append(raw)
        return False

    head = pickle.dumps(message, protocol=5, buffer_callback=stays_within)
    parts = [memoryview(head), *large]
    lengths = b"".join(_LENGTH.pack(part.nbytes) for part in parts)
    return [memoryview(_COUNT.pack(len(parts)) + lengths), *parts]


def size(begin: bytes | bytearray) -> int | None:
    """How long a message is of which this is the beginning; None where that cannot be said yet."""
    lengths = _lengths(begin)
    return None if lengths is None else _COUNT.size + _LENGTH.size * len(lengths) + sum(lengths)


def decode(content: bytes | bytearray) -> Any:
    """A message that has arrived as a whole; its large files stay where they are."""
    lengths = _lengths(content)
    assert lengths is not None
    unread = memoryview(content)[_COUNT.size + _LENGTH.size * len(lengths) :]
    parts = []
    for length in lengths:
        parts.append(unread[:length])
        unread = unread[length:]
    head, *large = parts
    return pickle.loads(head, buffers=large)


def _lengths(begin: bytes | bytearray) -> list[int] | None:
    if len(begin) < _COUNT.size:
        return None
    [count] = _COUNT.unpack_from(begin)
    end = _COUNT.size + _LENGTH.size * count
    return None if len(begin) < end else [length for [length] in _LENGTH.iter_unpack(begin[_COUNT.size : end])]


def limit_silence(connection: socket.socket, seconds: float) -> None:
    """Let nobody wait longer than this for the other side to read or write; then `BlockingIOError` is raised."""
    # Not `settimeout`, which asks the system twice for every read and write.
    limit = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def send(connection: socket.socket, message: Any) -> None:
    """Send a message, and wait until it is sent.

    Raises:
        OSError: the other side has gone, or does not read.
    """
    unsent = encode(message)
    while unsent:
        sent = connection.sendmsg(unsent[:_MOST_PARTS])
        while unsent and sent >= unsent[0].nbytes:
            sent -= unsent.pop(0).nbytes
        if sent:
            unsent[0] = unsent[0][sent:]


def receive(connection: socket.socket) -> Any:
    """Wait for the next message.

    Raises:
        EOFError: the other side has gone.
        OSError: so it has, or it does not write.
    """
    begin = bytearray()
    while (length := size(begin)) is None:
        read = connection.recv(_FIRST_READ)
        if not read:
            raise EOFError
        begin += read
    content = begin if len(begin) == length else bytearray(length)
    content[: len(begin)] = begin
    unread = memoryview(content)[len(begin) :]
    while unread:
        count = connection.recv_into(unread)
        if not count:
            raise EOFError
        unread = unread[count:]
    return decode(content)
