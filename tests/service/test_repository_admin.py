"""`/v2/repository/...`, on a real service."""

import asyncio
import re

import httpx
import pytest

from service.app import create_app
from service.errors import NotReady
from service.routes.repository_admin import _done
from service.settings import Settings

SENTENCE = "The group sent phishing mails to the staff of two banks."


@pytest.fixture(scope="module")
def root(tmp_path_factory, write_version):
    root = tmp_path_factory.mktemp("repository")
    (root / "mine").mkdir()
    write_version(root / "mine" / "1", "first")
    return root


@pytest.fixture(scope="module")
def admin(serve, root):
    with httpx.Client(base_url=serve(models=root, admin=True).url, timeout=60) as client:
        yield client


@pytest.fixture
def both_versions(admin, root, write_version):
    """Version 2 beside version 1, both loaded; a test may do with them what it likes."""
    write_version(root / "mine" / "2", "second")
    assert admin.post("/v2/repository/models/mine/load").status_code == 200


def index(admin, **body):
    answer = admin.post("/v2/repository/index", **body)
    assert answer.status_code == 200
    return [(entry["name"], entry["version"], entry["state"], entry["reason"]) for entry in answer.json()]


@pytest.mark.parametrize("path", ["index", "models/text-demo/load", "models/text-demo/unload"])
def test_without_leave_nothing_is_told_and_nothing_changed(service, path):
    answer = httpx.post(f"{service.url}/v2/repository/{path}")
    assert answer.status_code == 403
    assert answer.json() == {
        "error": "this service takes no changes: start it with LABELSET_ADMIN=true, or labelset serve --admin"
    }
    assert len(httpx.get(f"{service.url}/models").json()["models"]) == 2


def test_that_models_may_be_changed_is_among_the_extensions(admin):
    assert "model_repository" in admin.get("/v2").json()["extensions"]


def test_the_index_needs_no_body_and_may_be_limited_to_what_is_ready(admin, both_versions):
    assert admin.post("/v2/repository/models/mine/unload", json={"parameters": {"version": "1"}}).content == b""
    everything = [("mine", "2", "READY", ""), ("mine", "1", "UNAVAILABLE", "unloaded on request")]
    assert index(admin) == index(admin, json={}) == index(admin, json={"ready": False}) == everything
    assert index(admin, json={"ready": True}) == everything[:1]


def test_a_version_is_loaded_and_unloaded_by_parameter_and_the_default_follows(admin, both_versions):
    def answering():
        model = admin.post("/predict", json={"text": SENTENCE}).json()["model"]
        return {key: model[key] for key in ("name", "version")}

    assert answering() == {"name": "mine", "version": "2"}
    # As the protocol's own client sends it.
    body = {"parameters": {"unload_dependents": False, "version": "2"}}
    assert admin.post("/v2/repository/models/mine/unload", json=body).status_code == 200
    assert answering() == {"name": "mine", "version": "1"}
    assert admin.get("/models").json()["models"][0]["versions"] == ["1"]
    answer = admin.post("/predict?version=2", json={"text": SENTENCE})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "version_not_found")
    assert admin.post("/v2/repository/models/mine/load", json={"parameters": {"version": "2"}}).status_code == 200
    assert answering() == {"name": "mine", "version": "2"}


def test_with_every_model_unloaded_the_service_lives_says_so_and_takes_the_next(admin, both_versions):
    assert admin.post("/v2/repository/models/mine/unload").status_code == 200
    assert admin.get("/livez").status_code == 200
    assert admin.get("/models").json() == {"models": []}
    for answer in (admin.get("/readyz"), admin.post("/predict", json={"text": SENTENCE})):
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "not_ready"
        assert answer.json()["error"]["message"] == "no model is served at the moment"
    answer = admin.post("/predict?model=mine", json={"text": SENTENCE})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert admin.post("/v2/repository/models/mine/load").status_code == 200
    assert admin.get("/readyz").status_code == 200


def test_a_broken_version_is_refused_with_its_reason_and_the_old_one_answers_on(
    admin, both_versions, root, write_version
):
    write_version(root / "mine" / "3", "third", graph="unreadable")
    answer = admin.post("/v2/repository/models/mine/load")
    assert answer.status_code == 422
    assert answer.json().keys() == {"error"}
    assert re.match(r"refused mine/3 \(bundle_graph_mismatch: ", answer.json()["error"])
    assert str(root) not in answer.text
    assert admin.post("/predict", json={"text": SENTENCE}).json()["model"]["version"] == "2"
    name, version, state, reason = index(admin)[0]
    assert (name, version, state) == ("mine", "3", "UNAVAILABLE")
    assert reason.startswith("bundle_graph_mismatch: ")


@pytest.mark.parametrize("change", ["load", "unload"])
@pytest.mark.parametrize(
    ("name", "content", "status", "message"),
    [
        ("other", b"", 404, r"model must be one of \['mine'\], got 'other'"),
        ("mine", b'{"parameters": {"version": "9"}}', 404, "version of mine must be one of .*, got '9'"),
        ("mine", b'{"parameters": {"config": "{}"}}', 422, "parameters.config: "),
        ("mine", b'{"parameters": {"version": 2}}', 422, "parameters.version: "),
        ("mine", b"{", 400, "the body must be JSON, or empty"),
        ("mine", b"\xff", 400, "the body must be JSON, or empty"),
        ("mine", b"[]", 422, ""),
    ],
)
def test_what_cannot_be_meant_is_refused_in_the_protocols_form(admin, name, content, status, message, change):
    answer = admin.post(f"/v2/repository/models/{name}/{change}", content=content)
    assert answer.status_code == status
    assert answer.json().keys() == {"error"}
    assert re.match(message, answer.json()["error"])


def test_before_the_models_are_loaded_the_repository_is_not_ready():
    async def ask():
        transport = httpx.ASGITransport(create_app(Settings(admin=True)))  # its lifespan does not run
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.post("/v2/repository/index")

    answer = asyncio.run(ask())
    assert (answer.status_code, answer.json()) == (503, {"error": "the models are not loaded"})


def test_a_change_that_the_end_of_the_service_cuts_off_is_told_so():
    async def cut_off():
        answer = asyncio.create_task(_done(asyncio.sleep(60)))
        await asyncio.sleep(0)
        answer.cancel()
        await answer

    with pytest.raises(NotReady, match="the service is shutting down"):
        asyncio.run(cut_off())


def test_the_documentation_has_the_routes_with_their_bodies_and_their_form_of_error(admin):
    document = admin.get("/openapi.json").json()
    for path in ("index", "models/{name}/load", "models/{name}/unload"):
        route = document["paths"][f"/v2/repository/{path}"]["post"]
        schema = route["requestBody"]["content"]["application/json"]["schema"]
        assert schema["properties"].keys() in ({"ready"}, {"parameters"})
        assert "$ref" not in str(schema)
        for status in ("400", "403", "404", "422", "503"):
            reference = route["responses"][status]["content"]["application/json"]["schema"]["$ref"]
            assert document["components"]["schemas"][reference.rsplit("/")[-1]]["properties"].keys() == {"error"}
