"""Files: a disk that is full, and a repository that goes away, breaks or lies while it is served."""

import hashlib
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import httpx
import pytest

from service.access.keys import new_key, write_keys


@pytest.fixture
def repository(bundles, tmp_path) -> Path:
    return Path(shutil.copytree(bundles, tmp_path / "models"))


def _load(victim, name="text-demo"):
    return victim.client.post(f"/v2/repository/models/{name}/load")


def _wait_for(victim, words: str) -> None:
    deadline = time.monotonic() + 30
    while words not in victim.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_log_that_nobody_can_write_to_keeps_nobody_from_being_answered(start, log_format):
    victim = start(log=Path("/dev/full"), log_format=log_format)
    assert {victim.ask().status_code for _ in range(20)} == {200}
    assert victim.client.post("/predict", content=b"x").status_code == 415
    victim.process.send_signal(signal.SIGHUP)
    victim.require_unharmed(may_hold_traces=True)
    victim.process.terminate()
    assert victim.process.wait(timeout=30) == -signal.SIGTERM


def test_a_log_whose_reader_is_gone_keeps_nobody_from_being_answered(start):
    """As where the service writes into a pipe, and what stands at its end has died."""
    reading, writing = os.pipe()
    victim = start(log=Path(f"/proc/self/fd/{writing}"))
    os.close(writing)
    os.close(reading)
    assert {victim.ask().status_code for _ in range(20)} == {200}
    victim.require_unharmed(may_hold_traces=True)


def test_no_upload_needs_room_on_a_disk(start):
    """Here no file may have more than a kilobyte, as where the disk is full."""
    victim = start(command=["prlimit", "--fsize=1024"])
    answer = victim.client.post("/predict", files={"files": b"\xff\xd8\xff" + bytes(3_000_000)})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "image_corrupt")
    victim.require_unharmed()


DAMAGES = {
    "the folder is a file": lambda folder: (shutil.rmtree(folder), folder.write_text("no folder")),
    "the folder is a link to nowhere": lambda folder: (shutil.rmtree(folder), folder.symlink_to("nowhere")),
    "the folder is a link to itself": lambda folder: (shutil.rmtree(folder), folder.symlink_to(folder.name)),
    "the graph is cut off": lambda folder: os.truncate(folder / "model.onnx", 1000),
    "the graph is empty": lambda folder: os.truncate(folder / "model.onnx", 0),
    "the graph is a folder": lambda folder: ((folder / "model.onnx").unlink(), (folder / "model.onnx").mkdir()),
    "the graph never ends": lambda folder: _replace(folder / "model.onnx", lambda path: path.symlink_to("/dev/zero")),
    "the graph is a pipe": lambda folder: _replace(folder / "model.onnx", os.mkfifo),
    "the manifest is a pipe": lambda folder: _replace(folder / "bundle.json", os.mkfifo),
    "the manifest is deep": lambda folder: (folder / "bundle.json").write_text("[" * 200_000),
    "the manifest is no text": lambda folder: (folder / "bundle.json").write_bytes(b"\xff\xfe\x00"),
    "the golden examples are deep": lambda folder: _sealed(folder, "golden.json", b"[" * 200_000),
    "the tokenizer is deep": lambda folder: _sealed(folder, "tokenizer.json", b"[" * 200_000),
    "the tokenizer is no text": lambda folder: _sealed(folder, "tokenizer.json", b"\xff\xfe\x00"),
}


def _replace(path: Path, make) -> None:
    path.unlink()
    make(path)


def _sealed(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    (folder / "bundle.json").write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def served(bundles, tmp_path_factory, start_here):
    models = Path(shutil.copytree(bundles, tmp_path_factory.mktemp("served") / "models"))
    return start_here(models=models, admin=True), models


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_was_served_is_served_on_whatever_becomes_of_its_folder(served, damage, bundles):
    victim, models = served
    folder = models / "text-demo" / "1"
    try:
        damage(folder)
        started = time.monotonic()
        answer = _load(victim)
        assert answer.status_code == 422
        assert re.match(r"refused text-demo/1 \((bundle_\w+|invalid_tokenizer): ", answer.json()["error"])
        assert str(models) not in answer.text
        assert time.monotonic() - started < 20
        victim.require_unharmed()
    finally:
        shutil.rmtree(folder) if folder.is_dir() and not folder.is_symlink() else folder.unlink()
        shutil.copytree(bundles / "text-demo" / "1", folder)
    assert _load(victim).status_code == 200


def test_a_repository_that_is_gone_is_noticed_and_nothing_is_unloaded(start, repository, bundles):
    victim = start(models=repository, admin=True, watch_seconds=0.1)
    for gone in ("moved", "a file", "a link to itself"):
        repository.rename(repository.with_name("elsewhere"))
        if gone == "a file":
            repository.write_text("no folder")
        elif gone == "a link to itself":
            repository.symlink_to(repository.name)
        victim.process.send_signal(signal.SIGHUP)
        _wait_for(victim, "the models cannot be looked at, what is served stays as it is")
        assert victim.client.post("/v2/repository/index").status_code == 200
        assert _load(victim).status_code in (404, 422)
        victim.require_unharmed()
        repository.unlink(missing_ok=True)
        repository.with_name("elsewhere").rename(repository)
    assert _load(victim).status_code == 200
    victim.require_unharmed()


def test_keys_that_cannot_be_read_leave_those_in_force_that_were(start, tmp_path):
    file = tmp_path / "keys.json"
    key, secret = new_key("caller", scopes=("infer", "metrics"))
    write_keys(file, [key])
    victim = start(keys_file=file)
    victim.client.headers["x-api-key"] = secret
    for content in (b"", b'{"keys": [', b"[" * 200_000, b"\xff\xfe\x00", None):
        file.unlink()
        if content is None:
            file.symlink_to("nowhere")
        else:
            file.write_bytes(content)
        before = victim.log.read_text().count("ERROR")
        victim.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 30
        while victim.log.read_text().count("ERROR") == before:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert httpx.post(f"{victim.url}/predict", json={"text": "a"}).status_code == 401
        victim.require_unharmed()
