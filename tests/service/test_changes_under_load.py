"""Versions come, go and break while several callers never stop asking: a real service, and not one failed request."""

import threading
from collections import Counter
from pathlib import Path

import httpx
import pytest

SENTENCE = "The group sent phishing mails to the staff of two banks."
ROUNDS = 20


class Callers:
    """Threads that ask until they are told to stop, and what they were told."""

    def __init__(self, url: str, paths: list[str]) -> None:
        self.answers: Counter[tuple[str, int, str]] = Counter()
        self.label_sets: set[tuple[str, ...]] = set()
        self.lost: list[str] = []
        self._url = url
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=[path]) for path in paths]

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, path: str) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while not self._over.is_set():
                try:
                    answer = client.post(path, json={"text": SENTENCE})
                except httpx.TransportError as error:
                    self.lost.append(repr(error))
                    continue
                body = answer.json()
                with self._lock:
                    if answer.status_code == 200:
                        [prediction] = body["predictions"]
                        self.label_sets.add(tuple(label["label"] for label in prediction["labels"]))
                    version = body.get("model", body)["version"] if answer.status_code == 200 else answer.text
                    self.answers[path, answer.status_code, version] += 1


def resident_bytes(process_id: int) -> int:
    [line] = [line for line in Path(f"/proc/{process_id}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory of a process from /proc")
def test_no_request_fails_while_versions_are_loaded_replaced_broken_and_unloaded(serve, tmp_path, write_version):
    (tmp_path / "mine").mkdir()
    write_version(tmp_path / "mine" / "1", "first")
    service = serve(models=tmp_path, admin=True, watch_seconds=0.3)
    newest, first = "/predict", "/predict?model=mine&version=1"
    body = {"parameters": {"version": "2"}}
    resident = []
    with (
        Callers(service.url, [newest, newest, newest, first]) as callers,
        httpx.Client(base_url=f"{service.url}/v2/repository/models/mine/", timeout=60) as admin,
    ):
        for number in range(ROUNDS):
            write_version(tmp_path / "mine" / "2", f"second, {number}")
            assert admin.post("load", json=body).status_code == 200
            write_version(tmp_path / "mine" / "2", f"second, {number}, corrected")
            assert admin.post("load", json=body).status_code == 200
            write_version(tmp_path / "mine" / "2", f"second, {number}, broken", golden="wrong")
            assert admin.post("load", json=body).status_code == 422
            card = httpx.get(f"{service.url}/models/mine").json()["card"]
            assert card == f"second, {number}, corrected"
            assert admin.post("unload", json=body).status_code == 200
            resident.append(resident_bytes(service.process.pid))
    assert callers.lost == []
    assert callers.answers.keys() == {(newest, 200, "1"), (newest, 200, "2"), (first, 200, "1")}
    assert len(callers.label_sets) == 1
    assert "Traceback" not in service.log.read_text()
    # Each round makes three sessions of a megabyte and more: what kept them would have grown by 45 MB.
    assert sum(resident[-5:]) / 5 - sum(resident[:5]) / 5 < 20 * 2**20
