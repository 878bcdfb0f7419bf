"""`infer` as Triton's client asks it: each way of sending and of answering gives what `/predict` gives."""

import asyncio
import base64
import itertools

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from triton_clients import http_client
from tritonclient.utils import InferenceServerException

SENTENCES = [
    "Adversaries may send spearphishing emails with a malicious attachment.",
    "The malware deletes event logs and copies itself to network shares. Größe: 3 µm.",
    "A dog barks.",
]
SPARSE = ["row_offset", "label_index", "label", "label_probability"]


@pytest.fixture(scope="module")
def predicted(client):
    """What `/predict` answers: for each input its labels and their probabilities."""

    def ask(**body):
        predictions = client.post("/predict", json=body).json()["predictions"]
        return [[(label["label"], label["probability"]) for label in one["labels"]] for one in predictions]

    return ask


def label_sets(result: triton.InferResult) -> list[list[tuple[str, float]]]:
    """The label sets that the sparse outputs of an answer hold."""
    offsets = result.as_numpy("row_offset")
    labels = [label.decode() if isinstance(label, bytes) else label for label in result.as_numpy("label")]
    pairs = list(zip(labels, result.as_numpy("label_probability").tolist(), strict=True))
    return [pairs[start:end] for start, end in itertools.pairwise(offsets)]


def assert_same(found, expected):
    assert [[label for label, _ in one] for one in found] == [[label for label, _ in one] for one in expected]
    np.testing.assert_allclose([p for one in found for _, p in one], [p for one in expected for _, p in one], atol=1e-5)


@pytest.mark.parametrize("binary_answer", [True, False])
@pytest.mark.parametrize("binary_input", [True, False])
@pytest.mark.parametrize("column", [True, False])
def test_texts_have_the_label_sets_of_predict(
    triton_client, model_names, bytes_input, predicted, binary_input, binary_answer, column
):
    texts = bytes_input("text", [text.encode() for text in SENTENCES], binary_input, column)
    outputs = [triton.InferRequestedOutput(name, binary_data=binary_answer) for name in SPARSE]
    result = triton_client.infer(model_names["text"], [texts], outputs=outputs, parameters={"sparsity_rate": 0.7})
    expected = predicted(texts=SENTENCES, sparsity_rate=0.7)
    assert all(len(one) > 1 for one in expected)
    assert_same(label_sets(result), expected)
    assert [("parameters" in output) for output in result.get_response()["outputs"]] == [binary_answer] * 4


@pytest.mark.parametrize("binary_input", [True, False])
def test_images_have_the_label_sets_of_predict(
    triton_client, model_names, bytes_input, predicted, encode, binary_input
):
    images = [encode(), encode(width=200, height=120, image_format="JPEG")]
    encoded = [base64.b64encode(image) for image in images]
    tensor = bytes_input("image", images if binary_input else encoded, binary_input)
    result = triton_client.infer(model_names["image"], [tensor])
    assert_same(label_sets(result), predicted(images=[image.decode() for image in encoded]))


def test_the_outputs_are_the_rows_of_a_sparse_matrix(triton_client, client, model_names, bytes_input):
    texts = bytes_input("text", [text.encode() for text in SENTENCES])
    result = triton_client.infer(model_names["text"], [texts])
    answer = result.get_response()
    assert (answer["model_name"], answer["model_version"]) == (model_names["text"], "1")
    assert answer["parameters"] == {"digest": client.get(f"/models/{model_names['text']}").json()["digest"]}
    assert [output["name"] for output in answer["outputs"]] == SPARSE
    assert [output["datatype"] for output in answer["outputs"]] == ["INT64", "INT64", "BYTES", "FP32"]
    count = len(result.as_numpy("label"))
    assert [output["shape"] for output in answer["outputs"]] == [[4], [count], [count], [count]]
    assert result.as_numpy("row_offset").tolist()[::3] == [0, count]
    labels = client.get(f"/models/{model_names['text']}").json()["labels"]
    named = [labels[index].encode() for index in result.as_numpy("label_index")]
    assert named == result.as_numpy("label").tolist()


