"""What every answer says of its request: an id and where the time went."""

import asyncio
import re
import time

import httpx
import pytest
from starlette.types import ASGIApp

from service.app import create_app
from service.record import RequestRecord, current_record
from service.settings import Settings
from service.telemetry import Telemetry

SENTENCE = "The group sent phishing mails."


def ask(app: ASGIApp, path: str, **request) -> httpx.Response:
    """Ask an app in this process; its lifespan does not run, so no models are loaded."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.get(path, **request)

    return asyncio.run(send())


def timing(answer: httpx.Response) -> dict[str, float]:
    entries = answer.headers["server-timing"].split(", ")
    assert all(re.fullmatch(r"\w+;dur=\d+\.\d\d", entry) for entry in entries)
    return {name: float(ms) for name, ms in (entry.split(";dur=") for entry in entries)}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/predict", {"json": {"text": SENTENCE}}, 200),
        ("GET", "/", {}, 200),
        ("GET", "/web/app.js", {}, 200),
        ("HEAD", "/readyz", {}, 200),
        ("POST", "/predict", {"content": b"{", "headers": {"content-type": "application/json"}}, 400),
        ("GET", "/nowhere", {}, 404),
        ("GET", "/web/nothing.js", {}, 404),
        ("DELETE", "/models", {}, 405),
        ("POST", "/predict", {"content": bytes(1_000_001), "headers": {"content-type": "image/png"}}, 413),
        ("POST", "/predict", {"json": {"text": ""}}, 422),
    ],
)
def test_the_callers_id_comes_back_on_every_answer(client, method, path, body, status):
    given = f"mine-{status}!~"
    request = client.build_request(method, path, **body)
    request.headers["x-request-id"] = given
    answer = client.send(request)
    assert (answer.status_code, answer.headers["x-request-id"]) == (status, given)
    assert "total" in timing(answer)


def test_even_an_answer_to_what_nobody_foresaw_has_the_id():
    app = create_app(Settings())

    @app.get("/boom")
    async def boom() -> None:
        raise RuntimeError("secret")

    answer = ask(app, "/boom", headers={"x-request-id": "mine"})
    assert (answer.status_code, answer.headers.get_list("x-request-id")) == (500, ["mine"])
    assert ask(app, "/readyz", headers={"x-request-id": "mine"}).headers.get_list("x-request-id") == ["mine"]


@pytest.mark.parametrize("given", [None, b"", b"two words", b"tab\there", "é".encode(), b"x" * 129])
def test_without_an_id_that_is_fit_to_be_written_down_there_is_a_new_one(client, given):
    headers = {} if given is None else {"x-request-id": given}
    ids = {client.get("/version", headers=headers).headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)
    assert client.get("/version", headers={"x-request-id": "x" * 128}).headers["x-request-id"] == "x" * 128


def test_the_stages_of_an_answer_sum_to_no_more_than_the_total_and_that_to_no_more_than_the_caller_waited(client):
    for body in ({"text": SENTENCE}, {"texts": [SENTENCE, SENTENCE * 20, ""]}):
        started = time.perf_counter()
        stages = timing(client.post("/predict", json=body))
        waited_ms = (time.perf_counter() - started) * 1000
        assert list(stages) == ["queue", "decode", "infer", "total"]
        assert stages["infer"] > 0
        # Each is rounded to a hundredth.
        assert stages["decode"] + stages["queue"] + stages["infer"] <= stages["total"] + 0.02
        assert stages["total"] <= waited_ms + 0.01


def test_a_stage_that_was_not_reached_is_not_told(client):
    no_picture = client.post("/predict", content=b"no picture", headers={"content-type": "image/png"})
    assert list(timing(no_picture)) == ["queue", "decode", "total"]
    assert list(timing(client.post("/predict", json={"text": ""}))) == ["total"]
    assert list(timing(client.get("/version"))) == ["total"]


def test_an_observer_sees_the_whole_record_and_afterwards_it_keeps_no_model_alive():
    seen: list[tuple[object, int, str, bool]] = []
    records: list[RequestRecord] = []

    def observe(record: RequestRecord) -> None:
        seen.append((record.model, record.status, record.path, record.ended > record.started))
        records.append(record)

    async def answer(scope, receive, send) -> None:
        current_record().model = model
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    model = object()
    assert ask(Telemetry(answer, [observe]), "/a%0Ab?query").status_code == 204
    assert seen == [(model, 204, "/a%0Ab", True)]
    assert records[0].model is None
