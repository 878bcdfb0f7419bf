"""The session process is killed, stopped and starved; callers notice a pause at most."""

import asyncio
import contextlib
import gc
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from model.bundle import Bundle
from model.session import LET_THE_MODEL_DECIDE
from service.app import create_app
from service.repository import NothingToServe
from service.session_host import SessionHost
from service.session_link import SessionFailed, SessionProcessDied
from service.settings import Settings

SENTENCE = "The group sent phishing mails to the staff of two banks and encrypted their disks."
NUMBERS = itertools.count()
REPOSITORY_ROOT = Path(__file__).parents[2]


def _children(pid):
    """Processes of a process, by their command lines."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid:
                found[int(folder.name)] = (folder / "cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _session_process(service):
    [pid] = [pid for pid, command in _children(service.process.pid).items() if "session_process" in command]
    return pid


def _ask(service, **options):
    answer = httpx.post(f"{service.url}/predict", json={"text": f"{SENTENCE} {next(NUMBERS)}", **options}, timeout=60)
    return answer.status_code


def test_it_is_killed_again_and_again_under_load_and_no_request_is_lost(serve):
    service = serve(max_batch_rows=4)
    statuses = []

    async def caller(client, until):
        while time.monotonic() < until:
            answer = await client.post("/predict", json={"text": f"{SENTENCE} {next(NUMBERS)}"})
            statuses.append(answer.status_code)

    async def killer():
        killed = set()
        for _ in range(3):
            await asyncio.sleep(0.5)
            killed.add(_session_process(service))
            os.kill(max(killed), signal.SIGKILL)
            async with asyncio.timeout(30):
                while not set(_children(service.process.pid)) - killed:
                    await asyncio.sleep(0.05)
        return killed

    async def load():
        async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
            killing = asyncio.create_task(killer())
            callers = [asyncio.create_task(caller(client, time.monotonic() + 6)) for _ in range(8)]
            await asyncio.gather(*callers)
            return await killing

    assert len(asyncio.run(load())) == 3
    assert len(statuses) > 50
    assert set(statuses) == {200}
    # One that is killed while it loads the models has not begun yet.
    assert len(re.findall("died, starting another|died while it loaded", service.log.read_text())) == 3
    assert "Traceback" not in service.log.read_text()


def test_one_that_hangs_is_replaced_and_its_batch_computed(serve):
    service = serve(batch_seconds=3)
    assert _ask(service) == 200
    os.kill(_session_process(service), signal.SIGSTOP)
    started = time.monotonic()
    assert _ask(service) == 200
    assert 2.5 < time.monotonic() - started < 30
    assert "did not answer in time: killing it" in service.log.read_text()


@pytest.fixture
def host(others) -> Iterator[SessionHost]:
    one = SessionHost(call_seconds=8)
    yield one
    one.close()


@pytest.fixture
def others() -> set[int]:
    """Session processes of this one that other tests still need."""
    return _own_processes()


SETTINGS = Settings().load_settings(["cpu"])


def _own_processes():
    return {pid for pid, command in _children(os.getpid()).items() if "session_process" in command}


def _process(others):
    [pid] = _own_processes() - others
    return pid


async def _infer(model, items):
    return await model.infer(items, [LET_THE_MODEL_DECIDE] * len(items))


def test_one_that_does_not_even_read_is_replaced(host, others, bundles):
    """What is sent is larger than what the socket holds."""
    model = host.load(Bundle.open(bundles / "image-demo" / "1"), SETTINGS)
    pictures = [model.facts.golden_examples[0].item + bytes(100_000)] * 16

    async def ask():
        os.kill(_process(others), signal.SIGSTOP)
        with pytest.raises(SessionProcessDied):
            await _infer(model, pictures)
        outcomes = (await _infer(model, pictures)).outcomes
        host.close()
        return outcomes

    started = time.monotonic()
    assert all(outcome is None or outcome.labels for outcome in asyncio.run(ask()))
    assert time.monotonic() - started < 30
    assert _own_processes() <= others


def test_a_session_that_nobody_holds_is_forgotten_and_is_not_loaded_again(host, others, bundles):
    images, texts = (host.load(Bundle.open(bundles / name / "1"), SETTINGS) for name in ("image-demo", "text-demo"))
    files = f"/proc/{os.getpid()}/fd"
    before = len(os.listdir(files))
    ring = [images]
    ring.append(ring)
    del images, ring
    gc.collect()  # a ring is freed in the midst of anything
    os.kill(_process(others), signal.SIGKILL)

    async def ask():
        with contextlib.suppress(SessionProcessDied):  # where it had been sent before the death was seen
            await _infer(texts, ["rain"])
        inferred = await _infer(texts, ["rain"])
        host.close()
        return inferred

    assert len(asyncio.run(ask()).outcomes) == 1
    deadline = time.monotonic() + 20
    while len(os.listdir(files)) >= before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(os.listdir(files)) < before


def test_a_session_that_cannot_be_loaded_again_takes_no_other_down(host, others, bundles, tmp_path, caplog):
    shutil.copytree(bundles / "text-demo" / "1", tmp_path / "text")
    text = host.load(Bundle.open(tmp_path / "text"), SETTINGS)
    image = host.load(Bundle.open(bundles / "image-demo" / "1"), SETTINGS)
    picture = image.facts.golden_examples[0].item
    # The file is held open: what is written into it is what the next process will read.
    (tmp_path / "text" / "model.onnx").write_bytes(b"no graph")
    os.kill(_process(others), signal.SIGKILL)

    async def ask():
        with contextlib.suppress(SessionProcessDied):  # where it had been sent before the death was seen
            await _infer(image, [picture])
        assert len((await _infer(image, [picture])).outcomes) == 1
        with pytest.raises(SessionFailed):
            await _infer(text, ["rain"])
        host.close()

    asyncio.run(ask())
    assert "could not be loaded again" in caplog.text


def test_a_module_in_the_folder_where_it_is_started_is_not_taken_for_ours(tmp_path, bundles):
    (tmp_path / "model.py").write_text("raise SystemExit('not ours')")
    code = f"""