@pytest.mark.parametrize("binary", [True, False])
def test_the_dense_probabilities_are_those_of_the_graph(triton_client, model_names, bytes_input, bundles, binary):
    from model.predictor import Predictor

    texts = bytes_input("text", [text.encode() for text in SENTENCES])
    outputs = [triton.InferRequestedOutput("probabilities", binary_data=binary)]
    dense = triton_client.infer(model_names["text"], [texts], outputs=outputs).as_numpy("probabilities")
    predictor = Predictor.open(bundles / model_names["text"] / "1")
    expected = predictor.probabilities([predictor.preprocess(text) for text in SENTENCES])
    assert (dense.dtype, dense.shape) == (np.float32, expected.shape)
    np.testing.assert_allclose(dense, expected, atol=1e-5)
    np.testing.assert_array_equal(dense == 0, expected == 0)


def test_only_the_outputs_that_are_asked_for_come_and_in_that_order(triton_client, model_names, bytes_input):
    outputs = [triton.InferRequestedOutput("label"), triton.InferRequestedOutput("row_offset", binary_data=False)]
    result = triton_client.infer(model_names["text"], [bytes_input("text", [b"A dog barks."])], outputs=outputs)
    described = result.get_response()["outputs"]
    assert [output["name"] for output in described] == ["label", "row_offset"]
    assert ["data" in output for output in described] == [False, True]
    assert result.as_numpy("label_probability") is None


@pytest.mark.parametrize("binary", [True, False])
def test_classes_come_as_score_index_and_label(triton_client, client, model_names, bytes_input, binary):
    texts = bytes_input("text", [text.encode() for text in SENTENCES])
    outputs = [triton.InferRequestedOutput("probabilities", binary_data=binary, class_count=5)]
    classes = triton_client.infer(model_names["text"], [texts], outputs=outputs).as_numpy("probabilities")
    outputs = [triton.InferRequestedOutput("probabilities")]
    dense = triton_client.infer(model_names["text"], [texts], outputs=outputs).as_numpy("probabilities")
    labels = client.get(f"/models/{model_names['text']}").json()["labels"]
    assert classes.shape == (3, 5)
    for row, probabilities in zip(classes, dense, strict=True):
        found = [entry.decode() if isinstance(entry, bytes) else entry for entry in row]
        best = sorted(range(len(labels)), key=lambda index: (-probabilities[index], index))[:5]
        assert [entry.split(":", 2)[1:] for entry in found] == [[str(index), labels[index]] for index in best]
        scores = [float(entry.split(":")[0]) for entry in found]
        np.testing.assert_allclose(scores, probabilities[best], atol=1e-5)


def test_more_classes_than_there_are_give_all_of_them(triton_client, client, model_names, bytes_input):
    outputs = [triton.InferRequestedOutput("probabilities", class_count=10_000)]
    result = triton_client.infer(model_names["text"], [bytes_input("text", [b"A dog barks."])], outputs=outputs)
    labels = client.get(f"/models/{model_names['text']}").json()["labels"]
    [row] = result.as_numpy("probabilities")
    assert sorted(entry.decode().split(":", 2)[2] for entry in row) == sorted(labels)


def test_the_id_of_the_request_comes_back(triton_client, model_names, bytes_input):
    text = bytes_input("text", [b"A dog barks."])
    assert triton_client.infer(model_names["text"], [text], request_id="ä 42").get_response()["id"] == "ä 42"
    assert "id" not in triton_client.infer(model_names["text"], [text]).get_response()


@pytest.mark.parametrize("wish", [{"label_count": 3}, {"label_count": 0}, {"sparsity_rate": 0.5}, {"sparsity_rate": 1}])
def test_the_sparsity_of_a_request_is_that_of_its_parameters(triton_client, model_names, bytes_input, predicted, wish):
    texts = bytes_input("text", [text.encode() for text in SENTENCES])
    result = triton_client.infer(model_names["text"], [texts], parameters=wish)
    found = label_sets(result)
    assert_same(found, predicted(texts=SENTENCES, **wish))
    if "label_count" in wish:
        assert [len(one) for one in found] == [wish["label_count"]] * 3


