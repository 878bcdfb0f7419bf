"""`ModelInfer` and `ModelStreamInfer` as Triton's client asks them: the answers are those of HTTP, number by number."""

import asyncio
import base64
import json
import queue
import struct
import threading

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

SENTENCES = [
    "Adversaries may send spearphishing emails with a malicious attachment.",
    "The malware deletes event logs and copies itself to network shares. Größe: 3 µm.",
    "A dog barks.",
]
SPARSE = ["row_offset", "label_index", "label", "label_probability"]
TEXTS = [sentence.encode() for sentence in SENTENCES]


@pytest.fixture(scope="module")
def over_http(http):
    """The outputs of the same request over HTTP, by name."""

    def ask(model: str, kind: str, data: list[str], outputs: list[dict] | None = None, **parameters) -> dict:
        tensor = {"name": kind, "datatype": "BYTES", "shape": [len(data), 1], "data": data}
        body = {"inputs": [tensor], "outputs": outputs or [], "parameters": parameters}
        answer = http.post(f"/v2/models/{model}/infer", json=body)
        assert answer.status_code == 200, answer.text
        return {output["name"]: output for output in answer.json()["outputs"]}

    return ask


def assert_same(result: triton.InferResult, expected: dict) -> None:
    described = result.get_response().outputs
    assert [output.name for output in described] == list(expected)
    for output in described:
        other = expected[output.name]
        assert (output.datatype, list(output.shape)) == (other["datatype"], other["shape"])
        array = result.as_numpy(output.name)
        if output.datatype == "FP32":
            np.testing.assert_allclose(array.ravel(), other["data"], atol=1e-5)
        elif output.datatype == "BYTES":
            assert [element.decode() for element in array.ravel()] == other["data"]
        else:
            assert array.ravel().tolist() == other["data"]


@pytest.mark.parametrize("column", [True, False])
def test_texts_are_answered_as_over_http(rpc_client, bytes_input, over_http, column):
    result = rpc_client.infer("text-demo", [bytes_input("text", TEXTS, column)], parameters={"label_count": 3})
    expected = over_http("text-demo", "text", SENTENCES, label_count=3)
    assert expected["row_offset"]["data"] == [0, 3, 6, 9]
    assert_same(result, expected)


def test_images_are_answered_as_over_http(rpc_client, bytes_input, over_http, encode):
    images = [encode(), encode(width=200, height=120, image_format="JPEG")]
    result = rpc_client.infer("image-demo", [bytes_input("image", images)])
    assert_same(result, over_http("image-demo", "image", [base64.b64encode(image).decode() for image in images]))


def test_the_answer_names_model_version_and_digest(rpc_client, http, bytes_input):
    answer = rpc_client.infer("text-demo", [bytes_input("text", TEXTS)]).get_response()
    assert (answer.model_name, answer.model_version, answer.id) == ("text-demo", "1", "")
    digest = http.get("/models/text-demo").json()["digest"]
    assert {name: value.string_param for name, value in answer.parameters.items()} == {"digest": digest}
    assert [output.name for output in answer.outputs] == SPARSE


def test_elements_may_stand_in_the_input_itself(stub, rpc_client, bytes_input, png):
    for kind, elements in (("text", TEXTS), ("image", [png, png])):
        request = service_pb2.ModelInferRequest(model_name=f"{kind}-demo")
        tensor = request.inputs.add(name=kind, datatype="BYTES", shape=[len(elements)])
        tensor.contents.bytes_contents.extend(elements)
        raw = rpc_client.infer(f"{kind}-demo", [bytes_input(kind, elements)]).get_response()
        answer = stub.ModelInfer(request)
        assert len(answer.raw_output_contents) == 4
        assert list(answer.raw_output_contents) == list(raw.raw_output_contents)


@pytest.mark.parametrize(
    "wish",
    [
        {"label_count": 0},
        {"label_count": 4, "max_labels": 2},
        {"sparsity_rate": 0},
        {"sparsity_rate": 0.5},
        {"sparsity_rate": 0.5, "min_probability": 0.05},
        {"label_count": 6, "only": ["impact", "initial-access", "execution"]},
        {"label_count": 6, "exclude": ["impact"]},
        {"only": []},
    ],
)
def test_wishes_are_heard_as_over_http(rpc_client, bytes_input, over_http, wish):
    expected = over_http("text-demo", "text", SENTENCES, **wish)
    assert expected["label"] != over_http("text-demo", "text", SENTENCES)["label"]
    # This client sends no fractions, and no client can send a list: either goes as JSON in a string.
    sent = {name: value if isinstance(value, int) else json.dumps(value) for name, value in wish.items()}
    assert_same(rpc_client.infer("text-demo", [bytes_input("text", TEXTS)], parameters=sent), expected)


