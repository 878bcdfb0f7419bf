"""A service under mixed load for hours: does what it holds, memory and open files, stay as much as it is?

    python -m benchmarks.soak --minutes 120 --json soak.json --plot soak.png
    python -m benchmarks.soak --minutes 5 --max-growth 1000

Pictures, texts, batches, broken inputs, callers who leave, questions of the protocol, scrapes and reloads take turns
in a random order that is the same each time. Every few seconds the memory (PSS) and the open files of all processes of
the service are written down. The first quarter is for warming up. The run fails where the line through the memory of
the rest rises faster than `--max-growth` MB an hour and by more than the noise around it, where files are left open, or
where a request was not answered as it should have been.
"""

import asyncio
import io
import itertools
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import httpx
import numpy as np
from PIL import Image

from model.repository import EMBEDDED_BUNDLES

_SENTENCE = "The group sent phishing mails to the staff of two banks and encrypted their disks."
_NUMBERS = itertools.count()
Record = dict[str, Any]


@dataclass
class Kind:
    """What a caller does, how often, and which statuses are right."""

    name: str
    share: int
    statuses: frozenset[int]


_KINDS = [
    Kind("picture", 30, frozenset({200, 503})),
    Kind("text", 40, frozenset({200, 503})),
    Kind("texts", 5, frozenset({200, 503})),
    Kind("tensor", 10, frozenset({200, 503})),
    Kind("broken picture", 5, frozenset({422, 503})),
    Kind("broken JSON", 3, frozenset({400, 503})),
    Kind("leaver", 5, frozenset({0})),
    Kind("scrape", 1, frozenset({200})),
    Kind("reload", 1, frozenset({200})),
]