def test_priority_and_timeout_are_taken_and_change_nothing(triton_client, model_names, bytes_input):
    text = bytes_input("text", [b"A dog barks."])
    plain = triton_client.infer(model_names["text"], [text])
    urgent = triton_client.infer(model_names["text"], [text], priority=1, timeout=1)
    assert_same(label_sets(urgent), label_sets(plain))


@pytest.mark.parametrize("answer_compression", [None, "gzip", "deflate"])
@pytest.mark.parametrize("request_compression", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_either_way_may_be_compressed(
    triton_client, model_names, bytes_input, binary, request_compression, answer_compression
):
    texts = bytes_input("text", [text.encode() for text in SENTENCES], binary)
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in SPARSE]
    plain = triton_client.infer(model_names["text"], [texts], outputs=outputs)
    result = triton_client.infer(
        model_names["text"],
        [texts],
        outputs=outputs,
        request_compression_algorithm=request_compression,
        response_compression_algorithm=answer_compression,
    )
    assert_same(label_sets(result), label_sets(plain))


def test_many_requests_at_once_have_each_its_own_answer(service, model_names, bytes_input):
    with http_client(service.url, concurrency=8) as client:
        counts = [number % 5 for number in range(24)]
        pending = [
            client.async_infer(
                model_names["text"], [bytes_input("text", [SENTENCES[0].encode()])], request_id=str(number),
                parameters={"label_count": count},
            )
            for number, count in enumerate(counts)
        ]  # fmt: skip
        results = [request.get_result() for request in pending]
    assert [result.get_response()["id"] for result in results] == [str(number) for number in range(24)]
    assert [len(result.as_numpy("label")) for result in results] == counts


def test_a_version_may_be_named(triton_client, model_names, bytes_input):
    text = bytes_input("text", [b"A dog barks."])
    result = triton_client.infer(model_names["text"], [text], model_version="1")
    assert result.get_response()["model_version"] == "1"
    with pytest.raises(InferenceServerException, match=r"version of .* must be one of"):
        triton_client.infer(model_names["text"], [text], model_version="9")


def test_a_caller_whose_time_is_up_is_told_so(triton_client, model_names, bytes_input):
    texts = bytes_input("text", [SENTENCES[0].encode() * 25] * 8)
    with pytest.raises(InferenceServerException, match=r"^\[504\] the answer was not there within 1 ms"):
        triton_client.infer(model_names["text"], [texts], headers={"timeout-ms": "1"})


def test_a_body_that_the_client_made_and_parsed_by_itself_is_answered(v2, infer_path, bytes_input):
    body, json_size = triton.InferenceServerClient.generate_request_body([bytes_input("text", [b"A dog barks."])])
    response = v2.post(infer_path["text"], content=body, headers={"inference-header-content-length": str(json_size)})
    assert response.headers["content-type"] == "application/octet-stream"
    result = triton.InferenceServerClient.parse_response_body(
        response.content, header_length=int(response.headers["inference-header-content-length"])
    )
    assert len(result.as_numpy("label")) == result.as_numpy("row_offset")[-1]


def test_the_asynchronous_client_is_answered_too(service, model_names, bytes_input, predicted):
    async def ask() -> list[triton.InferResult]:
        async with triton_aio.InferenceServerClient(service.url.removeprefix("http://")) as client:
            assert await client.is_server_ready()
            assert await client.is_model_ready(model_names["text"])
            texts = [bytes_input("text", [text.encode()]) for text in SENTENCES]
            return await asyncio.gather(*(client.infer(model_names["text"], [text]) for text in texts))

    found = [label_sets(result)[0] for result in asyncio.run(ask())]
    assert_same(found, predicted(texts=SENTENCES))


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.get_system_shared_memory_status(),
        lambda client: client.register_system_shared_memory("region", "/key", 8),
        lambda client: client.unregister_cuda_shared_memory(),
        lambda client: client.get_trace_settings(),
        lambda client: client.update_log_settings({"log_info": True}),
    ],
)
def test_what_is_not_offered_is_refused_in_words(triton_client, call):
    with pytest.raises(InferenceServerException, match="there is nothing at this path"):
        call(triton_client)
