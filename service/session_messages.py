"""Messages between the service and its session process: pickled, with large arrays beside the pickle, uncopied.

A connection carries one message at a time: whoever has sent one waits for the answer before the next.
"""

import pickle
import socket
import struct
from typing import Any

_COUNT = struct.Struct("<I")
_LENGTH = struct.Struct("<Q")
# A smaller array costs less within the pickle than as a part of its own.
_LARGE_BYTES = 32 * 1024
# Most messages are read in one go.
_FIRST_READ = 64 * 1024
# Parts that one call of the system takes.
_MOST_PARTS = 512


def limit_silence(connection: socket.socket, seconds: float) -> None:
    """Let nobody wait longer than this for the other side to read or write; then `BlockingIOError` is raised."""
    # Not `settimeout`, which asks the system twice for every read and write.
    limit = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def send(connection: socket.socket, message: Any) -> None:
    """Send a message.

    Raises:
        OSError: the other side has gone, or does not read.
    """
    large: list[memoryview] = []

    def stays_within(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < _LARGE_BYTES:
            return True
        large.append(raw)
        return False

    head = pickle.dumps(message, protocol=5, buffer_callback=stays_within)
    parts = [memoryview(head), *large]
    lengths = b"".join(_LENGTH.pack(part.nbytes) for part in parts)
    unsent = [memoryview(_COUNT.pack(len(parts)) + lengths), *parts]
    while unsent:
        sent = connection.sendmsg(unsent[:_MOST_PARTS])
        while unsent and sent >= unsent[0].nbytes:
            sent -= unsent.pop(0).nbytes
        if sent:
            unsent[0] = unsent[0][sent:]


def receive(connection: socket.socket) -> Any:
    """The next message.

    Raises:
        EOFError: the other side has gone.
        OSError: so it has, or it does not write.
    """
    begin = bytearray(connection.recv(_FIRST_READ))
    [count] = _COUNT.unpack(_taken(begin, _COUNT.size, connection))
    lengths = _LENGTH.iter_unpack(_taken(begin, _LENGTH.size * count, connection))
    head, *large = [_taken(begin, length, connection) for [length] in lengths]
    return pickle.loads(head, buffers=large)


def _taken(begin: bytearray, length: int, connection: socket.socket) -> bytearray:
    """So many bytes of what has been read already, and of what is still to come."""
    if length <= len(begin):
        content = begin[:length]
        del begin[:length]
        return content
    content = bytearray(length)
    unread = memoryview(content)
    unread[: len(begin)] = begin
    unread = unread[len(begin) :]
    begin.clear()
    while unread:
        read = connection.recv_into(unread)
        if not read:
            raise EOFError
        unread = unread[read:]
    return content