class Service:
    """The service, in a process of its own, on a repository of its own."""

    def __init__(self, folder: Path) -> None:
        self.models = Path(shutil.copytree(EMBEDDED_BUNDLES, folder / "models"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = folder / "log"
        with self.log.open("wb") as stream:
            command = [sys.executable, "-m", "labelset", "serve", str(self.models), "--port", str(self.port), "--admin"]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
        self.url = f"http://127.0.0.1:{self.port}"
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self.process.poll() is None:
            with suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/readyz").status_code == 200:
                    return
            time.sleep(0.2)
        raise click.ClickException(f"the service did not become ready:\n{self.log.read_text()}")

    def replace_model(self) -> None:
        """Put a bundle with another card, and so another digest, in the place of the text model."""
        folder = self.models / "text-demo" / "1"
        staging = Path(shutil.copytree(folder, self.models / "text-demo" / f".{next(_NUMBERS)}"))
        manifest = json.loads((staging / "bundle.json").read_text())
        manifest["metrics"]["soak"] = float(next(_NUMBERS))
        (staging / "bundle.json").write_text(json.dumps(manifest))
        shutil.rmtree(folder)
        staging.rename(folder)

    def held(self) -> Record:
        """Megabytes (PSS) and open files of all of its processes, and the part of the memory that the first has."""
        pids, memory, files = [self.process.pid], [], 0
        for pid in pids:  # grows as children are found
            with suppress(FileNotFoundError, ProcessLookupError):
                for thread in Path(f"/proc/{pid}/task").iterdir():
                    pids += [int(child) for child in (thread / "children").read_text().split()]
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
                memory.append(int(rollup.partition("\nPss:")[2].split()[0]) / 1024)
                files += len(os.listdir(f"/proc/{pid}/fd"))
        return {"pss_mb": sum(memory), "service_pss_mb": memory[0], "open_files": files}


class Load:
    """Callers who never stop asking, and what they were told."""

    def __init__(self, service: Service, seed: int) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        self.broken: list[str] = []
        self._service = service
        self._chance = random.Random(seed)
        self._pictures = [_picture(number) for number in range(20)]
        self._reloading = asyncio.Lock()

    async def caller(self, deadline: float) -> None:
        """Ask one thing after another."""
        weights = [kind.share for kind in _KINDS]
        async with httpx.AsyncClient(base_url=self._service.url, timeout=120) as client:
            while time.monotonic() < deadline:
                [kind] = self._chance.choices(_KINDS, weights)
                try:
                    self.answers[kind.name, await self._asked(kind.name, client)] += 1
                except httpx.TransportError as error:
                    self.broken.append(f"{kind.name}: {error!r} {deadline - time.monotonic():.0f} s before the end")
                    await asyncio.sleep(1)

    async def _asked(self, kind: str, client: httpx.AsyncClient) -> int:
        text = f"{_SENTENCE} {next(_NUMBERS)}"
        picture = self._chance.choice(self._pictures)
        if kind == "picture":
            return await _status(client.post("/predict", files={"files": picture}))
        if kind == "broken picture":
            return await _status(client.post("/predict", files={"files": picture[: len(picture) // 2]}))
        if kind == "text":
            return await _status(client.post("/predict", json={"text": text * self._chance.randint(1, 20)}))
        if kind == "texts":
            return await _status(client.post("/predict", json={"texts": [f"{text} {n}" for n in range(16)]}))
        if kind == "tensor":
            tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}
            return await _status(client.post("/v2/models/text-demo/infer", json={"inputs": [tensor]}))
        if kind == "broken JSON":
            headers = {"content-type": "application/json"}
            return await _status(client.post("/predict", content=text.encode(), headers=headers))
        if kind == "scrape":
            return await _status(client.get("/metrics"))
        if kind == "reload":
            async with self._reloading:
                await asyncio.to_thread(self._service.replace_model)
                return await _status(client.post("/v2/repository/models/text-demo/load"))
        return await self._leave(text)

    async def _leave(self, text: str) -> int:
        """Ask on a connection of its own, and be gone before the answer."""
        _, writer = await asyncio.open_connection("127.0.0.1", self._service.port)
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\n\r\n"
        writer.write((head + text[: self._chance.randint(1, len(text))]).encode())
        await asyncio.sleep(self._chance.random() * 0.01)
        writer.close()
        return 0


async def _status(answer: Any) -> int:
    return int((await answer).status_code)


def _picture(seed: int) -> bytes:
    chance = np.random.default_rng(seed)
    pixels = chance.integers(0, 256, (int(chance.integers(16, 600)), int(chance.integers(16, 600)), 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, ("JPEG", "PNG", "WEBP", "GIF")[seed % 4])
    return stream.getvalue()


async def _soak(service: Service, load: Load, callers: int, seconds: float, samples: int) -> list[Record]:
    started = time.monotonic()
    tasks = [asyncio.create_task(load.caller(started + seconds)) for _ in range(callers)]
    records: list[Record] = []
    for number in range(samples):
        await asyncio.sleep(max(0.0, started + seconds * (number + 1) / samples - time.monotonic()))
        held = await asyncio.to_thread(service.held)
        minutes = (time.monotonic() - started) / 60
        records.append({"minutes": minutes, "requests": load.answers.total(), **held})
        if number % max(1, samples // 20) == 0:
            click.echo(
                "{minutes:7.1f} min {pss_mb:7.1f} MB, {service_pss_mb:.1f} in the service; {open_files} files; "
                "{requests} requests".format(**records[-1])
            )
    await asyncio.gather(*tasks)
    return records


def _growth(records: list[Record]) -> tuple[float, float]:
    """MB an hour of the line through the memory after warming up, and the noise around that line in MB."""
    warm = records[len(records) // 4 :]
    hours, memory = ([record[key] for record in warm] for key in ("minutes", "pss_mb"))
    line = statistics.linear_regression(hours, memory)
    noise = statistics.pstdev(m - line.slope * h - line.intercept for h, m in zip(hours, memory, strict=True))
    return line.slope * 60, noise


def _wrong(load: Load) -> list[str]:
    right = {kind.name: kind.statuses for kind in _KINDS}
    return [
        f"{name}: {count} x {status}" for (name, status), count in load.answers.items() if status not in right[name]
    ]


def _draw(records: list[Record], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, (above, below) = plt.subplots(2, sharex=True, figsize=(8, 5))
    minutes = [record["minutes"] for record in records]
    above.plot(minutes, [record["pss_mb"] for record in records], label="all processes")
    above.plot(minutes, [record["service_pss_mb"] for record in records], label="the service, without its sessions")
    above.legend()
    above.set_ylabel("memory (PSS), MB")
    above.set_ylim(bottom=0)
    below.plot(minutes, [record["open_files"] for record in records])
    below.set_ylabel("open files")
    below.set_xlabel("minutes")
    figure.tight_layout()
    figure.savefig(path)


@click.command()
@click.option("--minutes", type=float, default=120, show_default=True)
@click.option("--callers", type=int, default=8, show_default=True, help="Who ask at the same time.")
@click.option("--max-growth", type=float, default=10, show_default=True, help="MB an hour, after warming up.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Where the samples go.")
@click.option("--plot", type=click.Path(path_type=Path), help="Where a picture of them goes.")
def main(minutes: float, callers: int, max_growth: float, seed: int, json_path: Path | None, plot: Path | None) -> None:
    """Run the service under mixed load, and fail where it grows."""
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder))
        try:
            load = Load(service, seed)
            samples = max(40, int(minutes * 6))
            records = asyncio.run(_soak(service, load, callers, minutes * 60, samples))
            log = service.log.read_text()
        finally:
            service.process.terminate()
            service.process.wait(timeout=60)
    slope, noise = _growth(records)
    rise = slope * (records[-1]["minutes"] - records[len(records) // 4]["minutes"]) / 60
    if json_path:
        json_path.write_text(json.dumps(records, indent=1))
    if plot:
        _draw(records, plot)
    click.echo(
        f"{load.answers.total()} requests; memory {slope:+.1f} MB an hour ({rise:+.1f} MB, noise {noise:.1f} MB)"
    )
    faults = [*_wrong(load), *load.broken[:20]]
    if slope > max_growth and rise > 2 * noise:
        faults.append(f"memory grows by {slope:.1f} MB an hour, {max_growth:g} are allowed")
    quarter = len(records) // 4
    before, after = (
        statistics.median(r["open_files"] for r in part) for part in (records[:quarter], records[-quarter:])
    )
    if after > before + 10:
        faults.append(f"{after:.0f} files are open at the end, {before:.0f} were at the beginning")
    if "Traceback" in log:
        faults.append("the log has a trace: " + log[log.index("Traceback") :][:2000])
    if faults:
        raise click.ClickException("; ".join(faults))


if __name__ == "__main__":
    main()
