"""Plain HTTP where it differs from what Triton's client sends: the body as the input itself, JSON by hand."""

import json

import pytest
import tritonclient.http as triton

RAW = {"inference-header-content-length": "0"}
SENTENCE = "Adversaries may send spearphishing emails with a malicious attachment."


def labels_of(response) -> list[str]:
    assert response.status_code == 200, response.text
    length = response.headers.get("inference-header-content-length")
    result = triton.InferenceServerClient.parse_response_body(
        response.content, header_length=None if length is None else int(length)
    )
    return [label.decode() if isinstance(label, bytes) else label for label in result.as_numpy("label")]


@pytest.fixture(scope="module")
def expected(client):
    [prediction] = client.post("/predict", json={"text": SENTENCE}).json()["predictions"]
    return [label["label"] for label in prediction["labels"]]


def test_a_text_is_its_own_body(v2, infer_path, expected):
    response = v2.post(infer_path["text"], content=SENTENCE, headers=RAW)
    assert response.headers["content-type"] == "application/octet-stream"
    assert labels_of(response) == expected


def test_a_picture_is_its_own_body(v2, client, infer_path, png):
    [prediction] = client.post("/predict", files={"files": png}).json()["predictions"]
    found = labels_of(v2.post(infer_path["image"], content=png, headers=RAW))
    assert found == [label["label"] for label in prediction["labels"]]


def test_a_body_of_its_own_that_is_empty_is_422(v2, infer_path):
    response = v2.post(infer_path["text"], content=b"", headers=RAW)
    assert (response.status_code, response.json()["error"]) == (
        422,
        "element 0 of input 'text': a text must not be empty",
    )


@pytest.mark.parametrize("content_type", [None, "application/json", "application/x-www-form-urlencoded", "image/png"])
def test_the_content_type_is_not_asked_for(v2, infer_path, expected, content_type):
    body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [SENTENCE]}]}
    headers = {} if content_type is None else {"content-type": content_type}
    response = v2.post(infer_path["text"], content=json.dumps(body), headers=headers)
    assert response.headers["content-type"] == "application/json"
    assert labels_of(response) == expected


@pytest.mark.parametrize(("shape", "data"), [([1], [SENTENCE]), ([1, 1], [SENTENCE]), ([1, 1], [[SENTENCE]])])
def test_data_in_json_are_flat_or_nested_as_the_shape_is(v2, infer_path, expected, shape, data):
    body = {"inputs": [{"name": "text", "shape": shape, "datatype": "BYTES", "data": data}]}
    assert labels_of(v2.post(infer_path["text"], json=body)) == expected


def test_json_is_the_answer_unless_bytes_are_asked_for(v2, infer_path):
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [SENTENCE]}
    plain = v2.post(infer_path["text"], json={"inputs": [tensor]})
    assert all("data" in output for output in plain.json()["outputs"])
    assert "inference-header-content-length" not in plain.headers
    binary = v2.post(infer_path["text"], json={"inputs": [tensor], "parameters": {"binary_data_output": True}})
    header = json.loads(binary.content[: int(binary.headers["inference-header-content-length"])])
    assert all("data" not in output for output in header["outputs"])
    # An output's own wish goes before that of the request.
    outputs = [{"name": "label", "parameters": {"binary_data": False}}, {"name": "row_offset"}]
    body = {"inputs": [tensor], "parameters": {"binary_data_output": True}, "outputs": outputs}
    mixed = v2.post(infer_path["text"], json=body)
    header = json.loads(mixed.content[: int(mixed.headers["inference-header-content-length"])])
    assert ["data" in output for output in header["outputs"]] == [True, False]


def test_no_classes_asked_for_is_the_output_as_it_is(v2, infer_path):
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [SENTENCE]}
    outputs = [{"name": "probabilities", "parameters": {"classification": 0}}]
    [output] = v2.post(infer_path["text"], json={"inputs": [tensor], "outputs": outputs}).json()["outputs"]
    assert (output["datatype"], output["shape"]) == ("FP32", [1, 14])
