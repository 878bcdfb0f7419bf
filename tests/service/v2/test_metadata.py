"""Health, metadata and configuration, as Triton's client reads them."""

import asyncio

import httpx
import pytest
from tritonclient.utils import InferenceServerException

from service.app import create_app
from service.settings import Settings


def test_the_service_is_live_and_ready(triton_client, model_names):
    assert triton_client.is_server_live()
    assert triton_client.is_server_ready()
    for name in model_names.values():
        assert triton_client.is_model_ready(name)
        assert triton_client.is_model_ready(name, "1")


def test_a_model_or_version_that_is_not_there_is_not_ready(triton_client, v2, model_names):
    assert not triton_client.is_model_ready("nope")
    assert not triton_client.is_model_ready(model_names["text"], "9")
    assert v2.get("/models/nope/ready").status_code == 404
    assert v2.get(f"/models/{model_names['text']}/versions/9/ready").status_code == 404


def test_before_the_models_are_loaded_the_service_is_live_and_not_ready():
    app = create_app(Settings())

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service/v2") as client:
            return [await client.get(path) for path in ("", "/health/live", "/health/ready", "/models/text-demo/ready")]

    described, live, *others = asyncio.run(ask())
    assert (described.status_code, live.status_code) == (200, 200)
    for answer in others:
        assert (answer.status_code, answer.json()) == (503, {"error": "the models are not loaded"})


def test_an_error_nobody_foresaw_has_the_protocols_shape_and_says_nothing_of_its_cause():
    app = create_app(Settings())

    @app.get("/v2/boom")
    async def boom() -> None:
        raise RuntimeError("secret /etc/passwd")

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.get("/v2/boom")

    answer = asyncio.run(ask())
    assert (answer.status_code, answer.json()) == (500, {"error": "the service failed to answer; its log says why"})


def test_the_service_names_itself_and_its_extensions(triton_client, client):
    described = triton_client.get_server_metadata()
    assert described["name"] == "labelset"
    assert described["version"] == client.get("/version").json()["version"]
    assert described["extensions"] == ["binary_tensor_data", "classification", "model_configuration", "statistics"]


@pytest.mark.parametrize("kind", ["image", "text"])
@pytest.mark.parametrize("version", ["", "1"])
def test_a_model_names_its_input_and_outputs(triton_client, client, model_names, kind, version):
    class_count = len(client.get(f"/models/{model_names[kind]}").json()["labels"])
    assert triton_client.get_model_metadata(model_names[kind], version) == {
        "name": model_names[kind],
        "versions": ["1"],
        "platform": "labelset_onnx",
        "inputs": [{"name": kind, "datatype": "BYTES", "shape": [-1, 1]}],
        "outputs": [
            {"name": "row_offset", "datatype": "INT64", "shape": [-1]},
            {"name": "label_index", "datatype": "INT64", "shape": [-1]},
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "label_probability", "datatype": "FP32", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, class_count]},
        ],
    }


@pytest.mark.parametrize("version", ["", "1"])
def test_the_configuration_has_the_shape_of_tritons(triton_client, client, model_names, version):
    class_count = len(client.get(f"/models/{model_names['image']}").json()["labels"])
    assert triton_client.get_model_config(model_names["image"], version) == {
        "name": model_names["image"],
        "platform": "labelset_onnx",
        "max_batch_size": 8,
        "input": [{"name": "image", "data_type": "TYPE_STRING", "dims": [1]}],
        "output": [
            {"name": "row_offset", "data_type": "TYPE_INT64", "dims": [-1]},
            {"name": "label_index", "data_type": "TYPE_INT64", "dims": [-1]},
            {"name": "label", "data_type": "TYPE_STRING", "dims": [-1]},
            {"name": "label_probability", "data_type": "TYPE_FP32", "dims": [-1]},
            {"name": "probabilities", "data_type": "TYPE_FP32", "dims": [class_count]},
        ],
    }


def test_what_is_not_there_is_told_in_the_protocols_shape(triton_client, v2, client):
    with pytest.raises(InferenceServerException, match=r"model must be one of .* got 'nope'"):
        triton_client.get_model_metadata("nope")
    with pytest.raises(InferenceServerException, match=r"model must be one of .* got 'nope'"):
        triton_client.get_model_config("nope")
    assert v2.get("/nowhere").status_code == 404
    assert v2.post("/health/live").status_code == 405
    assert client.get("/v2nowhere").json()["error"]["code"] == "not_found"  # every other path keeps its shape
