"""The application around the routes: probes, errors nobody foresaw, the page, the documentation."""

import asyncio
import re
import signal
import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI
from pydantic import TypeAdapter

from model.bundle import ChecksumMismatch
from service.app import create_app
from service.errors import STATUS
from service.schemas import PredictAnswer
from service.settings import Settings


def ask(app: FastAPI, method: str, path: str, **request) -> httpx.Response:
    """Ask an app in this process; its lifespan does not run, so no models are loaded."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.request(method, path, **request)

    return asyncio.run(send())


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
def test_probes_answer_ok_once_the_models_are_loaded(client, path):
    answer = client.get(path)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    answer = client.head(path)
    assert (answer.status_code, answer.content) == (200, b"")


def test_before_the_models_are_loaded_the_service_is_alive_and_not_ready():
    app = create_app(Settings())
    assert ask(app, "GET", "/livez").status_code == 200
    for method, path in (("GET", "/readyz"), ("GET", "/healthz"), ("GET", "/models"), ("POST", "/predict")):
        answer = ask(app, method, path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")


def test_the_version_is_told(client):
    assert client.get("/version").json().keys() == {"version"}


def test_an_error_nobody_foresaw_says_nothing_of_its_cause():
    app = create_app(Settings())

    @app.get("/boom")
    async def boom() -> None:
        raise RuntimeError("secret /etc/passwd")

    answer = ask(app, "GET", "/boom")
    assert (answer.status_code, answer.headers["x-content-type-options"]) == (500, "nosniff")
    assert answer.json()["error"] == {
        "code": "internal_error",
        "message": "the service failed to answer; its log says why",
        "detail": {},
    }


def test_a_code_without_a_status_is_an_internal_error():
    app = create_app(Settings())

    @app.get("/broken")
    async def broken() -> None:
        raise ChecksumMismatch("model.onnx is not what it was", file="model.onnx")

    answer = ask(app, "GET", "/broken")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "onnx" not in answer.text


def test_sigterm_lets_a_request_in_flight_have_its_answer(serve, bundles):
    service = serve(models=bundles)
    address = urlsplit(service.url)
    body = b'{"text": "half of it now"}'
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body[:10])
        )
        time.sleep(0.5)
        service.process.terminate()
        time.sleep(0.5)
        assert service.process.poll() is None
        connection.sendall(body[10:])
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    assert service.process.wait(timeout=20) in {0, -signal.SIGTERM}


@pytest.mark.parametrize("path", ["/", "/web/style.css", "/web/app.js", "/web/view.js", "/web/favicon.svg"])
def test_the_page_and_its_files_come_with_a_strict_policy(client, path):
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.head(path).status_code == 200


def test_the_documentation_page_runs_no_script_but_those_of_this_service(client):
    answer = client.get("/docs")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; ")
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "<script>" not in answer.text


@pytest.mark.parametrize("path", ["/", "/docs", "/web/app.js", "/swagger/swagger-ui-bundle.js"])
def test_no_page_of_elsewhere_may_frame_ours_nor_learn_where_a_visitor_came_from(client, path):
    headers = client.get(path).headers
    assert (headers["x-frame-options"], headers["referrer-policy"]) == ("DENY", "no-referrer")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


@pytest.mark.parametrize(("path", "status"), [("/livez", 200), ("/models", 200), ("/nothing", 404), ("/docs", 200)])
def test_every_answer_is_what_its_content_type_says(client, path, status):
    answer = client.get(path)
    assert (answer.status_code, answer.headers.get_list("x-content-type-options")) == (status, ["nosniff"])


def test_the_page_needs_nothing_from_elsewhere(client):
    for path in ("/", "/web/style.css", "/web/app.js", "/web/view.js"):
        text = client.get(path).text
        assert "https://" not in text
        assert "innerHTML" not in text
        assert "<style" not in text
        assert ' style="' not in text


def test_every_json_example_of_the_documentation_is_answered(client):
    body = client.get("/openapi.json").json()["paths"]["/predict"]["post"]["requestBody"]["content"]
    examples = body["application/json"]["examples"]
    assert len(examples) >= 4
    for example in examples.values():
        answer = client.post("/predict", json=example["value"])
        if example["value"].keys() & {"audio", "words"}:  # none of the embedded models takes them, nor is `brown` one
            assert answer.json()["error"]["code"] in {"wrong_input_kind", "model_not_found"}
            continue
        assert answer.status_code == 200
        assert all("labels" in prediction for prediction in answer.json()["predictions"])
    plain = client.post("/predict", content=body["text/plain"]["example"], headers={"content-type": "text/plain"})
    assert plain.status_code == 200


def test_the_documented_answers_have_the_shape_of_real_ones(client):
    responses = client.get("/openapi.json").json()["paths"]["/predict"]["post"]["responses"]
    documented = TypeAdapter(PredictAnswer)
    for example in responses["200"]["content"]["application/json"]["examples"].values():
        assert documented.validate_python(example["value"]) == example["value"]
    batch = {"texts": ["The group sent phishing mails.", ""]}
    for body in (batch, {"text": "It encrypts the disk."}):
        answer = client.post("/predict", json=body).json()
        assert documented.validate_python(answer, strict=True) == answer
    page = client.get("/docs")
    assert page.status_code == 200
    sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(sources) >= 2
    for source in sources:  # from this service alone: it may run where nothing else is in reach
        assert urlsplit(source).netloc in {"", urlsplit(str(client.base_url)).netloc}
        assert client.get(source).status_code == 200


def test_the_documentation_knows_no_other_shape_of_error(client):
    assert "HTTPValidationError" not in client.get("/openapi.json").text


def test_every_documented_error_code_has_its_status_in_the_table(client):
    responses = client.get("/openapi.json").json()["paths"]["/predict"]["post"]["responses"]
    documented = {
        (code, int(status))
        for status, response in responses.items()
        if status != "200"
        for code in re.findall(r"`(\w+)`", response["description"])
    }
    elsewhere = {
        ("not_found", 404),
        ("method_not_allowed", 405),
        ("invalid_infer_request", 400),
        ("admin_off", 403),
        ("model_refused", 422),
        # documented where keys are in force: tests/service/access/
        ("unauthorized", 401),
        ("forbidden", 403),
        ("rate_limited", 429),
    }
    assert documented | elsewhere == set(STATUS.items())
