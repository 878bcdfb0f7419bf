"""A contestant's processes: started in a session of their own, frozen while others have their turn, and ended."""

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

_END_SECONDS = 20


class Processes:
    """A command and all of its descendants."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path, piped: bool = False
    ) -> None:
        """Start `command` in `folder`, with `environment` added to our own; its output goes to `log`.

        With `piped` its input and output are ours, and only its errors go there.
        """
        with log.open("wb") as stream:
            self.leader = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **environment},
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else stream,
                stderr=stream,
                start_new_session=True,
            )
        # In a session of their own they hear no Ctrl-C, and would outlive a benchmark that is broken off.
        atexit.register(self.end)
        self.log = log
        # Descendants whose parents have ended are nobody's children any more: who was seen once is remembered.
        self._seen: dict[int, psutil.Process] = {}
        self.all()

    @property
    def alive(self) -> bool:
        """Whether the first process still runs."""
        return self.leader.poll() is None

    def all(self) -> list[psutil.Process]:
        """Every process that is there."""
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.leader.pid)
            self._seen |= {process.pid: process for process in (root, *root.children(recursive=True))}
        return [process for process in self._seen.values() if process.is_running()]

    def freeze(self) -> None:
        """Stop them, so that what they do when idle does not take the cores from the one whose turn it is."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def end(self) -> None:
        """End them, with patience first."""
        atexit.unregister(self.end)
        processes = self.all()
        self.thaw()
        with contextlib.suppress(ProcessLookupError):
            self.leader.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.leader.wait(_END_SECONDS)
        for process in [*processes, *self.all()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.leader.wait()
        while any(_lives(process) for process in processes):
            time.sleep(0.01)
        for pipe in (self.leader.stdin, self.leader.stdout):
            if pipe:
                pipe.close()

    def cpu_seconds(self) -> float:
        """What they have used until now; of those that have ended, nothing is known."""
        total = 0.0
        for process in self.all():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def pss_bytes(self) -> int:
        """Their memory, what several share counted once."""
        total = 0
        for process in self.all():
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
        return total

    def tail(self) -> str:
        """The end of the log, on one line."""
        lines = self.log.read_text(errors="replace").splitlines()
        return " / ".join(line.strip() for line in lines[-4:])[-600:]

    def _signal(self, number: signal.Signals) -> None:
        for process in self.all():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)


def _lives(process: psutil.Process) -> bool:
    """Whether it is there and not only waits for its parent to take note of its end."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
