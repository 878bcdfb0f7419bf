"""Answers that are kept: given to who asks the same again, and to nobody else."""

import asyncio
import base64
import shutil

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from model.labels import LabelSet
from model.session import LET_THE_MODEL_DECIDE
from service.access.keys import new_key, write_keys
from service.errors import EmptyInput
from service.repository import Repository
from service.result_cache import ResultCache
from service.settings import Settings

TEXTS = ["It encrypts the disk.", "The group sent phishing mails.", "It lists processes.", "It logs keystrokes."]


class Service:
    """A running service, and what it has counted."""

    def __init__(self, url: str, key: str = "") -> None:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self.client = httpx.Client(base_url=url, timeout=60, headers=headers)

    def predict(self, **body):
        answer = self.client.post("/predict", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def counted(self, name: str, **labels: str) -> int:
        samples = (
            sample
            for family in text_string_to_metric_families(self.client.get("/metrics").text)
            for sample in family.samples
        )
        return int(sum(s.value for s in samples if s.name == f"labelset_{name}" and labels.items() <= s.labels.items()))

    def computed(self) -> int:
        """Inputs that sessions were given."""
        return self.counted("batch_rows_sum")

    def lookups(self) -> tuple[int, int]:
        return tuple(self.counted("cache_lookups_total", result=result) for result in ("hit", "miss"))


@pytest.fixture
def service(serve, bundles):
    made = Service(serve(models=bundles, result_cache_rows=3).url)
    with made.client:
        yield made


def test_what_is_asked_again_is_not_computed_again(service):
    first = service.predict(text=TEXTS[0])
    assert (service.computed(), service.lookups()) == (1, (0, 1))
    assert service.predict(text=TEXTS[0]) == first
    plain = service.client.post("/predict", content=TEXTS[0], headers={"content-type": "text/plain"})
    assert plain.json() == first
    assert (service.computed(), service.lookups()) == (1, (2, 1))
    # Nothing tells it apart but that no stage was reached.
    assert plain.headers["server-timing"].startswith("total;")
    # Label sets are counted whether or not they were computed.
    assert service.counted("label_set_size_count") == 3


def test_of_a_batch_only_the_inputs_that_are_new_are_computed(service):
    alone = [service.predict(text=text)["predictions"][0]["labels"] for text in TEXTS[:2]]
    together = service.predict(texts=[TEXTS[1], TEXTS[2], "", TEXTS[0]])["predictions"]
    assert [together[0]["labels"], together[3]["labels"]] == [alone[1], alone[0]]
    assert [prediction["index"] for prediction in together] == [0, 1, 2, 3]
    assert together[2]["error"]["code"] == "empty_input"
    assert (service.computed(), service.lookups()) == (3, (2, 4))
    # Errors are not kept.
    assert service.predict(texts=["", TEXTS[2]])["predictions"][1]["labels"] == together[1]["labels"]
    assert service.lookups() == (3, 5)


def test_there_is_room_for_so_many_and_the_one_asked_for_longest_ago_is_forgotten(service):
    for text in TEXTS[:3]:
        service.predict(text=text)
    service.predict(text=TEXTS[0])  # now the second is the oldest
    service.predict(text=TEXTS[3])
    assert (service.computed(), service.lookups()) == (4, (1, 4))
    service.predict(texts=[TEXTS[0], TEXTS[2], TEXTS[3]])
    assert service.lookups() == (4, 4)
    service.predict(text=TEXTS[1])
    assert (service.computed(), service.lookups()) == (5, (4, 5))


def test_an_answer_is_that_of_its_sparsity_and_may_be_told_in_part(service):
    by_model = service.predict(text=TEXTS[0])["predictions"][0]
    four = service.predict(text=TEXTS[0], label_count=4)["predictions"][0]
    half = service.predict(text=TEXTS[0], sparsity_rate=0.5)["predictions"][0]
    assert len({answer["sparsity_rate"] for answer in (by_model, four, half)}) == 3
    assert service.lookups() == (0, 3)
    [told] = service.predict(text=TEXTS[0], label_count=4, max_labels=2)["predictions"]
    assert told["labels"] == four["labels"][:2]
    assert service.predict(text=TEXTS[0], label_count=4)["predictions"][0] == four
    assert (service.computed(), service.lookups()) == (3, (2, 3))


def test_pictures_and_the_open_inference_protocol_take_part(service, png):
    first = service.predict(image=base64.b64encode(png).decode())["predictions"][0]
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(png).decode()]}
    answer = service.client.post("/v2/models/image-demo/infer", json={"inputs": [tensor]}).json()
    assert answer["outputs"][2]["data"] == [label["label"] for label in first["labels"]]
    assert (service.computed(), service.lookups()) == (1, (1, 1))
    [stats] = service.client.get("/v2/models/image-demo/stats").json()["model_stats"]
    assert (stats["inference_stats"]["cache_hit"]["count"], stats["inference_stats"]["cache_miss"]["count"]) == (1, 1)
    assert stats["inference_stats"]["success"]["count"] == 2


