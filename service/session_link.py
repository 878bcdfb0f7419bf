"""The process in which graphs are computed, from its start to its death, and the calls that it has not answered yet."""

import contextlib
import itertools
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from model.errors import LabelsetError
from service.session_process import Call, Failure

logger = logging.getLogger("labelset.service")

# How often it is looked at whether a call has taken too long.
_LOOK_SECONDS = 0.2


class SessionProcessDied(LabelsetError):
    """The process that computed this has died, or was killed because it took too long."""

    code = "session_process_died"


class SessionFailed(LabelsetError):
    """The runtime failed; the log says why."""

    code = "session_failed"


class _OpenCall(NamedTuple):
    """A call that has not been answered."""

    answer: "Future[Any]"
    deadline: float


class SessionLink:
    """One process. Calls may be made from any thread."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                # Not with -m: what it sends would be of types of its `__main__`. -P: the folder that we happen to be in
                # is no place to import from, unless we do.
                [sys.executable, "-P", "-c", f"from service.session_process import main; main({theirs.fileno()})"],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self._connection: Connection[Any, Any] = Connection(ours.detach())
        self._sending = threading.Lock()
        self._numbers = itertools.count()
        self._open: dict[int, _OpenCall] = {}
        self._dead = threading.Event()
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._listen, self._watch)]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """That of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it may still answer."""
        return not self._dead.is_set()

    def ask(self, call: Call, seconds: float) -> Any:
        """Have a call answered within some seconds, or the process killed.

        Raises:
            LabelsetError: what the call raised there.
            SessionFailed: it failed in another way.
            SessionProcessDied: the process died before it answered.
        """
        number, answer = next(self._numbers), Future[Any]()
        # Before it is sent: a process that does not read may hold up the sending, too.
        self._open[number] = _OpenCall(answer, time.monotonic() + seconds)
        with self._sending:
            if self._dead.is_set():
                self._fail_all()
            else:
                with contextlib.suppress(OSError):  # it has just died; whoever listens will find out
                    self._connection.send((number, call))
        result = answer.result()
        if not isinstance(result, Failure):
            return result
        if result.error:
            error, message, detail = result.error
            raise error(message, **detail)
        logger.error("a session failed: %s", result.trace)
        raise SessionFailed("the runtime failed")

    def end(self) -> None:
        """Close the connection, at which the process ends; one that does not is killed."""
        # Closing it would not wake up whoever listens to it.
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as connection:
            connection.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for thread in self._threads:
            thread.join()
        self._connection.close()

    def _listen(self) -> None:
        try:
            while True:
                number, result = self._connection.recv()
                self._open.pop(number).answer.set_result(result)
        except (EOFError, OSError):
            pass
        except Exception:
            logger.exception("the session process %d cannot be understood", self.pid)
            self._process.kill()
        self._dead.set()
        with self._sending:
            self._fail_all()

    def _watch(self) -> None:
        while not self._dead.wait(_LOOK_SECONDS):
            now = time.monotonic()
            if any(call.deadline < now for call in self._open.copy().values()):
                logger.error("the session process %d did not answer in time: killing it", self.pid)
                self._process.kill()
                return

    def _fail_all(self) -> None:
        while self._open:
            _, call = self._open.popitem()
            call.answer.set_exception(SessionProcessDied("the session process died"))
