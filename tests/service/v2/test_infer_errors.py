"""Every way in which `infer` refuses: its status, and a message that names the thing, the rule and the value."""

import base64
import json
import struct

import pytest
from triton_clients import http_client
from tritonclient.utils import InferenceServerException

JSON_LENGTH = "inference-header-content-length"


def text_input(**changes):
    return {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["A dog barks."], **changes}


def refused(response, status: int = 400) -> str:
    assert response.status_code == status, response.text
    return response.json()["error"]


def message_of(v2, infer_path, body, status: int = 400) -> str:
    return refused(v2.post(infer_path["text"], json=body), status)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"inputs": []} {}', b"[" * 60_000, b'{"id": "\\ud800"}'])
def test_a_body_that_is_not_json_is_400(v2, infer_path, body):
    refused(v2.post(infer_path["text"], content=body))


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ([], "object"),
        ({}, "inputs"),
        ({"inputs": {}}, "inputs"),
        ({"inputs": [5]}, "inputs.0"),
        ({"inputs": [text_input(name=5)]}, "inputs.0.name"),
        ({"inputs": [text_input(shape=[1.5])]}, "inputs.0.shape.0"),
        ({"inputs": [text_input(shape=[True])]}, "inputs.0.shape.0"),
        ({"inputs": [text_input(shape=[-1])]}, "inputs.0.shape.0"),
        ({"inputs": [text_input(shape=[2**63])]}, "inputs.0.shape.0"),
        ({"inputs": [text_input(shape="1")]}, "inputs.0.shape"),
        ({"inputs": [text_input(data="A dog barks.")]}, "inputs.0.data"),
        ({"inputs": [text_input(parameters={"binary_data_size": -1})]}, "inputs.0.parameters.binary_data_size"),
        ({"inputs": [text_input(parameters={"binary_data_size": True})]}, "inputs.0.parameters.binary_data_size"),
        ({"inputs": [text_input()], "id": 5}, "id"),
        ({"inputs": [text_input()], "parameters": {"label_count": 1.5}}, "parameters.label_count"),
        ({"inputs": [text_input()], "parameters": {"label_count": "3"}}, "parameters.label_count"),
        ({"inputs": [text_input()], "parameters": {"sparsity_rate": "half"}}, "parameters.sparsity_rate"),
        ({"inputs": [text_input()], "parameters": {"binary_data_output": 1}}, "parameters.binary_data_output"),
        ({"inputs": [text_input()], "outputs": ["label"]}, "outputs.0"),
        ({"inputs": [text_input()], "outputs": [{"name": "probabilities", "parameters": {"classification": -1}}]},
         "outputs.0.parameters.classification"),
        ({"inputs": [text_input()], "outputs": [{"name": "label", "parameters": {"binary_data": "yes"}}]},
         "outputs.0.parameters.binary_data"),
    ],
)  # fmt: skip
def test_json_of_another_shape_is_400_and_names_the_field(v2, infer_path, body, named):
    assert named in message_of(v2, infer_path, body)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "image"}, "text-demo must be given one input, 'text', got ['image']"),
        ({"datatype": "FP32"}, "datatype of input 'text' must be BYTES, whole files or texts, got 'FP32'"),
        ({"shape": []}, "shape of input 'text' must be [B] or [B, 1], got []"),
        ({"shape": [1, 2]}, "shape of input 'text' must be [B] or [B, 1], got [1, 2]"),
        ({"shape": [1, 1, 1]}, "shape of input 'text' must be [B] or [B, 1], got [1, 1, 1]"),
        ({"shape": [0], "data": []}, "input 'text' must hold at least one element, got shape [0]"),
        ({"shape": [2]}, "input 'text' must hold 2 elements by its shape [2], got 1"),
        ({"shape": [1], "data": []}, "input 'text' must hold 1 elements by its shape [1], got 0"),
        ({"shape": [2], "data": ["a", 5]}, "element 1 of input 'text' must be a string, got int"),
        ({"shape": [2], "data": ["a", None]}, "element 1 of input 'text' must be a string, got NoneType"),
        ({"data": [["A dog barks."]]}, "element 0 of input 'text' must be a string, got list"),
        ({"data": None}, "input 'text' must have data or binary_data_size, got neither"),
        ({"parameters": {"binary_data_size": 0}}, "input 'text' must have data or binary_data_size, got both"),
        ({"data": None, "parameters": {"binary_data_size": 9}},
         "input 'text' must have 9 bytes behind the JSON by its binary_data_size, got 0"),
        ({"data": None, "parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 9}},
         "input 'text' must have data or binary_data_size, got neither"),
    ],
)  # fmt: skip
def test_an_input_that_breaks_a_rule_is_400_and_the_rule_is_told(v2, infer_path, changes, message):
    assert message_of(v2, infer_path, {"inputs": [text_input(**changes)]}) == message


