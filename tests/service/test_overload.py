"""More requests than the service can answer: refused at once, and nothing else suffers."""

import asyncio
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
