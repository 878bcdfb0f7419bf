"""Requests that bring inputs go past FastAPI, and nobody can tell by the answers."""

import asyncio
import gc
import weakref

import httpx
import pytest
from fastapi import APIRouter

from model.preprocess import ImageCorrupt
from service.app import create_app
from service.routes.direct import DirectRoute, DirectRoutes, DirectWay
from service.settings import Settings

SENTENCE = "The group sent phishing mails."
TEXT = {"json": {"text": SENTENCE}}
TENSOR = {"json": {"id": "7", "inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [SENTENCE]}]}}
PAGE = {"origin": "https://app.example"}
PREFLIGHT = {**PAGE, "access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}
OWN = "/v2/models/text-demo"

REQUESTS = (
    ("POST", "/predict", TEXT),
    ("POST", "/predict?label_count=2&only=a&only=b", TEXT),
    ("POST", "/predict?nothing=1", TEXT),
    ("POST", "/predict", {"content": SENTENCE, "headers": {"content-type": "text/plain"}}),
    ("POST", "/predict", {"content": b"{", "headers": {"content-type": "application/json"}}),
    ("POST", "/predict", {"content": b"GIF", "headers": {"content-type": "image/gif"}}),
    ("POST", "/predict", {"content": bytes(100_001), "headers": {"content-type": "image/png"}}),
    ("POST", "/predict", {**TEXT, "headers": {"timeout-ms": "soon"}}),
    ("POST", "/predict", {**TEXT, "headers": PAGE}),
    ("POST", "/predict", {**TEXT, "headers": {"origin": "https://evil.example"}}),
    ("POST", "/predict", {}),
    ("POST", "/predict/", TEXT),
    ("POST", "/Predict", TEXT),
    ("POST", "/predict%0A", TEXT),
    ("POST", "//predict", TEXT),
    ("OPTIONS", "/predict", {"headers": PREFLIGHT}),
    ("OPTIONS", f"{OWN}/infer", {"headers": PREFLIGHT}),
    *((method, "/predict", {}) for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")),
    ("POST", f"{OWN}/infer", TENSOR),
    ("POST", f"{OWN}/infer", {**TENSOR, "headers": {"accept-encoding": "gzip", **PAGE}}),
    ("POST", f"{OWN}/infer", TEXT),
    ("POST", f"{OWN}/versions/1/infer", TENSOR),
    ("POST", f"{OWN}/versions/2/infer", TENSOR),
    ("POST", f"{OWN}/infer/", TENSOR),
    ("POST", "/v2/models/text%2Ddemo/infer", TENSOR),
    ("POST", "/v2/models/a%2Fb/infer", TENSOR),
    ("POST", "/v2/models/%E2%88%9E/infer", TENSOR),
    ("POST", "/v2/models//infer", TENSOR),
    ("POST", f"{OWN}/versions//infer", TENSOR),
    *((method, f"{OWN}/infer", {}) for method in ("GET", "HEAD", "OPTIONS", "PATCH")),
)


def _service(bundles, direct):
    limits = {"max_image_bytes": 50_000, "max_audio_bytes": 50_000, "max_text_chars": 1_000, "max_body_bytes": 100_000}
    app = create_app(Settings(models=bundles, cors_origins="https://app.example", **limits))
    if not direct:
        app.user_middleware = [middleware for middleware in app.user_middleware if middleware.cls is not DirectWay]
    return app


async def _answers(app, requests):
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            answers = []
            for method, path, what in requests:
                request = client.build_request(method, path, **what)
                request.headers["x-request-id"] = "mine"
                answers.append(await client.send(request))
            return answers, (await client.get("/metrics")).text


def _told(answer):
    headers = [(name, value) for name, value in answer.headers.multi_items() if name != "server-timing"]
    return answer.status_code, headers, answer.content


def _counted(metrics):
    return [line for line in metrics.splitlines() if line.startswith(("labelset_requests", "labelset_request_errors"))]


def test_each_answer_and_what_is_counted_of_it_are_those_of_the_way_through_fastapi(bundles):
    direct, counted = asyncio.run(_answers(_service(bundles, direct=True), REQUESTS))
    routed, counted_there = asyncio.run(_answers(_service(bundles, direct=False), REQUESTS))
    for request, ours, theirs in zip(REQUESTS, direct, routed, strict=True):
        assert (request, _told(ours)) == (request, _told(theirs))
    assert _counted(counted) == _counted(counted_there)
    assert {answer.status_code for answer in direct} == {200, 400, 404, 405, 413, 415, 422}
    assert [answer.status_code for answer in direct].count(200) > 8


@pytest.mark.parametrize("path", ["/predict", f"{OWN}/infer"])
def test_an_error_that_nobody_foresaw_is_told_as_on_any_route(path):
    app = create_app(Settings())
    app.state.serving = "secret"  # which is nothing to be served

    async def ask(raises):
        transport = httpx.ASGITransport(app, raise_app_exceptions=raises)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.post(path)

    answer = asyncio.run(ask(raises=False))
    assert (answer.status_code, answer.headers["connection"]) == (500, "close")
    assert "the service failed to answer" in answer.text
    assert "secret" not in answer.text
    with pytest.raises(AttributeError):  # so that the server logs its trace
        asyncio.run(ask(raises=True))


def test_what_a_refused_request_held_is_gone_with_its_answer(bundles):
    # Without waiting for a search for garbage: bodies of megabytes would pile up until then.
    class Body:
        pass

    held = []

    async def predict(request):
        body = Body()
        held.append(weakref.ref(body))
        answers = [ImageCorrupt("the JPEG file cannot be decoded")]
        raise answers[0]

    async def ask():
        routes = APIRouter(route_class=DirectRoute)
        routes.post("/predict")(predict)
        way = DirectWay(create_app(Settings(models=bundles)), DirectRoutes(routes.routes))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(way), base_url="http://service") as client:
            return (await client.post("/predict")).status_code

    gc.disable()
    try:
        assert asyncio.run(ask()) == 422
        assert [body() for body in held] == [None]
    finally:
        gc.enable()
