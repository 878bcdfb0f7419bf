"""Messages between the service and its session process: pickled, with the arrays beside the pickle, uncopied."""

import pickle
import socket
import struct
from typing import Any

_COUNT = struct.Struct("<I")
_LENGTH = struct.Struct("<Q")
# Parts that one call of the system takes.
_MOST_PARTS = 512


def send(connection: socket.socket, message: Any) -> None:
    """Send a message.

    Raises:
        OSError: the other side has gone, or does not read within the connection's timeout.
    """
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(head), *(buffer.raw() for buffer in buffers)]
    lengths = b"".join(_LENGTH.pack(part.nbytes) for part in parts)
    unsent = [memoryview(_COUNT.pack(len(parts)) + lengths), *(part for part in parts if part.nbytes)]
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
        OSError: so it has, or it does not write within the connection's timeout.
    """
    [count] = _COUNT.unpack(_read(connection, _COUNT.size))
    lengths = _LENGTH.iter_unpack(_read(connection, _LENGTH.size * count))
    head, *buffers = [_read(connection, length) for [length] in lengths]
    return pickle.loads(head, buffers=buffers)


def _read(connection: socket.socket, length: int) -> bytearray:
    content = bytearray(length)
    unread = memoryview(content)
    while unread:
        read = connection.recv_into(unread)
        if not read:
            raise EOFError
        unread = unread[read:]
    return content
