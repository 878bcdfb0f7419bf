"""A socket that listens, or a clear word why it cannot."""

import errno
import socket

from model.errors import LabelsetError


class CannotListen(LabelsetError):
    """The address is taken, or is none of this machine's."""

    code = "cannot_listen"


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is a free one.

    Raises:
        CannotListen: the address is taken, or is none of this machine's.
    """
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        # Every connection inherits it. An answer goes out as two packets, head and body, and Nagle's algorithm would
        # hold the second until the caller acknowledges the first: 40 ms on each request of a connection kept alive.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        reason = "it is in use; choose another port" if in_use else error.strerror
        raise CannotListen(f"cannot listen on {host} port {port}: {reason}", host=host, port=port) from None
