"""`GET /metrics`: every number against what was asked and answered."""

import asyncio
import hashlib
import re
import socket
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from model.errors import LabelsetError
from model.labels import LabelSet, ScoredLabel
from service import metrics
from service.app import create_app
from service.metrics import Metrics
from service.record import RequestRecord
from service.repository import Repository
from service.settings import Settings

SENTENCES = ["The group sent phishing mails.", "It encrypts the disk and deletes the backups.", "It lists processes."]
TEXT = {"model": "text-demo", "version": "1"}
MOST_WAITING, MOST_ROWS = 100, 16


@pytest.fixture(scope="module")
def client(serve, bundles):
    # With one runner the inputs of a request are one batch.
    service = serve(models=bundles, runners=1, max_waiting=MOST_WAITING, max_batch_rows=MOST_ROWS)
    with httpx.Client(base_url=service.url, timeout=60) as client:
        yield client


class Samples:
    """What a scrape says; a series that is not there counts as 0."""

    def __init__(self, text: str) -> None:
        self._values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def get(self, name: str, **labels: str) -> float:
        return self._values.get((f"labelset_{name}", frozenset(labels.items())), 0.0)

    def labels(self, name: str) -> list[dict[str, str]]:
        return [dict(labels) for found, labels in self._values if found == f"labelset_{name}"]


def scrape(client: httpx.Client) -> Samples:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Samples(answer.text)


