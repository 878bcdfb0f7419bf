"""The raw ceiling: processes that decode, run and name labels, as many as cores, one thread each, without HTTP.

`python -m benchmarks.serving.ceiling BUNDLE INPUTS THREADS` is one of them. It reads lines "SECONDS BATCH", works, and
writes what it did.
"""

import base64
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.environments import PeerUnavailable
from benchmarks.serving.inside.answering import CORES, Answering
from benchmarks.serving.load import Load
from benchmarks.serving.ours import ROOT
from benchmarks.serving.processes import Processes
from benchmarks.serving.workloads import Workload

_BATCH_SIZES = (1, 4, 8, 32)
# Texts of similar length go together: as good a choice as so many connections can offer at a time.
_WINDOW = 32


class Ceiling:
    """The processes, by the interface of a server."""

    name, variant = "ceiling", ""

    def __init__(self, workload: Workload, folder: Path, threads: int = 1) -> None:
        """Start them; `threads`: of the single one that a turn of one connection stands for."""
        folder.mkdir(parents=True)
        inputs = folder / "inputs"
        contents = [item if isinstance(item, bytes) else str(item).encode() for item in workload.items]
        inputs.write_text("\n".join(base64.b64encode(content).decode() for content in contents))
        self._alone = _Worker(workload, inputs, threads, folder / "alone.log")
        self._together = [_Worker(workload, inputs, 1, folder / f"{core}.log") for core in range(CORES)]
        # The best batch is a fact of model and machine: it is found once.
        self.batch_size = max(_BATCH_SIZES, key=lambda size: self._run(self._together, 2, size).per_second)

    def turn(self, connections: int, seconds: int, round_number: int = 0) -> Load:
        """Work: of one connection the bare work, one input after another; else as much as goes."""
        del round_number
        if connections == 1:
            return self._run([self._alone], seconds, 1)
        return self._run(self._together, seconds, self.batch_size)

    def end(self) -> None:
        """End the processes."""
        for worker in [self._alone, *self._together]:
            worker.processes.end()

    def _run(self, workers: "list[_Worker]", seconds: int, batch_size: int) -> Load:
        for worker in workers:
            worker.begin(seconds, batch_size)
        found = [worker.finish() for worker in workers]
        count = sum(len(own["milliseconds"]) for own in found) * batch_size
        p50, p99, longest = np.percentile([ms for own in found for ms in own["milliseconds"]], [50, 99, 100])
        per_second = sum(len(own["milliseconds"]) * batch_size / own["seconds"] for own in found)
        return Load(count / per_second, count, float(p50), float(p99), float(longest), 0, 0, 0)


class _Worker:
    def __init__(self, workload: Workload, inputs: Path, threads: int, log: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.serving.ceiling", str(workload.bundle), str(inputs), str(threads)]
        self.processes = Processes(command, {"PYTHONPATH": str(ROOT)}, ROOT, log, piped=True)
        if self._read() != "ready":
            raise PeerUnavailable(f"the ceiling does not start: {self.processes.tail()}")

    def begin(self, seconds: int, batch_size: int) -> None:
        assert self.processes.leader.stdin
        self.processes.leader.stdin.write(f"{seconds} {batch_size}\n".encode())
        self.processes.leader.stdin.flush()

    def finish(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._read())
        return found

    def _read(self) -> str:
        assert self.processes.leader.stdout
        return self.processes.leader.stdout.readline().decode().strip()


def _work(answering: Answering, contents: list[bytes], seconds: float, batch_size: int) -> dict[str, Any]:
    """Answer inputs in batches until the time is up."""
    begin = time.perf_counter()
    taken: list[float] = []
    while True:
        for start in range(0, len(contents), _WINDOW):
            window = contents[start : start + _WINDOW]
            for batch in _batches(window, batch_size):
                before = time.perf_counter()
                answering.answers([answering.array(content) for content in batch])
                now = time.perf_counter()
                taken.append((now - before) * 1e3)
                if now - begin > seconds:
                    return {"seconds": now - begin, "milliseconds": taken}


def _batches(window: list[bytes], size: int) -> list[list[bytes]]:
    ordered = sorted(window, key=len) if size > 1 else window
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def _main(bundle: str, inputs: str, threads: str) -> None:
    contents = [base64.b64decode(line) for line in Path(inputs).read_text().splitlines()]
    answering = Answering(bundle, int(threads))
    _work(answering, contents, 0.5, 1)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        seconds, batch_size = line.split()
        sys.stdout.write(json.dumps(_work(answering, contents, float(seconds), int(batch_size))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main(*sys.argv[1:])
