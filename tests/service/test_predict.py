"""`POST /predict` in each of its forms, with each of its options."""

import asyncio
import base64
import hashlib

import httpx
import pytest

from model import golden
from model.bundle import Bundle
from model.predictor import Predictor

SENTENCE = "Adversaries may send spearphishing emails with a malicious attachment."


def labels(answer, index: int = 0) -> list[tuple[str, float]]:
    return [(label["label"], label["probability"]) for label in answer.json()["predictions"][index]["labels"]]


def described(bundles, name: str) -> dict[str, str]:
    """What an answer says of the model that gave it."""
    manifest = (bundles / name / "1" / "bundle.json").read_bytes()
    return {"name": name, "version": "1", "digest": hashlib.sha256(manifest).hexdigest()}


def image_forms(png: bytes) -> dict[str, dict]:
    return {
        "multipart": {"files": {"files": ("photo.png", png)}},
        "raw image": {"content": png, "headers": {"content-type": "image/png"}},
        "octet stream": {"content": png, "headers": {"content-type": "application/octet-stream"}},
        "json": {"json": {"image": base64.b64encode(png).decode()}},
        "json list of one": {"json": {"images": [base64.b64encode(png).decode()]}},
    }


TEXT_FORMS = {
    "multipart": {"files": {"text": (None, SENTENCE)}},
    "multipart file": {"files": {"text": ("note.txt", SENTENCE.encode())}},
    "plain": {"content": SENTENCE, "headers": {"content-type": "text/plain"}},
    "plain with charset": {"content": SENTENCE, "headers": {"content-type": "text/plain; charset=UTF-8"}},
    "json": {"json": {"text": SENTENCE}},
    "json list of one": {"json": {"texts": [SENTENCE]}},
}


@pytest.mark.parametrize("form", image_forms(b""))
def test_an_image_gets_the_same_label_set_in_every_form(client, bundles, model_names, png, form):
    expected = client.post("/predict", content=png, headers={"content-type": "image/png"}).json()
    answer = client.post("/predict", **image_forms(png)[form])
    assert answer.status_code == 200
    assert answer.json() == expected
    assert answer.json()["model"] == described(bundles, model_names["image"])


@pytest.mark.parametrize("form", TEXT_FORMS)
def test_a_text_gets_the_same_label_set_in_every_form(client, bundles, model_names, form):
    expected = client.post("/predict", json={"text": SENTENCE}).json()
    answer = client.post("/predict", **TEXT_FORMS[form])
    assert answer.status_code == 200
    assert answer.json() == expected
    assert answer.json()["model"] == described(bundles, model_names["text"])


@pytest.mark.parametrize("kind", ["image", "text"])
def test_golden_examples_get_their_label_sets_over_http(client, bundles, model_names, kind):

    examples = golden.load(Predictor(Bundle.open(bundles / model_names[kind] / "1")))
    inputs = client.get(f"/models/{model_names[kind]}/examples").json()["inputs"]
    assert len(inputs) == len(examples) > 0
    for given, example in zip(inputs, examples, strict=True):
        answer = client.post("/predict", json={kind: given})
        assert dict(labels(answer)) == pytest.approx(
            {label.label: label.probability for label in example.labels}, abs=golden.PROBABILITY_TOLERANCE
        )


