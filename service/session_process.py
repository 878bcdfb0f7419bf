"""The process in which graphs are computed: it loads sessions and runs them, as the service asks over a socket.

It is a process of its own so that whatever a graph does to it, the service lives on and starts another. Calls are
answered in whatever order they end. Started by `service/session_link.py`, which says on which descriptor it listens.
"""

import os
import signal
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from model.bundle import Bundle
from model.errors import LabelsetError
from model.session import Device, Session


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
        if isinstance(call, Drop):
            self._sessions.pop(call.key, None)
            return None
        if isinstance(call, Load):
            session = Session(call.bundle, call.device, call.threads, call.graph)
            self._sessions[call.key] = session
            return session.device, session.r_softmax, session.class_count
        return tuple(self._sessions[call.key].run(*call.arguments, dense=call.dense))


def main(descriptor: int) -> None:
    """Answer calls until the service closes its end."""
    # Ctrl-C in a terminal and managers of services reach both processes; when this one ends is the service's to say.
    for ours in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ours, signal.SIG_IGN)
    connection: Connection[Any, Any] = Connection(descriptor)
    sessions, sending = _Sessions(), threading.Lock()

    def answer(number: int, call: Call) -> None:
        try:
            result: Any = sessions.answer(call)
        except LabelsetError as error:
            result = Failure((type(error), error.message, error.detail), "")
        except Exception:
            result = Failure(None, traceback.format_exc())
        with sending:
            connection.send((number, result))

    threads = ThreadPoolExecutor(64, thread_name_prefix="session")
    try:
        while True:
            threads.submit(answer, *connection.recv())
    except (EOFError, OSError):
        os._exit(0)  # the service has gone, and what is still computed or hangs is nobody's any more