class Since:
    """What was counted since it was made."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self._before = scrape(client)

    def get(self, name: str, **labels: str) -> float:
        return scrape(self._client).get(name, **labels) - self._before.get(name, **labels)


def test_requests_count_by_route_method_and_status(client):
    since = Since(client)
    for _ in range(3):
        client.get("/version")
    client.head("/livez")
    client.get("/models/text-demo")
    client.get("/models/image-demo?version=1")
    client.get("/models/nope")
    assert since.get("requests_total", route="/version", method="GET", status="200") == 3
    assert since.get("requests_total", route="/livez", method="HEAD", status="200") == 1
    assert since.get("requests_total", route="/models/{name}", method="GET", status="200") == 2
    assert since.get("requests_total", route="/models/{name}", method="GET", status="404") == 1


def test_nobody_can_make_a_series_of_a_path_or_a_method_of_his_own(client):
    since = Since(client)
    for number in range(5):
        client.request("PROPFIND", f"/somewhere/{number}")
    assert since.get("requests_total", route="other", method="other", status="404") == 5
    assert "PROPFIND" not in client.get("/metrics").text
    assert "/somewhere" not in client.get("/metrics").text


def test_an_error_counts_under_its_code_and_an_input_that_fails_in_a_batch_under_its_model(client):
    since = Since(client)
    assert client.post("/predict", json={"text": ""}).status_code == 422
    assert client.post("/predict", json={"texts": ["", "a text", " "]}).status_code == 200
    assert client.get("/nowhere").status_code == 404
    assert client.post("/predict", content=b"{", headers={"content-type": "application/json"}).status_code == 400
    assert since.get("request_errors_total", code="empty_input") == 1
    assert since.get("request_errors_total", code="not_found") == 1
    assert since.get("request_errors_total", code="invalid_json") == 1
    assert since.get("input_errors_total", code="empty_input", **TEXT) == 3
    assert since.get("label_set_size_count", **TEXT) == 1


def test_a_caller_who_has_left_counts_as_such(client):
    since = Since(client)
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=20) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\na"
        )
    deadline = time.monotonic() + 20
    while not since.get("request_errors_total", code="caller_left"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_every_stage_of_every_request_is_timed_and_they_sum_to_no_more_than_the_whole(client):
    since = Since(client)
    started = time.monotonic()
    for sentence in SENTENCES:
        client.post("/predict", json={"text": sentence})
    client.post("/predict", json={"texts": SENTENCES})
    passed = time.monotonic() - started
    stages = ("decode", "queue", "infer")
    assert [since.get("stage_seconds_count", stage=stage, **TEXT) for stage in stages] == [4, 4, 4]
    assert since.get("request_seconds_count", outcome="answered", **TEXT) == 4
    seconds = [since.get("stage_seconds_sum", stage=stage, **TEXT) for stage in stages]
    assert min(seconds) > 0
    assert sum(seconds) <= since.get("request_seconds_sum", outcome="answered", **TEXT) <= passed


def test_requests_that_fail_are_timed_apart_and_the_last_one_leaves_its_date(client):
    since, before = Since(client), time.time()
    assert client.post("/predict", json={"text": ""}).status_code == 422
    assert client.post("/predict", json={"texts": ["", "a text"]}).status_code == 200
    assert since.get("request_seconds_count", outcome="failed", **TEXT) == 1
    assert since.get("request_seconds_count", outcome="answered", **TEXT) == 1
    assert before <= scrape(client).get("last_request_timestamp_seconds", **TEXT) <= time.time()


def test_batches_are_timed_by_their_size(client):
    since = Since(client)
    started = time.monotonic()
    for _ in range(2):
        client.post("/predict", json={"texts": SENTENCES})
    passed = time.monotonic() - started
    assert since.get("batch_seconds_count", rows="3", **TEXT) == 2
    assert 0 < since.get("batch_seconds_sum", rows="3", **TEXT) <= passed


def test_batches_hold_every_sound_input_once_and_their_fill_is_of_the_most_rows(client):
    since = Since(client)
    client.post("/predict", json={"texts": [*SENTENCES, ""]})
    client.post("/predict", json={"text": SENTENCES[0]})
    assert since.get("batch_rows_sum", **TEXT) == 4
    assert since.get("batch_rows_count", **TEXT) == 2
    assert since.get("batch_fill_ratio_sum", **TEXT) == pytest.approx(4 / MOST_ROWS)


def test_label_sets_and_their_labels_count_as_they_were_answered(client):
    since = Since(client)
    answers = [
        client.post("/predict", json={"texts": SENTENCES}).json(),
        client.post("/predict", json={"texts": SENTENCES, "label_count": 3}).json(),
        client.post("/predict", json={"text": SENTENCES[0], "label_count": 0}).json(),
    ]
    sets = [[label["label"] for label in one["labels"]] for answer in answers for one in answer["predictions"]]
    positives = Counter(label for labels in sets for label in labels)
    assert len(sets) == 7
    assert positives.total() >= 9
    assert since.get("label_set_size_count", **TEXT) == 7
    assert since.get("label_set_size_sum", **TEXT) == positives.total()
    assert since.get("label_set_size_bucket", le="0.0", **TEXT) == sets.count([])
    assert since.get("empty_label_sets_total", **TEXT) == sets.count([]) >= 1
    labels = client.get("/models/text-demo").json()["labels"]
    assert {label: since.get("label_positives_total", label=label, **TEXT) for label in labels} == {
        label: positives[label] for label in labels
    }


def test_a_scrape_says_which_bundles_are_served_and_on_what(client, bundles):
    found = {labels["model"]: labels for labels in scrape(client).labels("model_info")}
    assert found.keys() == {"text-demo", "image-demo"}
    for name, labels in found.items():
        manifest = (bundles / name / "1" / "bundle.json").read_bytes()
        assert labels["digest"] == hashlib.sha256(manifest).hexdigest()
        assert labels["version"] == "1"
        assert labels["device"] == client.get(f"/models/{name}").json()["device"]
        assert labels["r_softmax"] in {"native", "function"}


def test_the_queue_is_seen_while_inputs_wait_and_is_empty_afterwards(client):
    async def ask() -> list[float]:
        async with httpx.AsyncClient(base_url=client.base_url, timeout=60) as other:
            body = {"texts": [f"{SENTENCES[1]} {number}" * 20 for number in range(32)]}
            asked = asyncio.gather(*(other.post("/predict", json=body) for _ in range(3)))
            seen = []
            while not asked.done():
                seen.append(Samples((await other.get("/metrics")).text).get("waiting_inputs"))
            assert {answer.status_code for answer in await asked} == {200}
            return seen

    assert 0 < max(asyncio.run(ask())) <= 96
    after = scrape(client)
    assert after.get("waiting_inputs") == 0
    assert after.get("open_inputs") == 0
    assert after.get("open_inputs_limit") == MOST_WAITING


def test_there_is_something_to_scrape_before_the_models_are_loaded():
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(Settings())), base_url="http://x") as one:
            await one.get("/readyz")
            return await one.get("/metrics")

    samples = Samples(asyncio.run(ask()).text)
    assert samples.get("requests_total", route="/readyz", method="GET", status="503") == 1
    assert samples.get("request_errors_total", code="not_ready") == 1


def test_two_applications_in_one_process_count_apart():
    one, other = Metrics(), Metrics()
    one.observe(RequestRecord(method="GET", route="/version", status=200))
    assert b'route="/version"' in generate_latest(one.registry)
    assert b'route="/version"' not in generate_latest(other.registry)


@pytest.mark.parametrize(("most", "is_counted"), [(14, True), (13, False)])
def test_a_model_with_too_many_labels_has_no_counter_of_each(host, monkeypatch, most, is_counted):
    monkeypatch.setattr(metrics, "MAX_COUNTED_LABELS", most)
    model = Repository.open(Settings(), host).catalogue.get("text-demo")
    assert len(model.manifest.labels) == 14
    counted = Metrics()
    answered = LabelSet((ScoredLabel("impact", 0.6), ScoredLabel("execution", 0.4)), 0.8)
    counted.observe(RequestRecord(model=model, outcomes=[answered]))
    samples = Samples(generate_latest(counted.registry).decode())
    assert samples.get("label_set_size_sum", **TEXT) == 2
    assert len(samples.labels("label_positives_total")) == (14 if is_counted else 0)
    assert samples.get("label_positives_total", label="impact", **TEXT) == is_counted


def test_of_a_token_classifier_each_word_is_a_label_set(host):
    model = Repository.open(Settings(), host).catalogue.get("text-demo")
    counted = Metrics()
    words = {0: LabelSet((ScoredLabel("impact", 1.0),), 0.9), 4: LabelSet((), 1.0)}
    counted.observe(RequestRecord(model=model, outcomes=[words, LabelsetError("broken")]))
    samples = Samples(generate_latest(counted.registry).decode())
    assert samples.get("label_set_size_count", **TEXT) == 2
    assert samples.get("empty_label_sets_total", **TEXT) == 1
    assert samples.get("input_errors_total", code="internal_error", **TEXT) == 1


def test_every_family_is_ours_or_of_the_process_and_documented(client):
    families = list(text_string_to_metric_families(client.get("/metrics").text))
    assert {family.name.partition("_")[0] for family in families} == {"labelset", "process"}
    page = (Path(metrics.__file__).parents[1] / "docs" / "observability.md").read_text()
    # The parser leaves out the ending of counters.
    names = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    assert {name for name in names if name.startswith("labelset_")} == set(
        re.findall(r"^\| `(labelset_\w+)`", page, re.M)
    )
