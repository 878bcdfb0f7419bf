"""The process in which graphs are computed: it loads sessions and runs them, as the service asks over a socket.

It is a process of its own so that whatever a graph does to it, the service lives on and starts another. Started by
`service/session_link.py`, which says on which descriptor it hears of new channels; each has a thread that answers it.
"""

import os
import signal
import socket
import threading
import traceback
from dataclasses import dataclass
from typing import Any

from model.bundle import Bundle
from model.errors import LabelsetError
from model.session import Device, Session
from service import session_messages


@dataclass(frozen=True)
class Load:
    """Make a session; answered with its device, its r-softmax and its number of classes."""

    key: int
    bundle: Bundle
    device: Device
    threads: int
    graph: str


@dataclass(frozen=True)
class Run:
    """Run a session, with the arguments of `Session.run`."""

    key: int
    arguments: tuple[Any, ...]
    dense: bool


@dataclass(frozen=True)
class Drop:
    """Forget a session."""

    key: int


Call = Load | Run | Drop


@dataclass(frozen=True)
class Failure:
    """What went wrong: an error of ours, or the trace of another one."""

    error: tuple[type[LabelsetError], str, dict[str, Any]] | None
    trace: str


class _Sessions:
    """The sessions of this process, by the keys that the service gave them."""

    def __init__(self) -> None:
        self._sessions: dict[int, Session] = {}

    def answer(self, call: Call) -> Any:
        """What a call gives, or what went wrong with it."""
        try:
            return self._answer(call)
        except LabelsetError as error:
            return Failure((type(error), error.message, error.detail), "")
        except Exception:
            return Failure(None, traceback.format_exc())

    def _answer(self, call: Call) -> Any:
        if isinstance(call, Drop):
            self._sessions.pop(call.key, None)
            return None
        if isinstance(call, Load):
            session = Session(call.bundle, call.device, call.threads, call.graph)
            self._sessions[call.key] = session
            return session.device, session.r_softmax, session.class_count
        if call.key not in self._sessions:
            raise RuntimeError("this session could not be loaded again after the process before had died")
        return tuple(self._sessions[call.key].run(*call.arguments, dense=call.dense))


def main(descriptor: int) -> None:
    """Answer calls until the service closes its end."""
    # Ctrl-C in a terminal and managers of services reach both processes; when this one ends is the service's to say.
    for ours in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ours, signal.SIG_IGN)
    sessions = _Sessions()
    with socket.socket(fileno=descriptor) as control:
        while True:
            message, channels, _, _ = socket.recv_fds(control, 1, 1)
            if not message:
                os._exit(0)  # the service has gone, and what is still computed or hangs is nobody's any more
            threading.Thread(target=_serve, args=(sessions, *channels), daemon=True).start()


def _serve(sessions: _Sessions, descriptor: int) -> None:
    """Answer the calls of one channel, one after another."""
    with socket.socket(fileno=descriptor) as channel:
        try:
            while True:
                session_messages.send(channel, sessions.answer(session_messages.receive(channel)))
        except (EOFError, OSError):
            return  # the service has closed it, and may have others