@pytest.mark.parametrize("field", ["int64_param", "uint64_param", "string_param"])
def test_a_whole_number_may_come_in_any_field(stub, field):
    request = service_pb2.ModelInferRequest(model_name="text-demo")
    request.inputs.add(name="text", datatype="BYTES", shape=[1]).contents.bytes_contents.append(TEXTS[0])
    setattr(request.parameters["label_count"], field, "3" if field == "string_param" else 3)
    setattr(request.parameters["priority"], field, "1" if field == "string_param" else 1)
    answer = stub.ModelInfer(request)
    assert list(answer.outputs[1].shape) == [3]


def test_a_fraction_may_come_as_a_double(stub, over_http):
    request = service_pb2.ModelInferRequest(model_name="text-demo")
    request.inputs.add(name="text", datatype="BYTES", shape=[1]).contents.bytes_contents.append(TEXTS[0])
    request.parameters["sparsity_rate"].double_param = 0.5
    expected = over_http("text-demo", "text", SENTENCES[:1], sparsity_rate=0.5)
    assert list(stub.ModelInfer(request).outputs[1].shape) == expected["label_index"]["shape"]


def test_only_the_outputs_that_are_asked_for_come_and_in_that_order(rpc_client, bytes_input, over_http):
    outputs = [triton.InferRequestedOutput(name) for name in ("probabilities", "label", "row_offset")]
    result = rpc_client.infer("text-demo", [bytes_input("text", TEXTS)], outputs=outputs)
    names = [{"name": name} for name in ("probabilities", "label", "row_offset")]
    assert_same(result, over_http("text-demo", "text", SENTENCES, names))
    assert result.as_numpy("probabilities").shape == (3, 14)
    assert result.as_numpy("label_probability") is None


@pytest.mark.parametrize("count", [1, 5, 10_000])
def test_classes_come_as_score_index_and_label(rpc_client, bytes_input, over_http, count):
    outputs = [triton.InferRequestedOutput("probabilities", class_count=count)]
    result = rpc_client.infer("text-demo", [bytes_input("text", TEXTS)], outputs=outputs)
    wanted = [{"name": "probabilities", "parameters": {"classification": count}}]
    expected = over_http("text-demo", "text", SENTENCES, wanted)["probabilities"]
    assert list(result.as_numpy("probabilities").shape) == expected["shape"] == [3, min(count, 14)]
    found = [entry.decode().split(":") for entry in result.as_numpy("probabilities").ravel()]
    told = [entry.split(":") for entry in expected["data"]]
    assert [entry[1:] for entry in found] == [entry[1:] for entry in told]
    np.testing.assert_allclose([float(entry[0]) for entry in found], [float(entry[0]) for entry in told], atol=1e-5)


def test_the_id_of_the_request_comes_back(rpc_client, bytes_input):
    result = rpc_client.infer("text-demo", [bytes_input("text", TEXTS)], request_id="ä 42")
    assert result.get_response().id == "ä 42"


def test_priority_and_timeout_are_taken_and_change_nothing(rpc_client, bytes_input):
    plain = rpc_client.infer("text-demo", [bytes_input("text", TEXTS)]).as_numpy("label")
    urgent = rpc_client.infer("text-demo", [bytes_input("text", TEXTS)], priority=1, timeout=1).as_numpy("label")
    assert urgent.tolist() == plain.tolist()


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_a_message_may_be_compressed(rpc_client, bytes_input, algorithm):
    plain = rpc_client.infer("text-demo", [bytes_input("text", TEXTS)]).as_numpy("label")
    result = rpc_client.infer("text-demo", [bytes_input("text", TEXTS)], compression_algorithm=algorithm)
    assert result.as_numpy("label").tolist() == plain.tolist()


def test_a_version_may_be_named(rpc_client, bytes_input):
    result = rpc_client.infer("text-demo", [bytes_input("text", TEXTS)], model_version="1")
    assert result.get_response().model_version == "1"


def test_a_message_up_to_the_limit_is_read(serve_rpc, encode, bytes_input):
    _, address = serve_rpc(max_body_bytes=40_000_000, max_waiting=32)
    image = encode(width=1100, height=1000)
    assert len(image) > 3_000_000
    with triton.InferenceServerClient(address) as client:
        result = client.infer("image-demo", [bytes_input("image", [image] * 10)])
        assert result.as_numpy("row_offset").shape == (11,)