import sys
sys.path = [entry for entry in sys.path if entry] + [{str(REPOSITORY_ROOT)!r}]
from model.bundle import Bundle
from model.session import LET_THE_MODEL_DECIDE
from service.session_host import SessionHost
from service.settings import Settings
host = SessionHost(60)
settings = Settings().load_settings(["cpu"])
print(len(host.load(Bundle.open({str(bundles / "text-demo" / "1")!r}), settings).facts.golden_examples))
host.close()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "5\n"), done.stderr


def test_a_start_that_fails_leaves_no_process(others, tmp_path):
    async def start():
        async with create_app(Settings(models=tmp_path)).router.lifespan_context(None):
            pytest.fail("there is nothing to serve")

    with pytest.raises(NothingToServe):
        asyncio.run(start())
    assert _own_processes() <= others


def test_models_whose_folders_are_gone_are_loaded_into_the_next_one(serve, bundles, tmp_path):
    models = tmp_path / "models"
    shutil.copytree(bundles, models)
    service = serve(models=models)
    assert _ask(service) == 200
    shutil.rmtree(models)
    os.kill(_session_process(service), signal.SIGKILL)
    assert _ask(service) == 200


@pytest.mark.parametrize(
    ("module", "foreign"),
    [
        ("service.session_process", {"fastapi", "uvicorn", "torch", "prometheus_client"}),
        ("service.server", {"onnxruntime", "PIL", "tokenizers", "soundfile", "torch"}),
    ],
)
def test_it_knows_nothing_of_http_and_the_service_nothing_of_decoders_and_the_runtime(module, foreign):
    code = f"import sys; import {module}; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not foreign & set(modules)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_the_service_however_that_ends(how, tmp_path):
    log = tmp_path / "log"
    with log.open("w") as stream:
        command = [sys.executable, "-m", "labelset", "serve", "--port", "0"]
        service = subprocess.Popen(command, stderr=stream, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while not re.search("startup complete", log.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        [child] = _children(service.pid)
        service.send_signal(how)
        service.wait(timeout=30)
        while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not Path(f"/proc/{child}").exists()
        assert "Traceback" not in log.read_text()
    finally:
        service.kill()
        service.wait()
