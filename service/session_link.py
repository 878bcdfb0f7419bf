"""The process in which graphs are computed, from its start to its death.

Each call has a channel to itself until it is answered: a socket, with a thread at its other end. Who asks also waits,
so that no other thread hands on what is asked or answered.
"""

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
from typing import Any

from model.errors import LabelsetError
from service import session_messages
from service.session_process import Call, Failure

logger = logging.getLogger("labelset.service")


class SessionProcessDied(LabelsetError):
    """The process that computed this has died, or was killed because it took too long."""

    code = "session_process_died"


class SessionFailed(LabelsetError):
    """The runtime failed; the log says why."""

    code = "session_failed"


class SessionLink:
    """One process. Calls may be made from any thread."""

    def __init__(self, call_seconds: float) -> None:
        """Start the process; one that does not answer a call for so long is killed."""
        self._call_seconds = call_seconds
        self._control, theirs = socket.socketpair()
        session_messages.limit_silence(self._control, call_seconds)
        with theirs:
            self._process = subprocess.Popen(
                # Not with -m: what it sends would be of types of its `__main__`. -P: the folder that we happen to be in
                # is no place to import from, unless we do.
                [sys.executable, "-P", "-c", f"from service.session_process import main; main({theirs.fileno()})"],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        # Guards the two that follow.
        self._changing = threading.Lock()
        self._idle: list[socket.socket] = []
        self._dead = False

    @property
    def pid(self) -> int:
        """That of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it may still answer."""
        return not self._dead and self._process.poll() is None

    def ask(self, call: Call) -> Any:
        """Have a call answered, or the process killed.

        Raises:
            LabelsetError: what the call raised there.
            SessionFailed: it failed in another way.
            SessionProcessDied: the process died before it answered.
        """
        result = self._exchange(call)
        if not isinstance(result, Failure):
            return result
        if result.error:
            error, message, detail = result.error
            raise error(message, **detail)
        logger.error("a session failed: %s", result.trace)
        raise SessionFailed("the runtime failed")

    def end(self) -> None:
        """Close the connection, at which the process ends; one that does not is killed."""
        with self._changing:
            self._dead = True
        self._control.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with self._changing:
            while self._idle:
                self._idle.pop().close()

    def _exchange(self, call: Call) -> Any:
        with contextlib.ExitStack() as closing:
            try:
                channel = closing.enter_context(self._channel())
                session_messages.send(channel, call)
                result = session_messages.receive(channel)
            except BlockingIOError:
                logger.error("the session process %d did not answer in time: killing it", self.pid)
                self._process.kill()
                raise self._died() from None
            except (EOFError, OSError):
                raise self._died() from None
            except Exception:
                logger.exception("the session process %d cannot be understood: killing it", self.pid)
                self._process.kill()
                raise self._died() from None
            with self._changing:
                if not self._dead:
                    self._idle.append(channel)
                    closing.pop_all()  # it stays open
        return result

    def _channel(self) -> socket.socket:
        """A socket on which nobody is asking, a new one where there is none."""
        with self._changing:
            if self._dead:
                raise EOFError
            if self._idle:
                return self._idle.pop()
            ours, theirs = socket.socketpair()
            with theirs:
                session_messages.limit_silence(ours, self._call_seconds)
                socket.send_fds(self._control, [b"+"], [theirs.fileno()])
            return ours

    def _died(self) -> SessionProcessDied:
        with self._changing:
            self._dead = True
        return SessionProcessDied("the session process died")
