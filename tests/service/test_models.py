"""`GET /models` and what lies under it."""

import dataclasses
import hashlib

from model.sparse_softmax import native


def test_the_list_has_each_model_with_its_kind_and_metrics(client):
    models = client.get("/models").json()["models"]
    assert sorted(model["kind"] for model in models) == ["image", "text"]
    for model in models:
        assert model.keys() == {
            "name",
            "version",
            "digest",
            "versions",
            "kind",
            "task",
            "class_count",
            "metrics",
            "r_softmax",
        }
        assert model["versions"] == [model["version"]] == ["1"]


def test_a_model_tells_all_that_its_bundle_says(client, bundles, model_names):
    for kind, name in model_names.items():
        folder = bundles / name / "1"
        model = client.get(f"/models/{name}").json()
        assert len(model["labels"]) == model["class_count"]
        assert model["preprocessing"]["kind"] == kind
        assert model["card"] == (folder / "README.md").read_text()
        assert model["digest"] == hashlib.sha256((folder / "bundle.json").read_bytes()).hexdigest()
        assert model["provenance"]["data_set"]
        assert model["device"] in {"cpu", "cuda"}
        assert model["r_softmax"] == dataclasses.asdict(native.implementation(model["device"]))
        assert client.get(f"/models/{name}?version=1").json() == model


def test_an_unknown_model_or_version_is_404(client, model_names):
    assert client.get("/models/nope").json()["error"]["code"] == "model_not_found"
    assert client.get("/models/nope/examples").status_code == 404
    answer = client.get(f"/models/{model_names['text']}?version=0")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "version_not_found")
