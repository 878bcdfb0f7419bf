"""What happens to a service besides work: nothing, too much, broken inputs, new versions of its model."""

import concurrent.futures
import http.client
import itertools
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.serving.contestant import post
from benchmarks.serving.flood import flood
from benchmarks.serving.load import begin, finish, load, write_requests
from benchmarks.serving.ours import Ours, own_request
from benchmarks.serving.processes import Processes, free_port
from benchmarks.serving.rounds import Record
from benchmarks.serving.server import Server, ask
from benchmarks.serving.watch import Watch
from benchmarks.serving.workloads import Workload
from model.bundle import GOLDEN
from model.golden import GoldenExample
from model.preprocess import Item
from model.repository import EMBEDDED_BUNDLES

_TOGETHER = 8
_CONNECTIONS = 32
_IDLE_SECONDS = 20
_READY_SECONDS = 60


def poison(server: Server, times: int) -> Record:
    """Eight requests at once, one of them a picture cut off in the middle: how many of the others are lost."""
    items = server.workload.items
    lost = refused = 0
    server.thaw()
    with concurrent.futures.ThreadPoolExecutor(_TOGETHER) as together:
        for number in range(times):
            chosen = [items[(number * _TOGETHER + place) % len(items)] for place in range(_TOGETHER)]
            broken = number % _TOGETHER
            picture = chosen[broken]
            assert isinstance(picture, bytes)
            chosen[broken] = picture[: len(picture) // 2]
            requests = [server.contestant.request(server.workload, server.variant, item) for item in chosen]
            statuses = list(together.map(lambda request: _status(server.port, request), requests))
            refused += 400 <= statuses[broken] < 500
            lost += sum(status != 200 for place, status in enumerate(statuses) if place != broken)
    server.freeze()
    return {
        "benchmark": "serving_poison",
        "contestant": server.name,
        "model": server.workload.name,
        "variant": server.variant,
        "good": times * (_TOGETHER - 1),
        "lost": lost,
        "broken": times,
        "answered_4xx": refused,
    }


def rest(settings: Mapping[str, str], folder: Path) -> Record:
    """Ours with its two small demo models: memory after some answers, and what it does when nobody asks."""
    service = _Service(Ours(settings), EMBEDDED_BUNDLES, folder)
    try:
        for model in EMBEDDED_BUNDLES.iterdir():
            for example in json.loads((model / "1" / GOLDEN).read_text()):
                item = GoldenExample.model_validate(example).item
                status, _ = ask(service.port, own_request(item))
                assert status == 200, f"{model.name} answered {status}"
        time.sleep(2)
        before = service.processes.cpu_seconds()
        time.sleep(_IDLE_SECONDS)
        used = service.processes.cpu_seconds() - before
        return {
            "benchmark": "serving_rest",
            "contestant": "ours",
            "idle_cpu": used / _IDLE_SECONDS,
            "pss_bytes": service.processes.pss_bytes(),
            "processes": len(service.processes.all()),
        }
    finally:
        service.processes.end()


def overload(server: Server, seconds: int, times: int = 10) -> Record:
    """Ours at its best, then asked so many times as often, then at its best again."""
    server.thaw()
    try:
        load(server.port, server.requests, _CONNECTIONS, 1)
        before = load(server.port, server.requests, _CONNECTIONS, seconds)
        with Watch(server.port, seconds) as watch:
            requests = _ever_others(server.workload.items)
            flooded = flood(server.port, requests, before.per_second * times, seconds, 1024, begun=watch.begin)
        after = load(server.port, server.requests, _CONNECTIONS, seconds)
    finally:
        server.freeze()
    peak = (before.per_second + after.per_second) / 2
    return {
        "benchmark": "serving_overload",
        "contestant": server.name,
        "model": server.workload.name,
        "asked_per_second": before.per_second * times,
        "goodput_to_peak": flooded.good_in_time / flooded.seconds / peak,
        "peak_after_to_before": after.per_second / before.per_second,
        "refusals": len(flooded.refused_ms),
        **_percentiles("refusal", flooded.refused_ms),
        **_percentiles("good", flooded.good_ms),
        **_percentiles("readyz", watch.taken_ms),
        "readyz_failures": watch.failures,
        **_percentiles("sent_late", flooded.late_ms),
        "others": len(flooded.other_statuses) + flooded.broken,
        "unsent": flooded.unsent,
        "client_cores": flooded.client_cores,
        "client_niceness": flooded.niceness,
    }


def reload(workload: Workload, settings: Mapping[str, str], folder: Path, seconds: int) -> Record:
    """Ours under load, calmly at first, then while a new version takes the place of the old one again and again."""
    repository = folder / "repository"
    shutil.copytree(workload.bundle, repository / "labels/1")
    service = _Service(Ours({**settings, "admin": "true"}), repository, folder / "service")
    try:
        requests = folder / "requests"
        write_requests([own_request(item) for item in workload.items], requests)
        load(service.port, requests, _TOGETHER, 1)
        calm = load(service.port, requests, _TOGETHER, seconds)
        running = begin(service.port, requests, _TOGETHER, seconds)
        end = time.monotonic() + seconds
        versions = 0
        for version in itertools.count(2):
            if time.monotonic() > end - 1:
                break
            _replace(service.port, workload, repository / "labels", version)
            versions += 1
            time.sleep(0.5)
        changing = finish(running)
    finally:
        service.processes.end()
    return {
        "benchmark": "serving_reload",
        "contestant": "ours",
        "model": workload.name,
        "versions": versions,
        "errors": changing.errors,
        "p99_to_calm": changing.p99_ms / calm.p99_ms,
        "calm_p99_ms": calm.p99_ms,
        "p99_ms": changing.p99_ms,
        "per_second_to_calm": changing.per_second / calm.per_second,
    }


class _Service:
    """Our service on a folder, ready."""

    def __init__(self, ours: Ours, models: Path, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.port = free_port()
        launch = ours.launch_on(models, self.port, folder)
        self.processes = Processes(launch.command, launch.environment, launch.folder, folder / "log")
        deadline = time.monotonic() + _READY_SECONDS
        while _status(self.port, b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n") != 200:
            if not self.processes.alive or time.monotonic() > deadline:
                self.processes.end()
                raise RuntimeError(f"the service does not start: {self.processes.tail()}")
            time.sleep(0.1)


def _replace(port: int, workload: Workload, model: Path, version: int) -> None:
    """Put a new version beside the old one, have it loaded, and the old one unloaded."""
    shutil.copytree(workload.bundle, model / f".{version}")
    (model / f".{version}").rename(model / str(version))
    for action, which in (("load", version), ("unload", version - 1)):
        body = json.dumps({"parameters": {"version": str(which)}}).encode()
        status, answer = ask(port, post(f"/v2/repository/models/labels/{action}", body))
        assert status == 200, f"{action} of version {which}: {status} {answer!r}"
    shutil.rmtree(model / str(version - 1))


def _ever_others(items: Sequence[Item]) -> Iterator[bytes]:
    """Requests no two of which are the same: what is in flight twice, ours would compute once."""
    for number, item in enumerate(itertools.cycle(items)):
        # What follows the end of a JPEG file is not looked at.
        yield own_request(f"{item} {number}" if isinstance(item, str) else b"%b%d" % (item, number))


def _status(port: int, request: bytes) -> int:
    try:
        return ask(port, request)[0]
    except (OSError, http.client.HTTPException):
        return 0


def _percentiles(name: str, values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    p50, p99, longest = np.percentile(values, [50, 99, 100])
    return {f"{name}_p50_ms": float(p50), f"{name}_p99_ms": float(p99), f"{name}_max_ms": float(longest)}
