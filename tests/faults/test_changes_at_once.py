"""A hundred changes asked for at the same time, and the end of the service, while callers never stop asking."""

import asyncio
import os
import shutil
import signal
from collections import Counter

import httpx
import pytest


async def _keep_asking(client: httpx.AsyncClient, over: asyncio.Event, answers: Counter, name: str) -> None:
    number = 0
    while not over.is_set():
        number += 1
        answer = await client.post("/predict", json={"text": f"{name} says {number}.", "model": "text-demo"})
        answers[answer.status_code] += 1


def test_a_hundred_changes_at_once_each_get_an_answer_and_no_caller_notices(start, bundles, tmp_path):
    models = tmp_path / "models"
    shutil.copytree(bundles, models)
    shutil.copytree(bundles / "text-demo" / "1", models / "text-demo" / "2")
    victim = start(models=models, admin=True, watch_seconds=0.2)
    second = {"parameters": {"version": "2"}}
    unchanged, unknown = ("text-demo/load", {"parameters": {"version": "1"}}), ("nothing/load", {})
    # Most of them change nothing, since loading takes its time; they wait for those that do.
    some = [("text-demo/unload", second), ("text-demo/load", second), *[unchanged, unknown] * 9]

    async def change_and_ask():
        answers, over = Counter(), asyncio.Event()
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(base_url=victim.url, timeout=300, limits=limits) as client:
            callers = [asyncio.create_task(_keep_asking(client, over, answers, f"caller {n}")) for n in range(4)]
            asked = some * 5
            answered = await asyncio.gather(
                *(client.post(f"/v2/repository/models/{path}", json=body) for path, body in asked)
            )
            over.set()
            await asyncio.gather(*callers)
            return answers, Counter(
                (path, answer.status_code) for (path, _), answer in zip(asked, answered, strict=True)
            )

    answers, changed = asyncio.run(change_and_ask())
    assert answers.keys() == {200}
    assert changed == {("text-demo/unload", 200): 5, ("text-demo/load", 200): 50, ("nothing/load", 404): 45}
    index = victim.client.post("/v2/repository/index").json()
    assert [entry["name"] for entry in index] == ["image-demo", "text-demo", "text-demo"]
    victim.require_unharmed()


@pytest.mark.parametrize("how", ["alone", "with a reload", "after the process was killed"])
def test_when_it_must_stop_everything_that_it_has_accepted_is_answered(start, bundles, tmp_path, how):
    models = tmp_path / "models"
    shutil.copytree(bundles, models)
    victim = start(models=models, admin=True, leave_seconds=1, drain_seconds=60)
    answers: Counter = Counter()

    async def caller(number):
        """Ask, on a connection of one's own, until there is nobody to connect to."""
        asked = 0
        while True:
            asked += 1
            try:
                reader, writer = await asyncio.open_connection(*victim.address)
            except ConnectionRefusedError:
                return
            except ConnectionResetError:  # let in by the system, and thrown out before a word was said
                answers[b""] += 1
                continue
            body = f"Caller {number} says {asked}.".encode()
            head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
            writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
            try:
                answer = await reader.read()
            except ConnectionResetError:
                answer = b""
            finally:
                writer.close()
            answers[answer[9:12]] += 1

    async def load():
        callers = [asyncio.create_task(caller(number)) for number in range(16)]
        await asyncio.sleep(1)
        change = None
        if how == "with a reload":
            shutil.copytree(models / "text-demo" / "1", models / "text-demo" / "2")
            client = httpx.AsyncClient(base_url=victim.url, timeout=60)
            change = asyncio.create_task(client.post("/v2/repository/models/text-demo/load"))
            await asyncio.sleep(0)
        if how == "after the process was killed":
            os.kill(victim.session_process, signal.SIGKILL)
        victim.process.send_signal(signal.SIGTERM)
        await asyncio.gather(*callers)
        if change:
            assert (await change).status_code in (200, 503)
            await client.aclose()

    asyncio.run(load())
    assert victim.process.wait(timeout=60) == -signal.SIGTERM
    assert answers.pop(b"200") > 20
    # Whom the system, but not yet the service, had let in at the moment when it closed its door.
    assert answers.pop(b"", 0) <= 1
    assert not answers
    assert "Traceback" not in victim.log.read_text()
