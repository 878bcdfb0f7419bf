"""Keeps the process in which graphs are computed: starts it, asks it, and starts another when it has died.

A session here looks like any other (`model/session.py`), but runs there. It outlives its process: what is loaded is
loaded again into the next one, from a file that is held open, whatever has become of its folder.
"""

import contextlib
import itertools
import logging
import os
import socket
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy.typing as npt

from model.bundle import GRAPH, Bundle
from model.errors import LabelsetError
from model.session import Answers, Device, Sparsity
from service.session_process import Call, Drop, Failure, Load, Run

# A process that dies while it loads what another had loaded is tried again; no caller is to blame for it.
_STARTS = 3

logger = logging.getLogger("labelset.service")


class SessionProcessDied(LabelsetError):
    """The process that computed this has died, or was killed because it took too long."""

    code = "session_process_died"


class SessionFailed(LabelsetError):
    """The runtime failed; the log says why."""

    code = "session_failed"


class SessionHost:
    """One process with the sessions of all models. Its methods block, and may be called from any thread."""

    def __init__(self, call_seconds: float) -> None:
        """`call_seconds`: a process that has not answered a call for so long is killed."""
        self._call_seconds = call_seconds
        self._loaded: dict[int, Load] = {}
        self._dropped: deque[int] = deque()
        self._keys = itertools.count()
        # Guards who is the process; `_Process` guards what is said to it.
        self._changing = threading.RLock()
        self._closed = False
        self._process: _Process | None = None

    @property
    def pid(self) -> int | None:
        """Of the process that is alive, where there is one."""
        process = self._process
        return process.pid if process and process.alive else None

    def session(self, bundle: Bundle, device: Device, threads: int) -> "HostedSession":
        """Load the graph of a verified bundle.

        Raises:
            LabelsetError: what `Session` raises.
            SessionProcessDied: the process died of it.
        """
        descriptor = os.open(bundle.file(GRAPH), os.O_RDONLY)
        graph = f"/proc/{os.getpid()}/fd/{descriptor}"
        if not Path(graph).exists():  # not Linux: then the folder has to stay where it is
            graph = str(bundle.file(GRAPH))
        load = Load(next(self._keys), bundle, device, threads, graph)
        try:
            facts = self.ask(load)
        except BaseException:
            os.close(descriptor)
            raise
        with self._changing:
            self._loaded[load.key] = load
        session = HostedSession(self, load.key, *facts)
        weakref.finalize(session, self._drop, load.key, descriptor).atexit = False
        return session

    def ask(self, call: Call) -> Any:
        """Have a call answered.

        Raises:
            LabelsetError: what the call raised there.
            SessionFailed: it failed in another way.
            SessionProcessDied: the process died before it answered; the next call is answered by another one.
        """
        return self._alive().ask(call, self._call_seconds)

    def close(self) -> None:
        """End the process."""
        with self._changing:
            self._closed = True
            if self._process:
                self._process.end()

    def _alive(self) -> "_Process":
        with self._changing:
            if self._closed:
                raise SessionProcessDied("the service is shutting down")
            for _ in range(_STARTS):
                if self._process and self._process.alive:
                    break
                self._start()
            if not (self._process and self._process.alive):
                raise SessionProcessDied(f"the session process died {_STARTS} times while it loaded the models")
            self._forget_the_dropped(self._process)
            return self._process

    def _start(self) -> None:
        """Start a process and load into it what the one before had."""
        if self._process is not None:
            logger.error("the session process %d died, starting another", self._process.pid)
            self._process.end()
        self._process = _Process()
        with contextlib.suppress(SessionProcessDied):
            for load in self._loaded.values():
                self._process.ask(load, self._call_seconds)

    def _drop(self, key: int, descriptor: int) -> None:
        os.close(descriptor)
        self._dropped.append(key)
        # Called wherever the garbage is collected, which must not wait; else the next call sees to it.
        if self._changing.acquire(blocking=False):
            try:
                if self._process and not self._closed:
                    self._forget_the_dropped(self._process)
            finally:
                self._changing.release()

    def _forget_the_dropped(self, process: "_Process") -> None:
        while self._dropped:
            key = self._dropped.popleft()
            self._loaded.pop(key, None)
            process.tell(Drop(key))


class HostedSession:
    """A session that runs in the process of a host."""

    def __init__(self, host: SessionHost, key: int, device: Any, r_softmax: Any, class_count: int) -> None:
        self.device = device
        self.r_softmax = r_softmax
        self.class_count = class_count
        self._host = host
        self._key = key

    def run(
        self, inputs: Mapping[str, npt.NDArray[Any]], sparsities: Sequence[Sparsity] = (), *, dense: bool = False
    ) -> Answers:
        """Answer one batch, as `Session.run` does.

        Raises:
            InvalidSparsity: a wish out of its range.
            SessionFailed: the runtime failed.
            SessionProcessDied: the process died of it, or of what another thread asked at the same time.
        """
        return Answers(*self._host.ask(Run(self._key, (inputs, sparsities), dense)))


class _Process:
    """A process, from its start to its death."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                # Not with -m: what it sends would be of types of its `__main__`.
                [sys.executable, "-c", f"from service.session_process import main; main({theirs.fileno()})"],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self._connection: Connection[Any, Any] = Connection(ours.detach())
        self._sending = threading.Lock()
        self._numbers = itertools.count()
        self._open: dict[int, Future[Any]] = {}
        self._dead = threading.Event()
        self._listener = threading.Thread(target=self._listen, name="session-host", daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return not self._dead.is_set()

    def ask(self, call: Call, seconds: float) -> Any:
        try:
            result = self.tell(call).result(seconds)
        except FutureTimeoutError:
            logger.error("the session process %d did not answer within %g seconds: killing it", self.pid, seconds)
            self._process.kill()
            self._listener.join()
            raise SessionProcessDied(f"the session process did not answer within {seconds:g} seconds") from None
        if not isinstance(result, Failure):
            return result
        if result.error:
            error, message, detail = result.error
            raise error(message, **detail)
        logger.error("a session failed: %s", result.trace)
        raise SessionFailed("the runtime failed")

    def tell(self, call: Call) -> "Future[Any]":
        answer: Future[Any] = Future()
        with self._sending:
            number = next(self._numbers)
            self._open[number] = answer
            if self._dead.is_set():
                self._fail_all()
            else:
                with contextlib.suppress(OSError):  # it has just died; whoever listens will find out
                    self._connection.send((number, call))
        return answer

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
        self._listener.join()
        self._connection.close()

    def _listen(self) -> None:
        try:
            while True:
                number, result = self._connection.recv()
                self._open.pop(number).set_result(result)
        except (EOFError, OSError):
            pass
        except Exception:
            logger.exception("the session process %d cannot be understood", self.pid)
            self._process.kill()
        with self._sending:
            self._dead.set()
            self._fail_all()

    def _fail_all(self) -> None:
        died = SessionProcessDied("the session process died")
        while self._open:
            _, answer = self._open.popitem()
            answer.set_exception(died)
