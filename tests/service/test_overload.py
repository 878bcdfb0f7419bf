"""More requests than the service can answer: refused at once, and nothing else suffers."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time

import httpx

SENTENCE = "The group sent phishing mails to the staff of two banks and encrypted their disks."


def test_a_burst_is_answered_or_refused_at_once_and_the_next_request_is_served(serve):
    service = serve(max_waiting=8, max_batch_size=8, max_batch_rows=4)
    body = {"texts": [f"{SENTENCE} {number}" * 4 for number in range(8)]}

    async def burst():
        async with httpx.AsyncClient(
            base_url=service.url, timeout=60, limits=httpx.Limits(max_connections=100)
        ) as client:
            return await asyncio.gather(*(client.post("/predict", json=body) for _ in range(100)))

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
    body = {"texts": [f"{SENTENCE} {number}" * 4 for number in range(32)]}

    async def one():
        async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
            started = time.monotonic()
            assert (await client.post("/predict", json=body)).status_code == 200
            return time.monotonic() - started

    async def leave():
        async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
            asked = [asyncio.create_task(client.post("/predict", json=body)) for _ in range(50)]
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


def test_what_is_not_answered_in_time_when_the_service_must_stop_is_told_so(tmp_path):
    log = tmp_path / "log"
    settings = {"LABELSET_MAX_WAITING": "10000", "LABELSET_MAX_BATCH_ROWS": "1", "LABELSET_DRAIN_SECONDS": "1"}
    body = {"texts": [f"{SENTENCE} {number}" * 20 for number in range(32)]}

    async def ask(url, process):
        async with httpx.AsyncClient(base_url=url, timeout=60, limits=httpx.Limits(max_connections=100)) as client:
            while (await client.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.05)
            asked = [asyncio.create_task(client.post("/predict", json=body)) for _ in range(100)]
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            process.send_signal(signal.SIGTERM)
            return await asyncio.gather(*asked)

    with (
        log.open("w") as stream,
        subprocess.Popen(
            [sys.executable, "-m", "labelset", "serve", "--port", "0"], stderr=stream, env={**os.environ, **settings}
        ) as process,
    ):
        try:
            deadline = time.monotonic() + 60
            while not (listening := re.search(r"listening on (\S+)", log.read_text())):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            answers = asyncio.run(ask(listening[1], process))
            assert process.wait(timeout=30) == -signal.SIGTERM
        finally:
            process.kill()
    refused = [answer for answer in answers if answer.status_code != 200]
    assert refused
    assert {(answer.status_code, answer.json()["error"]["code"]) for answer in refused} == {(503, "not_ready")}
    assert "Traceback" not in log.read_text()