def test_a_hundred_calls_at_once_have_each_its_own_answer(rpc_client, bytes_input):
    answers: queue.Queue = queue.Queue()
    for number in range(100):
        rpc_client.async_infer(
            "text-demo", [bytes_input("text", TEXTS[number % 3 :][:1])],
            lambda result, error: answers.put((result, error)),
            request_id=str(number), parameters={"label_count": number % 7},
        )  # fmt: skip
    found = [answers.get(timeout=60) for _ in range(100)]
    assert [error for _, error in found if error] == []
    by_id = {int(result.get_response().id): result for result, _ in found}
    assert by_id.keys() == set(range(100))
    assert [len(by_id[number].as_numpy("label")) for number in range(100)] == [number % 7 for number in range(100)]


def test_the_asynchronous_client_is_answered_too(rpc_service, bytes_input, over_http):
    async def ask() -> list[triton.InferResult]:
        async with triton_aio.InferenceServerClient(rpc_service[1]) as client:
            assert await client.is_server_ready()
            return await asyncio.gather(*(client.infer("text-demo", [bytes_input("text", [text])]) for text in TEXTS))

    for result, sentence in zip(asyncio.run(ask()), SENTENCES, strict=True):
        assert_same(result, over_http("text-demo", "text", [sentence]))


@pytest.fixture
def streamed(rpc_service):
    """Ask on one stream, and have as many answers or errors as questions: `streamed([(arguments, keywords)])`."""

    def ask(calls: list[tuple[tuple, dict]]) -> list[triton.InferResult | InferenceServerException]:
        answers: queue.Queue = queue.Queue()
        with triton.InferenceServerClient(rpc_service[1]) as client:
            client.start_stream(lambda result, error: answers.put(error or result))
            for arguments, keywords in calls:
                client.async_stream_infer(*arguments, **keywords)
            found = [answers.get(timeout=60) for _ in calls]
            client.stop_stream()
        assert answers.empty()
        return found

    return ask


def test_the_requests_of_a_stream_are_answered_in_their_order(streamed, bytes_input, over_http):
    results = streamed(
        [
            (("text-demo", [bytes_input("text", [text])]), {"request_id": str(number)})
            for number, text in enumerate(TEXTS * 4)
        ]
    )
    assert [result.get_response().id for result in results] == [str(number) for number in range(12)]
    for result, sentence in zip(results, SENTENCES * 4, strict=True):
        assert_same(result, over_http("text-demo", "text", [sentence]))


def test_an_error_on_a_stream_is_that_of_one_request(streamed, bytes_input):
    good, bad = bytes_input("text", TEXTS[:1]), bytes_input("text", [b""])
    first, second, third, fourth = streamed(
        [(("text-demo", [good]), {}), (("text-demo", [bad]), {}), (("nope", [good]), {}), (("text-demo", [good]), {})]
    )
    assert first.as_numpy("label").tolist() == fourth.as_numpy("label").tolist()
    assert second.message() == "element 0 of input 'text': a text must not be empty"
    assert third.message().startswith("model must be one of ")


def test_outputs_are_laid_out_little_endian_one_behind_the_other(stub):
    request = service_pb2.ModelInferRequest(model_name="text-demo")
    request.inputs.add(name="text", datatype="BYTES", shape=[1, 1])
    request.raw_input_contents.append(struct.pack("<I", len(TEXTS[0])) + TEXTS[0])
    request.parameters["label_count"].int64_param = 2
    answer = stub.ModelInfer(request)
    offsets, indices, labels, probabilities = answer.raw_output_contents
    assert struct.unpack("<2q", offsets) == (0, 2)
    assert len(struct.unpack("<2q", indices)) == 2
    assert abs(sum(struct.unpack("<2f", probabilities)) - 1) < 1e-5
    [first] = struct.unpack_from("<I", labels)
    assert labels[4 : 4 + first].decode().islower()


def test_threads_that_share_a_client_are_answered(rpc_client, bytes_input):
    found = []

    def ask(count: int) -> None:
        result = rpc_client.infer("text-demo", [bytes_input("text", TEXTS)], parameters={"label_count": count})
        found.append((count, result.as_numpy("row_offset").tolist()))

    threads = [threading.Thread(target=ask, args=(count,)) for count in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [(count, [0, count, 2 * count, 3 * count]) for count in range(8)]
