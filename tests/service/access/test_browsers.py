"""What pages of other origins can do with the service: nothing, unless they are named."""

import asyncio
from urllib.parse import urlsplit

import httpx
import pytest

from service.app import create_app
from service.settings import InvalidSettings, Settings

REFUSAL = {"error": "a page in a browser may not do this, unless it comes from this service itself"}
INDEX = "/v2/repository/index"
FOREIGN = ["https://evil.example", "http://127.0.0.1:1", "null", "http://127.0.0.1.evil.example", "", "http://["]


@pytest.fixture(scope="module")
def keyless(serve, bundles):
    """A service that lets anyone load and unload models."""
    return serve(models=bundles, admin=True)


@pytest.mark.parametrize("origin", FOREIGN)
@pytest.mark.parametrize("path", [INDEX, "/v2/repository/models/text-demo/load", "/v2/repository/models/x/unload"])
def test_a_foreign_page_changes_nothing_even_with_a_key(guarded, keyless, path, origin):
    for url, headers in ((keyless.url, {}), (guarded.url, guarded.bearer("admin"))):
        answer = httpx.post(url + path, headers={**headers, "origin": origin})
        assert (answer.status_code, answer.json()) == (403, REFUSAL)


def test_a_page_of_the_service_itself_may(guarded, keyless):
    for url, headers in ((keyless.url, {}), (guarded.url, guarded.bearer("admin"))):
        assert httpx.post(url + INDEX, headers={**headers, "origin": url}).status_code == 200


@pytest.mark.parametrize(
    ("host", "keyless_status"),
    [("localhost", 200), ("[::1]", 200), ("models.example", 403), ("127.0.0.1.example", 403), ("[", 403)],
)
def test_without_keys_a_page_that_came_under_a_name_may_not(guarded, keyless, host, keyless_status):
    # As a browser sends it whose name server answers first with the attacker's address and then with ours.
    for url, headers, status in ((keyless.url, {}, keyless_status), (guarded.url, guarded.bearer("admin"), 200)):
        own = f"{host}:{urlsplit(url).port}"
        answer = httpx.post(url + INDEX, headers={**headers, "host": own, "origin": f"http://{own}"})
        assert answer.status_code == status


def test_no_page_may_read_an_answer_unless_its_origin_is_named(client):
    for answer in (
        client.get("/models", headers={"origin": "https://app.example"}),
        client.options("/predict", headers={"origin": "https://app.example", "access-control-request-method": "POST"}),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def ask(app, *requests):
    async def send():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return [await client.request(method, path, headers=headers) for method, path, headers in requests]

    return asyncio.run(send())


def test_a_page_of_a_named_origin_may_ask_with_a_key_and_read_the_answer():
    app = create_app(Settings(cors_origins="https://app.example https://other.example:8443"))
    wish = {"access-control-request-method": "POST", "access-control-request-headers": "x-api-key,timeout-ms"}
    preflight, answer, refused, foreign = ask(
        app,
        ("OPTIONS", "/predict", {"origin": "https://app.example", **wish}),
        ("GET", "/livez", {"origin": "https://other.example:8443"}),
        ("OPTIONS", "/predict", {"origin": "https://evil.example", **wish}),
        ("GET", "/livez", {"origin": "https://evil.example"}),
    )
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://app.example"
    assert answer.headers["access-control-allow-origin"] == "https://other.example:8443"
    assert "Retry-After" in answer.headers["access-control-expose-headers"]
    assert refused.status_code == 400
    assert "access-control-allow-origin" not in {**refused.headers, **foreign.headers}
    # Cookies and the like are no business of ours.
    assert "access-control-allow-credentials" not in {**preflight.headers, **answer.headers}


@pytest.mark.parametrize("origins", ["app.example", "https://a.example/", "https://a.example,https://b.example/x"])
def test_what_is_no_origin_is_refused(origins):
    with pytest.raises(InvalidSettings, match=r"LABELSET_CORS_ORIGINS: an origin must be"):
        Settings(cors_origins=origins)
