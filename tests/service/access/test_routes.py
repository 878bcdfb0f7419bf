"""Every route x {no key, a wrong one, the right one, one of another scope, one of other models}, on a real service."""

import asyncio
import importlib
import json
import pkgutil
import re
import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest
import tritonclient.http as triton
from starlette.routing import compile_path
from triton_clients import http_client

from service import routes
from service.access.documentation import OPEN_PATHS
from service.app import create_app
from service.settings import Settings

SENTENCE = "The group sent phishing mails."
TEXT = {"json": {"text": SENTENCE}}
TENSOR = {"json": {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": [SENTENCE]}]}}

# What answers with or without a key, besides OPEN_PATHS: the pages, which hold nothing of the models.
OPEN_PAGES = {"/", "/docs", "/openapi.json", "/web", "/swagger"}

# method, path, body, scope, status of the answer to the right key
OF_NO_MODEL = [
    ("GET", "/models", {}, "infer", 200),
    ("GET", "/v2", {}, "infer", 200),
    ("GET", "/v2/", {}, "infer", 200),
    ("GET", "/v2/models/stats", {}, "infer", 200),
    ("GET", "/metrics", {}, "metrics", 200),
    ("POST", "/v2/repository/index", {}, "admin", 200),
]
OF_A_MODEL = [
    ("POST", "/predict?model={model}", TEXT, "infer", 200),
    ("POST", "/predict", {"json": {"text": SENTENCE, "model": "{model}"}}, "infer", 200),
    ("GET", "/models/{model}", {}, "infer", 200),
    ("GET", "/models/{model}/examples", {}, "infer", 200),
    *(
        (method, f"/v2/models/{{model}}{version}{what}", body, "infer", 200)
        for version in ("", "/versions/1")
        for method, what, body in (
            ("GET", "", {}),
            ("GET", "/ready", {}),
            ("GET", "/config", {}),
            ("GET", "/stats", {}),
            ("POST", "/infer", TENSOR),
        )
    ),
    ("POST", "/v2/repository/models/{model}/load", {}, "admin", 200),
    # A version that is not there: nothing changes for the tests that follow.
    ("POST", "/v2/repository/models/{model}/unload", {"json": {"parameters": {"version": "9"}}}, "admin", 404),
]
ROUTES = OF_NO_MODEL + OF_A_MODEL


def ask(guarded, method, path, body, model="text-demo", headers=None):
    body = json.loads(json.dumps(body).replace("{model}", model))
    answer = httpx.request(method, guarded.url + path.replace("{model}", model), headers=headers, timeout=60, **body)
    assert not any(key in answer.text for key in guarded.keys.values())
    return answer


def refusal(answer):
    """Status and code of an error; of the protocol's, which has no code, the message."""
    error = answer.json()["error"]
    return answer.status_code, error if isinstance(error, str) else error["code"]


def path_of(route):
    """With the version that the table has for every model, as a template of the application."""
    return route[1].partition("?")[0].replace("{model}", "text-demo")


def every_path():
    """Those of all modules of routes, whether documented or not, and those of the application itself."""
    modules = [
        importlib.import_module(f"service.routes.{found.name}") for found in pkgutil.iter_modules(routes.__path__)
    ]
    routers = [module.router for module in modules if hasattr(module, "router")]
    own = [route.path for route in create_app(Settings()).routes if hasattr(route, "path")]
    return {route.path for router in routers for route in router.routes} | set(own)


def test_the_table_has_every_route_that_is_not_open():
    guarded_paths = every_path() - OPEN_PATHS - OPEN_PAGES
    assert len(guarded_paths) > 15
    asked = {path_of(route) for route in ROUTES}
    for template in guarded_paths:
        assert any(compile_path(template)[0].match(path) for path in asked), template
    assert every_path() >= OPEN_PATHS | OPEN_PAGES


@pytest.mark.parametrize(("method", "path", "body", "scope", "status"), ROUTES)
def test_without_a_key_or_with_a_wrong_one_nothing_is_told(guarded, method, path, body, scope, status):
    wrong = "labelset_" + "A" * 43
    for headers in (
        {},
        {"authorization": f"Bearer {wrong}"},
        {"x-api-key": wrong},
        {"authorization": f"Basic {guarded.keys[scope]}"},
        {"authorization": "Bearer"},
        {"authorization": f"Bearer {guarded.keys[scope][:-1]}"},
        {"cookie": f"key={guarded.keys[scope]}"},
    ):
        answer = ask(guarded, method, path, body, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "text-demo" not in answer.text


@pytest.mark.parametrize(("method", "path", "body", "scope", "status"), ROUTES)
def test_the_right_key_opens_by_either_header(guarded, method, path, body, scope, status):
    for headers in (guarded.bearer(scope), {"x-api-key": guarded.keys[scope]}):
        assert ask(guarded, method, path, body, headers=headers).status_code == status


@pytest.mark.parametrize(("method", "path", "body", "scope", "status"), ROUTES)
def test_a_key_of_another_scope_is_refused(guarded, method, path, body, scope, status):
    for other in {"infer", "metrics", "admin"} - {scope}:
        answer = ask(guarded, method, path, body, headers=guarded.bearer(other))
        assert answer.status_code == 403
        assert f"this needs a key with the scope {scope}, got one with ['{other}']" in answer.text


@pytest.mark.parametrize(("method", "path", "body", "scope", "status"), OF_A_MODEL)
def test_a_model_outside_of_a_keys_scope_is_refused_whether_or_not_it_exists(
    guarded, method, path, body, scope, status
):
    of_one_that_is = ask(guarded, method, path, body, headers=guarded.bearer("image-only"))
    of_one_that_is_not = ask(guarded, method, path, body, "nothing", headers=guarded.bearer("image-only"))
    assert of_one_that_is.status_code == of_one_that_is_not.status_code == 403
    message = "this key is for the models ['image-demo', 'later'], got 'text-demo'"
    assert message in of_one_that_is.text
    assert of_one_that_is.text.replace("text-demo", "nothing") == of_one_that_is_not.text


def test_a_key_of_some_models_sees_those_alone(guarded):
    headers = guarded.bearer("image-only")
    assert [model["name"] for model in ask(guarded, "GET", "/models", {}, headers=headers).json()["models"]] == [
        "image-demo"
    ]
    entries = ask(guarded, "POST", "/v2/repository/index", {}, headers=headers).json()
    assert {entry["name"] for entry in entries} == {"image-demo"}
    # A text, and no model named: the only one that takes texts is not there for this caller.
    answer = ask(guarded, "POST", "/predict", TEXT, headers=headers)
    assert refusal(answer) == (422, "wrong_input_kind")
    # One that the key covers and that does not exist is simply not there.
    answer = ask(guarded, "GET", "/models/later", {}, headers=headers)
    assert refusal(answer) == (404, "model_not_found")
    assert "text-demo" not in answer.text


@pytest.mark.parametrize("path", sorted(OPEN_PATHS | OPEN_PAGES - {"/web", "/swagger"}))
def test_probes_and_pages_need_no_key_and_tell_nothing_of_the_models(guarded, path):
    answer = httpx.get(guarded.url + path)
    assert answer.status_code == 200
    models = ask(guarded, "GET", "/models", {}, headers=guarded.bearer("infer")).json()["models"]
    assert len(models) == 2
    assert not any(model["digest"] in answer.text for model in models)


def test_of_two_headers_that_of_the_service_counts(guarded):
    headers = {"x-api-key": guarded.keys["infer"], "authorization": "Bearer of-a-proxy"}
    assert httpx.get(f"{guarded.url}/models", headers=headers).status_code == 200


def test_a_key_in_the_query_is_none(guarded):
    for name in ("key", "api_key", "access_token"):
        assert httpx.get(f"{guarded.url}/models?{name}={guarded.keys['infer']}").status_code == 401


def test_a_caller_without_a_key_is_refused_before_his_body_is_read(guarded):
    address = urlsplit(guarded.url)
    head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 1000000\r\n"
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 401")  # not 100 Continue


def test_before_the_models_are_loaded_a_key_is_asked_for_too(tmp_path):
    (tmp_path / "keys.json").write_text('{"keys": []}')
    (tmp_path / "keys.json").chmod(0o600)
    app = create_app(Settings(keys_file=tmp_path / "keys.json"))

    async def ask_all():
        transport = httpx.ASGITransport(app)  # its lifespan does not run
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return [await client.request(route[0], path_of(route)) for route in ROUTES]

    assert {answer.status_code for answer in asyncio.run(ask_all())} == {401}


def test_a_key_that_is_used_too_fast_is_told_when_to_come_again(guarded):
    first, second = (ask(guarded, "GET", "/models", {}, headers=guarded.bearer("slow")) for _ in range(2))
    assert first.status_code == 200
    assert refusal(second) == (429, "rate_limited")
    assert 90 <= int(second.headers["retry-after"]) <= 100
    assert second.json()["error"]["detail"] == {"retry_after_seconds": int(second.headers["retry-after"])}
    assert ask(guarded, "GET", "/models", {}, headers=guarded.bearer("infer")).status_code == 200


def log_with(guarded, line_end):
    """The log once it has a line: it is written after the answer."""
    deadline = time.monotonic() + 20
    while line_end not in (log := guarded.log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return log


def test_the_log_names_the_key_and_never_holds_it(guarded):
    headers = {**guarded.bearer("infer"), "x-request-id": "named"}
    ask(guarded, "POST", "/predict?model=text-demo", TEXT, headers=headers)
    httpx.get(f"{guarded.url}/models?key={guarded.keys['infer']}", headers={"x-request-id": "unnamed"})
    ask(guarded, "POST", "/predict", {"content": "{"}, headers={**headers, "content-type": "application/json"})
    ask(guarded, "GET", "/metrics", {}, headers=headers)
    log = log_with(guarded, "forbidden [named]")
    assert re.search(r"POST /predict 200 [\d.]+ ms text-demo/1 by infer \[named\]", log)
    assert re.search(r"POST /predict 400 [\d.]+ ms by infer invalid_json \[named\]", log)
    assert re.search(r"GET /metrics 403 [\d.]+ ms by infer forbidden \[named\]", log)
    assert re.search(r"GET /models 401 [\d.]+ ms unauthorized \[unnamed\]", log)
    metrics = ask(guarded, "GET", "/metrics", {}, headers=guarded.bearer("metrics")).text
    assert "labelset_requests_total" in metrics
    assert not any(key in log + metrics for key in guarded.keys.values())
    assert SENTENCE not in log


def test_the_documentation_says_where_a_key_is_asked_for(guarded, client):
    document = httpx.get(f"{guarded.url}/openapi.json").json()
    assert document["components"]["securitySchemes"].keys() == {"bearer", "header"}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert ("security" in operation) == (path not in OPEN_PATHS)
            if path not in OPEN_PATHS:
                assert operation["responses"].keys() >= {"401", "403", "429"}
                reference = operation["responses"]["401"]["content"]["application/json"]["schema"]["$ref"]
                assert reference.rpartition("/")[2] in document["components"]["schemas"]
    # Without keys there is nothing of the kind.
    assert "securitySchemes" not in client.get("/openapi.json").json()["components"]


def test_tritons_client_sends_the_key_as_a_header(guarded):
    with http_client(guarded.url) as client:
        assert client.is_server_ready()
        assert client.get_model_metadata("text-demo", headers=guarded.bearer("infer"))["name"] == "text-demo"
        with pytest.raises(triton.InferenceServerException, match="this needs an API key"):
            client.get_model_metadata("text-demo")