def test_without_the_setting_nothing_is_kept(serve, bundles):
    service = Service(serve(models=bundles).url)
    with service.client:
        assert service.predict(text=TEXTS[0]) == service.predict(text=TEXTS[0])
        assert (service.computed(), service.lookups()) == (2, (0, 0))


def test_a_model_that_replaces_another_answers_itself(serve, tmp_path, write_version):
    write_version(tmp_path / "mine" / "1", "first")
    service = Service(serve(models=tmp_path, admin=True, result_cache_rows=100).url)
    with service.client:
        first = service.predict(text=TEXTS[0])
        write_version(tmp_path / "mine" / "1", "second")
        assert service.client.post("/v2/repository/models/mine/load").status_code == 200
        second = service.predict(text=TEXTS[0])
        assert first["model"]["digest"] != second["model"]["digest"]
        assert (service.computed(), service.lookups()) == (2, (0, 2))
        # Loaded anew, the same files have the same answers.
        assert service.client.post("/v2/repository/models/mine/unload").status_code == 200
        assert service.client.post("/v2/repository/models/mine/load").status_code == 200
        assert service.predict(text=TEXTS[0]) == second
        assert service.lookups() == (1, 2)


def test_callers_of_different_models_share_no_answers_even_where_the_models_are_the_same(serve, tmp_path, bundles):
    for name in ("first", "second"):
        shutil.copytree(bundles / "text-demo" / "1", tmp_path / "models" / name / "1")
    keys = {name: new_key(name, scopes=("infer", "metrics"), models=(name,)) for name in ("first", "second")}
    write_keys(tmp_path / "keys.json", [key for key, _ in keys.values()])
    url = serve(models=tmp_path / "models", keys_file=tmp_path / "keys.json", result_cache_rows=100).url
    first, second = (Service(url, secret) for _, secret in keys.values())
    with first.client, second.client:
        own, other = first.predict(text=TEXTS[0]), second.predict(text=TEXTS[0])
        assert own["model"]["digest"] == other["model"]["digest"]
        assert (first.computed(), first.lookups()) == (2, (0, 2))
        refused = second.client.post("/predict", json={"text": TEXTS[0], "model": "first"})
        assert refused.status_code == 403


@pytest.fixture(scope="module")
def model(host):
    return Repository.open(Settings(), host).catalogue.get("text-demo")


def _lookups(model, questions, rows=10):
    """Which of the inputs of each question had to be computed."""

    async def ask():
        cache, asked = ResultCache(rows), []

        async def compute(items, sparsities):
            asked.append(list(items))
            return [item if isinstance(item, EmptyInput) else LabelSet((), 1.0) for item in items]

        for items in questions:
            await cache.get(model, items, [LET_THE_MODEL_DECIDE] * len(items), compute)
        return asked

    return asyncio.run(ask())


def test_inputs_of_other_kinds_and_borders_are_others(model):
    items = ["ab", b"ab", ("ab",), ("a", "b"), ("a b",), ('a", "b',), '["ab"]']
    assert _lookups(model, [[item] for item in items]) == [[item] for item in items]
    assert _lookups(model, [items, items[::-1]]) == [items]


def test_an_input_that_could_not_be_read_is_not_looked_up(model):
    error = EmptyInput("nothing")
    assert _lookups(model, [[error], [error, "a"], [error, "a"]]) == [[error], [error, "a"], [error]]


def test_large_inputs_are_known_as_well(model):
    large, other = np.zeros(300_000, np.uint8).tobytes(), bytes(299_999) + b"\1"
    assert _lookups(model, [[large], [other], [large, other]]) == [[large], [other]]
