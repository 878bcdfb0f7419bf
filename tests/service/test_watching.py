"""A service that follows its folder: every moment, or on SIGHUP."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import httpx
import pytest

from service.access.keys import new_key, write_keys

SENTENCE = "The group sent phishing mails to the staff of two banks."


@pytest.fixture
def root(tmp_path, write_version):
    (tmp_path / "mine").mkdir()
    write_version(tmp_path / "mine" / "1", "first")
    return tmp_path


def versions(url):
    return [model["versions"] for model in httpx.get(f"{url}/models").json()["models"]]


def becomes(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_half_copied_folder_is_refused_once_and_served_when_the_copy_is_complete(serve, root, write_version):
    service = serve(models=root, watch_seconds=0.1)
    folder = write_version(root / "mine" / "2", "second", graph="cut")
    becomes(lambda: "refused mine/2 (bundle_checksum_mismatch" in service.log.read_text())
    time.sleep(1.5)
    assert service.log.read_text().count("refused mine/2") == 1
    answer = httpx.post(f"{service.url}/predict", json={"text": SENTENCE})
    assert answer.json()["model"]["version"] == "1"
    with (folder / "model.onnx").open("ab") as stream:
        content = (root / "mine" / "1" / "model.onnx").read_bytes()
        stream.write(content[len(content) // 2 :])
    becomes(lambda: versions(service.url) == [["2", "1"]])
    assert httpx.get(f"{service.url}/models/mine").json()["card"] == "second"
    shutil.rmtree(root / "mine" / "1")
    becomes(lambda: versions(service.url) == [["2"]])


def test_unless_it_is_told_to_a_service_looks_again_only_on_sighup(serve, root, write_version):
    service = serve(models=root)
    write_version(root / "mine" / "2", "second")
    time.sleep(1.5)
    assert versions(service.url) == [["1"]]
    service.process.send_signal(signal.SIGHUP)
    becomes(lambda: versions(service.url) == [["2", "1"]])
    assert service.process.poll() is None


def test_on_sighup_a_revoked_key_opens_nothing_any_more(serve, bundles, tmp_path):
    (kept, kept_secret), (revoked, revoked_secret) = new_key("kept"), new_key("revoked")
    write_keys(tmp_path / "keys.json", [kept, revoked])
    service = serve(models=bundles, keys_file=tmp_path / "keys.json")

    def statuses():
        keys = (kept_secret, revoked_secret)
        return [httpx.get(f"{service.url}/models", headers={"x-api-key": key}).status_code for key in keys]

    assert statuses() == [200, 200]
    write_keys(tmp_path / "keys.json", [kept])
    service.process.send_signal(signal.SIGHUP)
    becomes(lambda: statuses() == [200, 401])


def test_a_service_in_a_terminal_watches_as_well_and_ends_when_the_terminal_is_closed(root, tmp_path, write_version):
    ours, its = os.openpty()
    log = tmp_path / "log"
    command = [sys.executable, "-m", "labelset", "serve", str(root), "--port", "0", "--watch-seconds", "0.1"]

    def as_a_shell_would() -> None:
        # Under nohup all children ignore it.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

    with (
        log.open("w") as stream,
        subprocess.Popen(command, stdin=its, stderr=stream, preexec_fn=as_a_shell_would) as process,
    ):
        try:
            becomes(lambda: "Application startup complete" in log.read_text())
            url = re.search(r"listening on (\S+)", log.read_text())[1]
            write_version(root / "mine" / "2", "second")
            becomes(lambda: versions(url) == [["2", "1"]])
            process.send_signal(signal.SIGHUP)
            assert process.wait(timeout=20) == -signal.SIGHUP
        finally:
            process.kill()
            os.close(ours)
            os.close(its)