def test_an_input_must_be_the_only_one(v2, infer_path):
    body = {"inputs": [text_input(), text_input(name="more")]}
    assert message_of(v2, infer_path, body) == "text-demo must be given one input, 'text', got ['text', 'more']"
    assert message_of(v2, infer_path, {"inputs": []}) == "text-demo must be given one input, 'text', got []"


@pytest.mark.parametrize(
    ("outputs", "named"),
    [
        ([{"name": "scores"}], "must be one of ['row_offset', 'label_index', 'label', 'label_probability', "
         "'probabilities'], got 'scores'"),
        ([{"name": "label"}, {"name": "label"}], "got 'label' more than once"),
        ([{"name": "label_probability", "parameters": {"classification": 3}}],
         "classification must be asked of the output 'probabilities', got 'label_probability'"),
        ([{"name": "label", "parameters": {"shared_memory_region": "r"}}],
         "must be one of ['binary_data', 'classification'], got 'shared_memory_region'"),
    ],
)  # fmt: skip
def test_an_output_that_cannot_be_had_is_400_and_named(v2, infer_path, outputs, named):
    assert named in message_of(v2, infer_path, {"inputs": [text_input()], "outputs": outputs})


@pytest.mark.parametrize("name", ["labelcount", "sequence_id", "x" * 5_000])
def test_a_parameter_that_is_not_known_is_400_and_the_known_ones_are_named(v2, infer_path, name):
    message = message_of(v2, infer_path, {"inputs": [text_input()], "parameters": {name: 3}})
    assert "['label_count', 'sparsity_rate', 'max_labels', " in message
    assert f"got '{name[:80]}'" in message


def test_hints_of_an_input_and_keys_of_extensions_are_let_pass(v2, infer_path):
    body = {"inputs": [text_input(parameters={"content_type": "str"})], "extension": {"of": "somebody"}}
    assert v2.post(infer_path["text"], json=body).status_code == 200


@pytest.mark.parametrize(
    ("wish", "named"),
    [
        ({"label_count": -1}, "got -1"),
        ({"label_count": 100_000}, "got 100000"),
        ({"sparsity_rate": 1.01}, "got 1.01"),
        ({"label_count": 1, "sparsity_rate": 0.5}, "exclude each other"),
    ],
)
def test_a_sparsity_that_the_model_cannot_grant_is_422(v2, infer_path, wish, named):
    assert named in message_of(v2, infer_path, {"inputs": [text_input()], "parameters": wish}, 422)


@pytest.mark.parametrize("digits", [19, 4_000, 5_000])
@pytest.mark.parametrize("name", ["label_count", "priority"])
def test_a_number_of_many_digits_is_400_and_not_repeated(v2, infer_path, name, digits):
    content = json.dumps({"inputs": [text_input()], "parameters": {name: 0}}).replace(": 0", ": " + "9" * digits)
    assert len(refused(v2.post(infer_path["text"], content=content))) < 200


def test_an_input_that_cannot_be_read_fails_the_request_and_its_index_is_told(
    triton_client, model_names, bytes_input, png
):
    images = bytes_input("image", [png, b"not a picture", png, b""])
    with pytest.raises(
        InferenceServerException, match=r"^\[422\] element 1 of input 'image': a picture must be one of"
    ):
        triton_client.infer(model_names["image"], [images])
    texts = bytes_input("text", [b"fine", b"fine", b"\xff"])
    with pytest.raises(InferenceServerException, match=r"^\[422\] element 2 of input 'text': a text must be UTF-8"):
        triton_client.infer(model_names["text"], [texts])
    texts = bytes_input("text", [b"", b"fine"])
    with pytest.raises(InferenceServerException, match=r"^\[422\] element 0 of input 'text': a text must not be empty"):
        triton_client.infer(model_names["text"], [texts])


def test_an_image_in_json_must_be_base64(v2, infer_path, png_base64):
    tensor = {"name": "image", "datatype": "BYTES", "shape": [2], "data": [png_base64, "é"]}
    message = refused(v2.post(infer_path["image"], json={"inputs": [tensor]}), 422)
    assert message.startswith("element 1 of input 'image': an image in JSON must be base64")


