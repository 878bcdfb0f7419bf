"""`POST /predict` with recordings, beside a model of pictures and one of texts."""

import base64
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from model import golden
from model.predictor import Predictor

MODEL = "tiny-audio"


@pytest.fixture(scope="module")
def audio_client(serve, bundles, trained_audio, tmp_path_factory) -> Iterator[httpx.Client]:
    repository = Path(shutil.copytree(bundles, tmp_path_factory.mktemp("models") / "all"))
    shutil.copytree(trained_audio.bundle, repository / MODEL / "1")
    service = serve(models=repository, max_audio_bytes=100_000, max_image_bytes=100_000, max_body_bytes=400_000)
    with httpx.Client(base_url=service.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def example(trained_audio) -> golden.GoldenExample:
    return golden.load(Predictor.open(trained_audio.bundle, device="cpu"))[0]


@pytest.fixture(scope="module")
def wav() -> bytes:
    """Half a second of a tone."""
    stream = io.BytesIO()
    soundfile.write(stream, 0.2 * np.sin(2 * np.pi * 300 * np.arange(4_000) / 8_000), 8_000, format="WAV")
    return stream.getvalue()


def forms(recording: bytes) -> dict[str, dict]:
    base64_ = base64.b64encode(recording).decode()
    return {
        "multipart": {"files": {"files": ("clip.bin", recording)}},
        "multipart with a type": {"files": {"files": ("clip", recording, "audio/wav")}},
        "raw": {"content": recording, "headers": {"content-type": "audio/x-wav"}},
        "octet stream": {"content": recording, "headers": {"content-type": "application/octet-stream"}},
        "json": {"json": {"audio": base64_}},
        "json list of one": {"json": {"audios": [base64_]}},
    }


def refused(response: httpx.Response, status: int, code: str) -> dict:
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    return response.json()["error"]


@pytest.mark.parametrize("form", forms(b""))
def test_a_recording_gets_the_label_set_of_its_golden_example_in_every_form(audio_client, example, form):
    answer = audio_client.post("/predict", **forms(example.item)[form])
    assert answer.status_code == 200
    assert answer.json()["model"].items() >= {"name": MODEL, "version": "1"}.items()
    [prediction] = answer.json()["predictions"]
    assert [label["label"] for label in prediction["labels"]] == [label.label for label in example.labels]
    assert len(example.labels) > 1
    for label, expected in zip(prediction["labels"], example.labels, strict=True):
        assert label["probability"] == pytest.approx(expected.probability, abs=golden.PROBABILITY_TOLERANCE)


def test_the_documented_recording_is_answered(audio_client):
    body = audio_client.get("/openapi.json").json()["paths"]["/predict"]["post"]["requestBody"]["content"]
    [example] = [e["value"] for e in body["application/json"]["examples"].values() if "audio" in e["value"]]
    assert audio_client.post("/predict", json=example).status_code == 200


def test_pictures_and_texts_are_answered_beside_it(audio_client, encode):
    for request, kind in (({"files": {"files": encode()}}, "image"), ({"json": {"text": "a text"}}, "text")):
        name = audio_client.post("/predict", **request).json()["model"]["name"]
        assert audio_client.get(f"/models/{name}").json()["kind"] == kind


@pytest.mark.parametrize("bad", [b"", b"no recording", b"RIFF\0\0\0\0WAVE", b"fLaC" + b"\0" * 50])
def test_a_bad_recording_of_a_batch_fails_alone(audio_client, wav, bad):
    answer = audio_client.post("/predict", files=[("files", wav), ("files", bad), ("files", wav)])
    assert answer.status_code == 200
    good, failed, other = answer.json()["predictions"]
    assert failed["error"]["code"] in {"empty_input", "not_a_recording", "recording_corrupt"}
    assert good["labels"] == other["labels"]


def test_a_picture_among_recordings_fails_alone_and_the_reverse(audio_client, wav, encode):
    for files, code in (([wav, wav, encode()], "not_a_recording"), ([encode(), encode(), wav], "not_an_image")):
        answer = audio_client.post("/predict", files=[("files", content) for content in files])
        assert [prediction.get("error", {}).get("code") for prediction in answer.json()["predictions"]] == [
            None,
            None,
            code,
        ]


@pytest.mark.parametrize(
    "request_",
    [
        {"files": {"files": ("broken.wav", b"noise")}},
        {"content": b"noise", "headers": {"content-type": "audio/wav"}},
        {"json": {"audio": base64.b64encode(b"noise").decode()}},
    ],
)
def test_bytes_that_are_said_to_be_a_recording_and_are_none_are_refused_as_one(audio_client, request_):
    refused(audio_client.post("/predict", **request_), 422, "not_a_recording")


def test_a_recording_that_breaks_off_in_its_header_is_422(audio_client, wav):
    refused(audio_client.post("/predict", files={"files": wav[:30]}), 422, "recording_corrupt")


def test_a_recording_that_holds_nothing_is_422(audio_client):
    answer = audio_client.post("/predict", content=b"", headers={"content-type": "audio/wav"})
    assert "recording" in refused(answer, 422, "empty_input")["message"]


def test_a_recording_over_the_limit_is_413(audio_client, wav):
    error = refused(audio_client.post("/predict", files={"files": wav + bytes(100_000)}), 413, "recording_too_large")
    assert error["detail"] == {"quantity": "bytes", "limit": 100_000, "value": len(wav) + 100_000}


def test_a_recording_that_is_not_base64_is_422(audio_client):
    assert (
        "a recording" in refused(audio_client.post("/predict", json={"audio": "%"}), 422, "invalid_base64")["message"]
    )


def test_one_request_holds_one_kind(audio_client, wav):
    refused(audio_client.post("/predict", json={"audio": "YQ==", "text": "a"}), 422, "invalid_request")
    response = audio_client.post("/predict", files=[("files", wav), ("text", (None, "a"))])
    refused(response, 422, "invalid_request")


def test_a_recording_to_a_model_of_another_kind_is_422_and_the_reverse(audio_client, wav, encode):
    refused(audio_client.post("/predict?model=text-demo", files={"files": wav}), 422, "wrong_input_kind")
    refused(audio_client.post("/predict?model=image-demo", files={"files": wav}), 422, "wrong_input_kind")
    refused(audio_client.post(f"/predict?model={MODEL}", files={"files": encode()}), 422, "wrong_input_kind")
    refused(audio_client.post(f"/predict?model={MODEL}", json={"text": "a"}), 422, "wrong_input_kind")


def test_without_a_model_of_recordings_one_is_422(client, wav):
    error = refused(client.post("/predict", files={"files": wav}), 422, "wrong_input_kind")
    assert "audio" in error["message"]


def test_the_model_tells_what_it_hears_and_gives_recordings_to_try(audio_client):
    model = audio_client.get(f"/models/{MODEL}").json()
    assert model["kind"] == "audio"
    assert model["preprocessing"] == {"kind": "audio", "sample_rate": 8_000, "seconds": 0.5}
    examples = audio_client.get(f"/models/{MODEL}/examples").json()
    assert examples["kind"] == "audio"
    for content in examples["inputs"]:
        sound, _ = soundfile.read(io.BytesIO(base64.b64decode(content)))
        assert len(sound) > 1_000
