"""The bodies of requests and answers as properties: what is written is read again, and garbage is refused cleanly."""

import itertools
import json

import numpy as np
import pytest
import tritonclient.http as triton
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from model.errors import LabelsetError
from model.labels import LabelSet, ScoredLabel
from service.errors import STATUS
from service.repository import Repository, ServedModel
from service.settings import Settings
from service.v2.infer import read_question, write_answer
from service.v2.tensor import Tensor, split_elements

MAX_BATCH_SIZE = 8
HEADER = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 5}}


@pytest.fixture(scope="module")
def image_model(bundles, host) -> ServedModel:
    return Repository.open(Settings(models=bundles), host).catalogue.get("image-demo")


def read(body: bytes, header_length: int | None, model: ServedModel):
    return read_question(body, None if header_length is None else str(header_length), model, MAX_BATCH_SIZE)


def body_of(header: object, content: bytes) -> tuple[bytes, int]:
    head = json.dumps(header).encode()
    return head + content, len(head)


@given(elements=st.lists(st.binary(max_size=300), min_size=1, max_size=MAX_BATCH_SIZE), column=st.booleans())
def test_the_elements_that_tritons_client_writes_are_read(image_model, elements, column):
    array = np.array(elements, object)
    array = array[:, None] if column else array
    tensor = triton.InferInput("image", list(array.shape), "BYTES").set_data_from_numpy(array)
    body, header_length = triton.InferenceServerClient.generate_request_body([tensor])
    assert read(body, header_length, image_model).items == elements


@given(elements=st.lists(st.binary(max_size=300), max_size=20))
def test_elements_are_written_as_tritons_client_writes_them(elements):
    written = Tensor("label", np.array(elements, object)).to_bytes()
    assert written == (serialize_byte_tensor(np.array(elements, object)).item() if elements else b"")
    assert deserialize_bytes_tensor(written).tolist() == elements
    assert split_elements(written, len(elements), "label") == elements


@given(
    rows=st.lists(
        st.dictionaries(st.integers(0, 58), st.floats(2**-10, 1, width=32), max_size=5), min_size=1, max_size=8
    ),
    binary=st.booleans(),
)
def test_the_outputs_hold_the_label_sets_whatever_they_are(image_model, rows, binary):
    labels = image_model.manifest.labels
    answers = [
        LabelSet(tuple(ScoredLabel(labels[index], probability) for index, probability in row.items()), 0.9)
        for row in rows
    ]
    names = ["row_offset", "label_index", "label", "label_probability", "probabilities"]
    header = {
        "inputs": [{**HEADER, "shape": [len(rows)], "parameters": {}, "data": [""] * len(rows)}],
        "outputs": [{"name": name, "parameters": {"binary_data": binary}} for name in names],
    }
    question = read(json.dumps(header).encode(), None, image_model)
    content, header_length = write_answer(image_model, question, answers)
    result = triton.InferenceServerClient.parse_response_body(content, header_length=header_length)
    bounds = itertools.pairwise(result.as_numpy("row_offset").astype(int))
    index, probability = result.as_numpy("label_index"), result.as_numpy("label_probability")
    found = [dict(zip(index[a:b].tolist(), probability[a:b].tolist(), strict=True)) for a, b in bounds]
    assert found == rows
    named = [label if isinstance(label, str) else label.decode() for label in result.as_numpy("label")]
    assert named == [labels[int(position)] for position in index]
    dense = result.as_numpy("probabilities")
    assert [{i: p for i, p in enumerate(row.tolist()) if p} for row in dense] == rows


def assert_read_or_refused(body: bytes, header_length: int | None, model: ServedModel) -> None:
    """Nothing else may be raised than an error for the caller, in a message of readable length."""
    try:
        outcome = read(body, header_length, model)
    except LabelsetError as error:
        outcome = error
    if isinstance(outcome, LabelsetError):
        assert 400 <= STATUS[outcome.code] < 500
        assert len(outcome.message) < 1_000
    else:
        assert 1 <= len(outcome.items) <= MAX_BATCH_SIZE


@given(body=st.binary(max_size=200), header_length=st.none() | st.integers(0, 250))
def test_any_bytes_are_read_or_refused(image_model, body, header_length):
    assert_read_or_refused(body, header_length, image_model)


@given(content=st.binary(max_size=60), shape=st.lists(st.integers(0, 4), max_size=3), cut=st.integers(-5, 5))
def test_any_bytes_behind_the_json_are_read_or_refused(image_model, content, shape, cut):
    size = max(0, len(content) + cut)
    header = {"inputs": [{**HEADER, "shape": shape, "parameters": {"binary_data_size": size}}]}
    assert_read_or_refused(*body_of(header, content), image_model)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("BYTES"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def some_of(**fields):
    """Objects with any of the fields, most of them as they should be."""
    return st.fixed_dictionaries({}, optional={name: good | ANY_JSON for name, good in fields.items()}) | ANY_JSON


REQUESTS = some_of(
    id=st.text(max_size=5),
    parameters=some_of(label_count=st.integers(-2, 100), sparsity_rate=st.floats(), binary_data_output=st.booleans()),
    inputs=st.lists(
        some_of(
            name=st.just("image"),
            datatype=st.just("BYTES"),
            shape=st.lists(st.integers(0, 3), max_size=2),
            parameters=some_of(binary_data_size=st.integers(0, 20)),
            data=st.lists(st.text(max_size=5) | ANY_JSON, max_size=3),
        ),
        min_size=1,
        max_size=2,
    ),
    outputs=st.lists(
        some_of(
            name=st.sampled_from(["label", "probabilities"]),
            parameters=some_of(classification=st.integers(-1, 3), binary_data=st.booleans()),
        ),
        max_size=2,
    ),
)


@settings(max_examples=300)
@given(request=REQUESTS, content=st.binary(max_size=20))
def test_any_request_is_read_or_refused(image_model, request, content):
    assert_read_or_refused(*body_of(request, content), image_model)


@settings(max_examples=60)
@given(request=REQUESTS, content=st.binary(max_size=20), skew=st.integers(-2, 2))
def test_the_service_has_a_status_of_the_callers_own_for_any_request(v2, infer_path, request, content, skew):
    body, header_length = body_of(request, content)
    headers = {"inference-header-content-length": str(max(1, header_length + skew))}
    response = v2.post(infer_path["image"], content=body, headers=headers)
    assert response.status_code == 200 or 400 <= response.status_code < 500
