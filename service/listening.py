"""A socket that listens, or a clear word why it cannot; and as many connections on it as the system allows."""

import errno
import resource
import socket
from contextlib import suppress

from model.errors import LabelsetError

# More connections than one process could answer; where there is no hard limit something must be said.
_MAX_OPEN_FILES = 65_536
# For models, what is imported late, and whatever a library opens.
_KEPT_FILES = 256


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


def allow_connections() -> int:
    """Let this process open as many files as it may: each connection is one, and most systems begin with 1024.

    Returns:
        How many connections may be open at once, so that files are left for everything else.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed, most = (_MAX_OPEN_FILES if limit == resource.RLIM_INFINITY else limit for limit in (soft, hard))
    wanted = min(most, _MAX_OPEN_FILES)
    if allowed < wanted:
        with suppress(ValueError, OSError):  # some systems have a limit of their own beside the hard one
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            allowed = wanted
    return allowed - min(_KEPT_FILES, allowed // 2)
