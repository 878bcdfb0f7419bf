"""The log of a service: one line for each request, with its id, and nothing of what was in it."""

import asyncio
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta

import httpx
import pytest
import uvicorn

from service.app import create_app
from service.logs import AccessLog, JsonFormatter, TextFormatter
from service.record import RequestRecord, take_in_hand
from service.settings import InvalidSettings, Settings

SECRET = "correct-horse-battery-staple"


def log_of_a_service(log_format: str, *requests: tuple[str, str, dict]) -> str:
    """What `labelset serve` writes while it answers some requests, all of it."""
    command = [sys.executable, "-m", "labelset", "serve", "--port", "0"]
    environment = {**os.environ, "LABELSET_LOG_FORMAT": log_format}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stderr is not None
            first = process.stderr.readline()
            [url] = re.findall(r"listening on (http://[\d.:]+)", first)
            with httpx.Client(base_url=url, timeout=60) as client:
                client.get("/readyz")
                for method, path, what in requests:
                    client.request(method, path, **what)
            process.send_signal(signal.SIGTERM)
            return first + process.stderr.read()
        finally:
            process.kill()


REQUESTS = (
    ("POST", "/predict?label_count=2", {"json": {"text": SECRET}, "headers": {"x-request-id": "good"}}),
    ("POST", f"/predict?{SECRET}=1", {"json": {"text": [SECRET]}, "headers": {"x-request-id": "bad"}}),
    ("POST", "/predict", {"files": {"files": (f"{SECRET}.png", SECRET.encode())}, "headers": {"x-request-id": "no"}}),
    ("GET", "/nope%0AINFO:%20forged", {"headers": {"x-request-id": "path"}}),
)


def test_json_lines_say_what_came_of_each_request():
    started = datetime.now().astimezone()
    text = log_of_a_service("json", *REQUESTS)
    lines = [json.loads(line) for line in text.splitlines()]
    assert all(line.keys() >= {"time", "level", "logger", "message"} for line in lines)
    for line in lines:
        assert started - timedelta(seconds=1) < datetime.fromisoformat(line["time"]) < started + timedelta(minutes=2)
        assert line["time"].endswith("+00:00")
    access = {line["request_id"]: line for line in lines if line["logger"] == "labelset.access"}
    facts = [
        [access[name].get(key) for key in ("method", "path", "status", "model", "code")]
        for name in ("good", "bad", "no", "path")
    ]
    assert facts == [
        ["POST", "/predict", 200, "text-demo/1", None],
        ["POST", "/predict", 422, None, "invalid_request"],
        ["POST", "/predict", 422, "image-demo/1", "not_an_image"],
        ["GET", "/nope%0AINFO%3A%20forged", 404, None, "not_found"],
    ]
    assert all(line["duration_ms"] > 0 for line in access.values())
    assert len(access) == len([line for line in lines if line["logger"] == "labelset.access"]) == 5
    assert SECRET not in text


def test_lines_for_people_have_the_id_at_their_end():
    text = log_of_a_service("text", *REQUESTS)
    access = [line for line in text.splitlines() if re.search(r"\[(good|bad|no|path)\]$", line)]
    patterns = [
        r"INFO:     POST /predict 200 [\d.]+ ms text-demo/1 \[good\]",
        r"INFO:     POST /predict 422 [\d.]+ ms invalid_request \[bad\]",
        r"INFO:     POST /predict 422 [\d.]+ ms image-demo/1 not_an_image \[no\]",
        r"INFO:     GET /nope%0AINFO%3A%20forged 404 [\d.]+ ms not_found \[path\]",
    ]
    assert all(re.fullmatch(pattern, line) for pattern, line in zip(patterns, access, strict=True))
    assert SECRET not in text


def test_the_trace_of_what_nobody_foresaw_is_one_json_line_with_the_id():
    app = create_app(Settings())

    @app.get("/boom")
    async def boom() -> None:
        raise RuntimeError("nobody foresaw this")

    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_config=None, access_log=False))
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("uvicorn.error")
    logger.addHandler(handler)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        answer = httpx.get(f"http://127.0.0.1:{port}/boom", headers={"x-request-id": "mine"})
        assert (answer.status_code, answer.headers["x-request-id"]) == (500, "mine")
    finally:
        server.should_exit = True
        thread.join(20)
        logger.removeHandler(handler)
    [line] = [json.loads(line) for line in stream.getvalue().splitlines() if "nobody foresaw" in line]
    assert line["level"] == "ERROR"
    assert line["request_id"] == "mine"
    assert line["exception"].splitlines()[-1] == "RuntimeError: nobody foresaw this"


def test_refusals_in_masses_are_one_line_a_second(caplog):
    caplog.set_level(logging.INFO, "labelset.access")

    def lines():
        """Messages, and what stands in the lines of JSON."""
        texts = "\n".join(line.getMessage() for line in caplog.records).splitlines()
        facts = "\n".join(map(JsonFormatter().format, caplog.records)).splitlines()
        caplog.clear()
        return list(zip(texts, map(json.loads, facts), strict=True))

    async def refuse():
        log = AccessLog()

        def write(count, **what):
            for _ in range(count):
                record = RequestRecord(method="POST", path="/predict", **what)
                take_in_hand(record)
                log.write(record)

        write(30, status=503, error_code="queue_full")
        write(20, status=200)
        write(20, status=401, error_code="unauthorized")
        await asyncio.sleep(0.2)
        apart = [facts["status"] for _, facts in lines()]
        assert apart == [503] * 10 + [200] * 20 + [401] * 20
        await asyncio.sleep(1.1)
        [(message, facts)] = lines()
        assert message == "20 more refused with queue_full"
        assert (facts["code"], facts["refusals"], facts.get("status")) == ("queue_full", 20, None)
        write(11, status=503, error_code="queue_full")
        assert len(lines()) == 1
        log.close()  # as at the end of the service
        log.close()
        assert [facts["code"] for _, facts in lines()] == ["queue_full"] * 10
        await asyncio.sleep(0.2)
        assert lines() == []

    asyncio.run(refuse())


def test_a_line_is_written_at_once_and_those_after_it_together(caplog):
    caplog.set_level(logging.INFO, "labelset.access")

    def lines():
        texts = [TextFormatter().format(line) for line in caplog.records]
        caplog.clear()
        return texts

    async def write():
        log = AccessLog()

        def record(number):
            return RequestRecord(method="GET", path=f"/{number}", request_id=f"id-{number}", status=200, started=0.0)

        log.write(record(1))
        assert lines() == ["INFO:     GET /1 200 0.0 ms [id-1]"]
        log.write(record(2))
        log.write(record(3))
        assert lines() == []
        await asyncio.sleep(0.2)
        assert lines() == ["INFO:     GET /2 200 0.0 ms [id-2]\nINFO:     GET /3 200 0.0 ms [id-3]"]
        await asyncio.sleep(0.2)
        log.write(record(4))
        assert lines() == ["INFO:     GET /4 200 0.0 ms [id-4]"]
        log.write(record(5))
        log.close()
        assert lines() == ["INFO:     GET /5 200 0.0 ms [id-5]"]

    asyncio.run(write())


def test_another_format_is_refused(monkeypatch):
    monkeypatch.setenv("LABELSET_LOG_FORMAT", "xml")
    with pytest.raises(InvalidSettings, match=r"LABELSET_LOG_FORMAT: .*'text' or 'json', got 'xml'"):
        Settings()
