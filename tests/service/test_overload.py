"""More requests than the service can answer: refused at once, and nothing else suffers."""

import asyncio
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import httpx
import psutil
import pytest

SENTENCE = "The group sent phishing mails to the staff of two banks and encrypted their disks."
NUMBERS = itertools.count()


def _texts(count, sentences):
    """Texts that nobody has sent before: equal ones would be computed once."""
    return {"texts": [f"{SENTENCE} {next(NUMBERS)}" * sentences for _ in range(count)]}


def test_a_burst_is_answered_or_refused_at_once_and_the_next_request_is_served(serve):
    service = serve(max_waiting=8, max_batch_size=8, max_batch_rows=4)

    async def burst():
        async with httpx.AsyncClient(
            base_url=service.url, timeout=60, limits=httpx.Limits(max_connections=100)
        ) as client:
            return await asyncio.gather(*(client.post("/predict", json=_texts(8, 4)) for _ in range(100)))

    answers = asyncio.run(burst())
    refused = [answer for answer in answers if answer.status_code == 503]
    answered = [answer for answer in answers if answer.status_code == 200]
    assert len(refused) + len(answered) == 100
    assert refused
    assert answered
    for answer in refused:
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["error"]["code"] == "queue_full"
        assert answer.json()["error"]["detail"] == {"limit": 8}
    assert all(len(answer.json()["predictions"]) == 8 for answer in answered)
    assert all("error" not in item for answer in answered for item in answer.json()["predictions"])
    started = time.monotonic()
    assert httpx.post(f"{service.url}/predict", json={"text": SENTENCE}, timeout=20).status_code == 200
    assert time.monotonic() - started < 5
    assert "Traceback" not in service.log.read_text()


def test_who_has_left_is_not_computed(serve):
    service = serve(max_waiting=2000, max_batch_rows=1)

    async def one():
        async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
            started = time.monotonic()
            assert (await client.post("/predict", json=_texts(32, 4))).status_code == 200
            return time.monotonic() - started

    async def leave():
        async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
            asked = [asyncio.create_task(client.post("/predict", json=_texts(32, 4))) for _ in range(50)]
            await asyncio.sleep(1)
            assert not all(task.done() for task in asked)
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    asyncio.run(one())
    alone = asyncio.run(one())
    asyncio.run(leave())
    after = asyncio.run(one())
    # Behind fifty requests that nobody waits for it would take fifty times as long.
    assert after < 15 * alone + 1
    assert "Traceback" not in service.log.read_text()


@pytest.fixture
def started(tmp_path):
    """Start a service of one's own to stop, with settings; gives the process, its address and its log."""
    processes = []

    def start(**settings):
        log = tmp_path / "log"
        variables = {f"LABELSET_{name.upper()}": str(value) for name, value in settings.items()}
        with log.open("w") as stream:
            command = [sys.executable, "-m", "labelset", "serve", "--port", "0"]
            processes.append(subprocess.Popen(command, stderr=stream, env={**os.environ, **variables}))
        deadline = time.monotonic() + 60
        while "startup complete" not in log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        host, port = re.search(r"listening on http://(\S+):(\d+)", log.read_text()).groups()
        return processes[-1], (host, int(port)), log

    yield start
    for process in processes:
        process.kill()
        process.wait()


def _sent(address, body):
    """A connection on which a request is on its way."""
    connection = socket.create_connection(address, timeout=60)
    content = json.dumps(body).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
    connection.sendall(head.encode() + b"\r\n\r\n" + content)
    return connection


def _answer(connection):
    """Status and body of the answer on a connection that the service closes after it."""
    with connection, connection.makefile("rb") as stream:
        head, _, body = stream.read().partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def test_what_has_been_sent_when_the_service_must_stop_is_answered(started):
    process, address, log = started(leave_seconds=3, max_waiting=1000)
    connections = [_sent(address, {"text": f"{SENTENCE} {number}"}) for number in range(100)]
    process.send_signal(signal.SIGTERM)
    while httpx.get("http://{}:{}/readyz".format(*address)).status_code == 200:
        time.sleep(0.02)
    late = httpx.post("http://{}:{}/predict".format(*address), json={"text": SENTENCE})  # while it leaves
    assert (late.status_code, late.headers["connection"]) == (200, "close")
    assert {_answer(connection)[0] for connection in connections} == {200}
    assert process.wait(timeout=30) == -signal.SIGTERM
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    assert "Traceback" not in log.read_text()


def test_what_is_not_answered_in_time_when_the_service_must_stop_is_told_so(slow_models, started):
    process, address, log = started(leave_seconds=3, drain_seconds=1, max_batch_rows=1)
    connections = [_sent(address, _texts(8, 1)) for _ in range(30)]
    process.send_signal(signal.SIGTERM)
    answers = [_answer(connection) for connection in connections]
    assert process.wait(timeout=30) == -signal.SIGTERM
    refused = [(status, content["error"]["code"]) for status, content in answers if status != 200]
    assert set(refused) == {(503, "not_ready")}
    assert "Traceback" not in log.read_text()


def test_the_same_input_of_many_callers_is_computed_once(serve):
    service = serve(max_batch_rows=1)

    async def ask(bodies):
        async with httpx.AsyncClient(
            base_url=service.url, timeout=60, limits=httpx.Limits(max_connections=100)
        ) as client:
            return await asyncio.gather(*(client.post("/predict", json=body) for body in bodies))

    def labels(answers):
        return [answer.json()["predictions"][0]["labels"] for answer in answers]

    def metric(pattern):
        [number] = re.findall(rf"(?m)^{pattern} (\S+)", httpx.get(f"{service.url}/metrics").text)
        return float(number)

    async def ask_while_it_is_under_way(bodies):
        [session] = psutil.Process(service.process.pid).children()
        session.suspend()
        try:
            asked = asyncio.create_task(ask(bodies))
            async with asyncio.timeout(60):
                while await asyncio.to_thread(metric, "labelset_open_inputs") < len(bodies):
                    await asyncio.sleep(0.05)
        finally:
            session.resume()
        return await asked

    long = SENTENCE * 200
    [alone] = asyncio.run(ask([{"text": long}]))
    batches = r'labelset_batch_rows_count\{model="text-demo".*\}'
    before = metric(batches)
    same = asyncio.run(ask_while_it_is_under_way([{"text": long}] * 60))
    assert labels(same) == labels([alone]) * 60
    assert metric(batches) - before == 1
    # They tell how long they have waited for the work, which others may have begun.
    for answer in same:
        *stages, (total, whole_ms) = re.findall(r"(\w+);dur=([\d.]+)", answer.headers["server-timing"])
        assert total == "total"
        assert "infer" in dict(stages)
        assert sum(float(part_ms) for _, part_ms in stages) <= float(whole_ms) + 0.01 * len(stages)
    before = metric(batches)
    asyncio.run(ask([{"text": long, "label_count": count} for count in range(10)]))
    assert metric(batches) - before == 10