def test_labels_come_in_descending_probability_and_sum_to_one(client, png):
    prediction = client.post("/predict?label_count=3", files={"files": png}).json()["predictions"][0]
    probabilities = [label["probability"] for label in prediction["labels"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=1e-5)
    assert prediction["label_count"] == len(probabilities) == 3


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_label_count_decides_how_many_labels_come_back(client, count):
    for answer in (
        client.post(f"/predict?label_count={count}", json={"text": SENTENCE}),
        client.post("/predict", json={"text": SENTENCE, "label_count": count}),
    ):
        assert len(labels(answer)) == count


def test_sparsity_rate_one_leaves_the_most_probable_label(client):
    first = labels(client.post("/predict?label_count=2", json={"text": SENTENCE}))[0][0]
    answer = client.post("/predict?sparsity_rate=1", json={"text": SENTENCE})
    assert labels(answer) == [(first, 1.0)]
    assert answer.json()["predictions"][0]["sparsity_rate"] == 1.0


def test_a_json_body_goes_before_the_query(client):
    answer = client.post("/predict?label_count=1", json={"text": SENTENCE, "label_count": 4})
    assert len(labels(answer)) == 4


def test_a_model_and_its_version_can_be_named_in_query_and_body(client, model_names):
    name = model_names["text"]
    by_query = client.post(f"/predict?model={name}&version=1", json={"text": SENTENCE})
    by_body = client.post("/predict", json={"text": SENTENCE, "model": name, "version": "1"})
    assert by_query.status_code == 200
    assert by_query.json() == by_body.json()


def test_a_batch_is_answered_in_the_order_of_the_request(client, png_base64):
    sentences = [SENTENCE, "short", "a much longer text " * 50]
    batch = client.post("/predict", json={"texts": sentences})
    assert [prediction["index"] for prediction in batch.json()["predictions"]] == [0, 1, 2]
    for index, sentence in enumerate(sentences):
        alone = client.post("/predict", json={"text": sentence})
        assert dict(labels(batch, index)) == pytest.approx(dict(labels(alone)), abs=1e-5)


def test_several_files_and_several_texts_go_in_one_multipart_request(client, png):
    images = client.post("/predict", files=[("files", png)] * 3)
    texts = client.post("/predict", files=[("text", (None, SENTENCE)), ("text", ("t.txt", b"another one"))])
    assert len(images.json()["predictions"]) == 3
    assert len(texts.json()["predictions"]) == 2


def test_a_bad_input_in_the_middle_of_a_batch_fails_alone(client, png):
    answer = client.post("/predict", files=[("files", png), ("files", b"not a picture"), ("files", png)])
    assert answer.status_code == 200
    good, bad, other = answer.json()["predictions"]
    assert bad["index"] == 1
    assert bad["error"]["code"] == "not_an_image"
    assert bad["error"].keys() == {"code", "message", "detail"}
    assert good["labels"] == other["labels"]


def test_every_way_of_failing_alone_keeps_its_place(client, png_base64):
    images = [png_base64, "%%%", "", "bm90IGEgcGljdHVyZQ=="]
    texts = ["a text", "", "  \n", "x" * 2001, "another"]
    image_answers = client.post("/predict", json={"images": images}).json()["predictions"]
    text_answers = client.post("/predict", json={"texts": texts}).json()["predictions"]
    codes = [answer["error"]["code"] if "error" in answer else None for answer in image_answers + text_answers]
    assert codes == [
        None, "invalid_base64", "empty_input", "not_an_image",
        None, "empty_input", "empty_input", "text_too_long", None,
    ]  # fmt: skip


def test_a_batch_in_which_every_input_fails_is_still_200(client):
    answer = client.post("/predict", json={"texts": ["", " "]})
    assert answer.status_code == 200
    assert [prediction["error"]["code"] for prediction in answer.json()["predictions"]] == ["empty_input"] * 2


@pytest.mark.parametrize(
    "text",
    [
        "Grüße 世界 🎉",
        "e\u0301\u200b\u202e",
        "NUL \x00 in the middle",
        "\U0010ffff",
        "'; DROP TABLE--<script>",
        "\ufeffBOM",
    ],
)
def test_any_unicode_text_is_answered(client, text):
    as_json = client.post("/predict", json={"text": text})
    as_plain = client.post("/predict", content=text.encode(), headers={"content-type": "text/plain"})
    assert as_json.status_code == as_plain.status_code == 200
    assert as_json.json() == as_plain.json()


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_picture_format_is_answered(client, encode, image_format):
    answer = client.post("/predict", files={"files": encode(image_format=image_format)})
    assert answer.status_code == 200
    assert labels(answer)


def test_twenty_mixed_requests_at_once_get_the_answers_they_get_alone(service, client, png):
    requests = [
        {"json": {"text": f"{SENTENCE} {number}", "label_count": 1 + number % 4}}
        if number % 2
        else {"files": [("files", png)] * (1 + number % 3)}
        for number in range(20)
    ]
    alone = [client.post("/predict", **request).json() for request in requests]

    async def send_all() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=service.url, timeout=60) as together:
            return await asyncio.gather(*(together.post("/predict", **request) for request in requests))

    answers = asyncio.run(send_all())
    for answer, expected in zip(answers, alone, strict=True):
        for together, by_itself in zip(answer.json()["predictions"], expected["predictions"], strict=True):
            # In another batch sums are taken in another order.
            assert [one["label"] for one in together["labels"]] == [one["label"] for one in by_itself["labels"]]
            assert [one["probability"] for one in together["labels"]] == pytest.approx(
                [one["probability"] for one in by_itself["labels"]], abs=1e-5
            )