def test_more_elements_than_a_request_may_hold_are_413(v2, infer_path):
    assert "at most 8" in message_of(v2, infer_path, {"inputs": [text_input(shape=[9], data=["a"] * 9)]}, 413)
    # Refused by the shape alone, before anything is made of the data.
    assert "at most 8" in message_of(v2, infer_path, {"inputs": [text_input(shape=[2**62])]}, 413)


def test_a_body_over_the_limit_is_413(v2, infer_path):
    refused(v2.post(infer_path["image"], content=bytes(1_000_001), headers={JSON_LENGTH: "0"}), 413)


def test_json_of_a_great_many_values_is_413(v2, infer_path):
    refused(v2.post(infer_path["text"], content='{"inputs": [' + "1," * 400_000 + "1]}"), 413)


@pytest.mark.parametrize("value", ["-1", "1.5", "abc", "", "0x10", "1_0", "99999", "9" * 5_000])
def test_a_header_length_that_is_none_is_400_and_named(v2, infer_path, value):
    response = v2.post(infer_path["text"], json={"inputs": [text_input()]}, headers={JSON_LENGTH: value})
    assert "Inference-Header-Content-Length must be a number of bytes, at most the" in refused(response)
    assert repr(value[:80]) in refused(response)


def element(content: bytes) -> bytes:
    return struct.pack("<I", len(content)) + content


@pytest.mark.parametrize(
    ("shape", "content", "message"),
    [
        ([1], b"\x05\0\0\0four", "element 0 of input 'text' must end within the tensor's 8 bytes, by its length it "
         "ends at 9"),
        ([1], b"\x05\0", "element 0 of input 'text' must end within the tensor's 2 bytes, by its length it ends at 4"),
        ([1], b"\xff\xff\xff\xff", "element 0 of input 'text' must end within the tensor's 4 bytes, by its length it "
         "ends at 4294967299"),
        ([2], element(b"a"), "element 1 of input 'text' must end within the tensor's 5 bytes, by its length it ends "
         "at 9"),
        ([1], element(b"a") + element(b"b"), "input 'text' must hold 1 elements by its shape, got 5 bytes after them"),
    ],
)  # fmt: skip
def test_binary_elements_must_fill_their_tensor(v2, infer_path, shape, content, message):
    header = text_input(shape=shape, data=None, parameters={"binary_data_size": len(content)})
    head = json.dumps({"inputs": [header]}).encode()
    response = v2.post(infer_path["text"], content=head + content, headers={JSON_LENGTH: str(len(head))})
    assert refused(response) == message


@pytest.mark.parametrize(("declared", "sent"), [(20, 10), (10, 20)])
def test_tensors_must_fill_the_body(v2, infer_path, declared, sent):
    head = json.dumps({"inputs": [text_input(data=None, parameters={"binary_data_size": declared})]}).encode()
    response = v2.post(infer_path["text"], content=head + bytes(sent), headers={JSON_LENGTH: str(len(head))})
    assert "got 10" in refused(response)


def test_no_input_stands_in_an_error(v2, infer_path):
    secret = "correct horse battery staple"
    for response in (
        v2.post(infer_path["text"], content=secret),
        v2.post(infer_path["text"], json={"inputs": [text_input(data=secret)]}),
        v2.post(infer_path["text"], json={"inputs": [text_input(data=[[secret, secret]])]}),
        v2.post(infer_path["image"], content=secret, headers={JSON_LENGTH: "0"}),
        v2.post(infer_path["image"], json={"inputs": [
            text_input(name="image", data=[base64.b64encode(secret.encode()).decode()])
        ]}),
    ):  # fmt: skip
        refused(response, response.status_code)
        assert secret not in response.text


def test_requests_of_a_queue_that_is_full_are_refused_with_a_time_to_wait(slow_models, serve, bundles, bytes_input):
    service = serve(models=bundles, max_waiting=4, max_batch_size=4, max_batch_rows=1)
    with http_client(service.url, concurrency=40) as client:
        texts = bytes_input("text", [b"A dog barks at the moon."] * 4)
        pending = [client.async_infer("text-demo", [texts]) for _ in range(40)]
        outcomes = []
        for request in pending:
            try:
                outcomes.append(len(request.get_result().as_numpy("row_offset")))
            except InferenceServerException as error:
                outcomes.append(error.message())
    assert 5 in outcomes
    refusals = [outcome for outcome in outcomes if outcome != 5]
    assert refusals
    assert all("at most 4 inputs are worked on at once" in refusal for refusal in refusals)
