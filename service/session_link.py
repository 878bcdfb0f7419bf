"""The session process, from its start to its death.

Each call has a channel to itself until it is answered: a socket, with a thread at its other end. Batches are asked from
the event loop (`ask_soon`), what takes longer from a thread, which waits (`ask`).
"""

import asyncio
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
from service.session_calls import Call, Failure
from service.session_channel import SessionChannel

# Of glibc: what is larger goes back to the system when it is freed. Else this limit rises with what is freed, and each
# thread's arena keeps the room of a model that was loaded there once and has been replaced since.
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1024 * 1024)}

logger = logging.getLogger("labelset.service")


class SessionProcessDied(LabelsetError):
    """The process that computed this has died, or was killed because it took too long."""

    code = "session_process_died"


class SessionFailed(LabelsetError):
    """The runtime failed; the log says why."""

    code = "session_failed"


class SessionLink:
    """One process. `ask` may be called from any thread, `ask_soon` from the event loop."""

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
                env={**_MALLOC, **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        # Guards the two that follow.
        self._changing = threading.Lock()
        self._idle: list[socket.socket] = []
        self._dead = False
        # Of the event loop alone.
        self._listening: list[SessionChannel] = []

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
        return _checked(self._exchange(call))

    async def ask_soon(self, call: Call) -> Any:
        """As `ask`, from the event loop."""
        try:
            channel = await self._listening_channel()
            try:
                async with asyncio.timeout(self._call_seconds):
                    result = await channel.ask(call)
            except BaseException:
                channel.close()
                raise
        except Exception as error:
            raise self._died_of(error) from None
        self._listening.append(channel)
        return _checked(result)

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
        for channel in self._listening:
            channel.close_soon()

    def _exchange(self, call: Call) -> Any:
        with contextlib.ExitStack() as closing:
            try:
                channel = closing.enter_context(self._channel())
                session_messages.send(channel, call)
                result = session_messages.receive(channel)
            except Exception as error:
                raise self._died_of(error) from None
            with self._changing:
                if not self._dead:
                    self._idle.append(channel)
                    closing.pop_all()  # it stays open
        return result

    def _channel(self) -> socket.socket:
        """A socket on which nobody is asking, a new one where there is none."""
        with self._changing:
            if self._idle:
                return self._idle.pop()
        ours = self._connected()
        session_messages.limit_silence(ours, self._call_seconds)
        return ours

    async def _listening_channel(self) -> SessionChannel:
        while self._listening:
            channel = self._listening.pop()
            if channel.loop is asyncio.get_running_loop():
                return channel
        return await SessionChannel.open(self._connected())

    def _connected(self) -> socket.socket:
        """A new socket with a thread of the process at its other end."""
        ours, theirs = socket.socketpair()
        try:
            with theirs, self._changing:
                if self._dead:
                    raise EOFError
                socket.send_fds(self._control, [b"+"], [theirs.fileno()])
        except BaseException:
            ours.close()
            raise
        return ours

    def _died_of(self, error: Exception) -> SessionProcessDied:
        """The process does not answer, or not what we understand: it must not go on."""
        with self._changing:
            self._dead = True
        if isinstance(error, TimeoutError | BlockingIOError):
            logger.error("the session process %d did not answer in time: killing it", self.pid)
            self._process.kill()
        elif not isinstance(error, EOFError | OSError):
            logger.error("the session process %d cannot be understood: killing it", self.pid, exc_info=error)
            self._process.kill()
        return SessionProcessDied("the session process died")


def _checked(result: Any) -> Any:
    """An answer, or what went wrong there, raised."""
    if not isinstance(result, Failure):
        return result
    if result.error:
        raise result.error
    logger.error("a session failed: %s", result.trace)
    raise SessionFailed("the runtime failed")
