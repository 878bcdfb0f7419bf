"""The same calls to this service and to a real Triton: statuses, headers and the shapes of what is answered."""

import gzip
import json
import re
import shutil
import struct
import zlib

import httpx
import numpy as np
import pytest
import tritonclient.http
from triton_clients import http_client

MODEL = "text-demo"


@pytest.fixture(scope="module")
def theirs(triton_server):
    return triton_server.http


@pytest.fixture(scope="module")
def ours(theirs, serve, bundles, tmp_path_factory):
    """This service, with one model and the limits of the other."""
    root = tmp_path_factory.mktemp("ours")
    shutil.copytree(bundles / MODEL, root / MODEL)
    return serve(models=root, admin=True, max_batch_size=8).url


INFER, INDEX = f"/models/{MODEL}/infer", "/repository/index"
TENSOR = {"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": ["It encrypts the disk."]}


def _request(**fields):
    return {"inputs": [TENSOR], **fields}


def _input(**changes):
    tensor = {**TENSOR, **changes}
    return {"json": {"inputs": [{name: value for name, value in tensor.items() if value is not None}]}}


def _ask(server, method, path, **what):
    # What httpx adds by itself would have one of them compress its answers.
    headers = {"accept-encoding": "identity", **what.pop("headers", {})}
    return httpx.request(method, f"{server}/v2{path}", headers=headers, timeout=60, **what)


SAME_STATUS = {
    "live": (200, "GET", "/health/live", {}),
    "ready": (200, "GET", "/health/ready", {}),
    "model ready": (200, "GET", f"/models/{MODEL}/ready", {}),
    "version ready": (200, "GET", f"/models/{MODEL}/versions/1/ready", {}),
    "unknown path": (404, "GET", "/nope", {}),
    "unknown model": (404, "GET", "/models/nope", {}),
    "unknown version": (404, "GET", f"/models/{MODEL}/versions/9", {}),
    "config of an unknown model": (404, "GET", "/models/nope/config", {}),
    "infer by an unknown model": (404, "POST", "/models/nope/infer", {"json": _request()}),
    "infer by an unknown version": (404, "POST", f"/models/{MODEL}/versions/9/infer", {"json": _request()}),
    "GET infer": (405, "GET", INFER, {}),
    "POST metadata": (405, "POST", f"/models/{MODEL}", {}),
    "GET index": (405, "GET", INDEX, {}),
    "no input": (400, "POST", INFER, {"json": {"inputs": []}}),
    "another input": (400, "POST", INFER, _input(name="nope")),
    "another datatype": (400, "POST", INFER, _input(datatype="FP32", data=[1.0])),
    "no datatype that there is": (400, "POST", INFER, _input(datatype="NOPE")),
    "another shape": (400, "POST", INFER, _input(shape=[1, 2], data=["a", "b"])),
    "too few elements": (400, "POST", INFER, _input(shape=[2, 1])),
    "too many elements": (400, "POST", INFER, _input(data=["a", "b"])),
    "no data": (400, "POST", INFER, _input(data=None)),
    "fewer bytes than it says": (400, "POST", INFER, _input(data=None, parameters={"binary_data_size": 99})),
    "an output that is not there": (400, "POST", INFER, {"json": _request(outputs=[{"name": "nope"}])}),
    "a header longer than the body": (
        400, "POST", INFER, {"json": _request(), "headers": {"Inference-Header-Content-Length": "99999"}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME_STATUS)
def test_both_answer_with_the_same_status_and_shape_of_error(ours, theirs, name):
    status, *call, what = SAME_STATUS[name]
    for server in (ours, theirs):
        answer = _ask(server, *call, **what)
        assert answer.status_code == status, answer.text
        if status >= 400:
            assert answer.json().keys() == {"error"}
            assert isinstance(answer.json()["error"], str)


# As docs/protocol.md says: our status, then Triton's.
OTHER_STATUS = {
    "no JSON": (400, 500, "POST", INFER, {"content": b"{"}),
    "JSON without inputs": (400, 500, "POST", INFER, {"json": {}}),
    "an input without a datatype": (400, 500, "POST", INFER, _input(datatype=None)),
    "an element that is no string": (400, 500, "POST", INFER, _input(data=[1])),
    "a shape below 0": (400, 500, "POST", INFER, _input(shape=[-1, 1])),
    "nothing": (400, 200, "POST", INFER, {"content": b""}),
    "a header that is no number": (
        400, 200, "POST", INFER, {"json": _request(), "headers": {"Inference-Header-Content-Length": "x"}},
    ),
    "a parameter that is not known": (400, 200, "POST", INFER, {"json": _request(parameters={"labelcount": 3})}),
    "too many inputs": (413, 400, "POST", INFER, _input(shape=[9, 1], data=["a"] * 9)),
    "an unknown model's readiness": (404, 400, "GET", "/models/nope/ready", {}),
    "an unknown version's readiness": (404, 400, "GET", f"/models/{MODEL}/versions/9/ready", {}),
    "an unknown model's statistics": (404, 400, "GET", "/models/nope/stats", {}),
    "loading an unknown model": (404, 500, "POST", "/repository/models/nope/load", {}),
    "unloading an unknown model": (404, 200, "POST", "/repository/models/nope/unload", {}),
    "a path of the client's that ends with a slash": (200, 404, "GET", "/", {}),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER_STATUS)
def test_where_they_differ_in_status_it_is_as_the_documentation_says(ours, theirs, name):
    our_status, their_status, *call, what = OTHER_STATUS[name]
    assert (_ask(ours, *call, **what).status_code, _ask(theirs, *call, **what).status_code) == (
        our_status,
        their_status,
    )


def _leaves(value, path=""):
    """What a JSON value is made of: the path of each leaf, with its type."""
    if value in ({}, []):
        return {f"{path} {type(value).__name__}"}
    if isinstance(value, dict):
        return {leaf for name, part in value.items() for leaf in _leaves(part, f"{path}.{name}")}
    if isinstance(value, list):
        return {leaf for part in value for leaf in _leaves(part, f"{path}[]")}
    kind = "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
    return {f"{path} {kind}"}


def _only(ours, theirs, *call, **what):
    """Leaves that stand in our answer alone, and those that stand in theirs alone."""
    answers = [_ask(server, *call, **what) for server in (ours, theirs)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert {answer.headers["content-type"] for answer in answers} == {"application/json"}
    own, other = (_leaves(answer.json()) for answer in answers)
    assert own & other
    return own - other, other - own


@pytest.mark.parametrize("path", ["", f"/models/{MODEL}", f"/models/{MODEL}/versions/1"])
def test_metadata_has_the_same_shape(ours, theirs, path):
    assert _only(ours, theirs, "GET", path) == (set(), set())


def test_the_configuration_says_nothing_that_tritons_does_not(ours, theirs):
    assert _only(ours, theirs, "GET", f"/models/{MODEL}/config")[0] == set()


@pytest.mark.parametrize("path", [f"/models/{MODEL}/stats", f"/models/{MODEL}/versions/1/stats", "/models/stats"])
def test_statistics_have_the_same_shape_once_there_was_a_request(ours, theirs, path):
    for server in (ours, theirs):
        assert _ask(server, "POST", INFER, json=_request()).status_code == 200
    not_here = {".model_stats[].response_stats dict", ".model_stats[].memory_usage list"}
    assert _only(ours, theirs, "GET", path) == (set(), not_here)


@pytest.mark.parametrize("what", [{}, {"json": {"ready": True}}, {"json": {}}])
def test_the_index_has_the_same_shape_and_says_a_reason_too(ours, theirs, what):
    assert _only(ours, theirs, "POST", INDEX, **what) == ({"[].reason str"}, set())


DIGEST = ".parameters.digest str"
EVERY_OUTPUT = [{"name": name} for name in ("row_offset", "label_index", "label", "label_probability", "probabilities")]


@pytest.mark.parametrize(
    "fields",
    [
        {"outputs": EVERY_OUTPUT},
        {"id": "7"},
        {"outputs": [{"name": "label"}]},
        {"outputs": [{"name": "probabilities", "parameters": {"classification": 3}}]},
        {"outputs": [{"name": "probabilities", "parameters": {"classification": 99}}]},
        {"outputs": [{"name": "probabilities", "parameters": {"classification": 0}}]},
    ],
)
@pytest.mark.parametrize("path", [INFER, f"/models/{MODEL}/versions/1/infer"])
def test_answers_in_json_have_the_same_shape_and_ours_the_digest(ours, theirs, path, fields):
    assert _only(ours, theirs, "POST", path, json=_request(**fields)) == ({DIGEST}, set())


def test_an_id_that_is_empty_is_echoed_here_alone(ours, theirs):
    assert _only(ours, theirs, "POST", INFER, json=_request(id="")) == ({DIGEST, ".id str"}, set())


def test_classes_are_written_the_same_way(ours, theirs):
    output = {"name": "probabilities", "parameters": {"classification": 3}}
    for server in (ours, theirs):
        [answered] = _ask(server, "POST", INFER, json=_request(outputs=[output])).json()["outputs"]
        assert (answered["datatype"], answered["shape"]) == ("BYTES", [1, 3])
        assert all(re.fullmatch(r"[01]\.\d{6}:\d+:[a-z-]+", element) for element in answered["data"])


BINARY = {
    "all outputs": {"json": _request(parameters={"binary_data_output": True})},
    "one output of two": {
        "json": _request(outputs=[{"name": "label"}, {"name": "probabilities", "parameters": {"binary_data": True}}])
    },
    "classes": {
        "json": _request(outputs=[{"name": "probabilities", "parameters": {"classification": 3, "binary_data": True}}])
    },
    "the body as the input": {"content": b"It encrypts.", "headers": {"Inference-Header-Content-Length": "0"}},
}  # fmt: skip


@pytest.mark.parametrize("name", BINARY)
def test_answers_in_bytes_are_laid_out_the_same_way(ours, theirs, name):
    laid_out = []
    for server in (ours, theirs):
        answer = _ask(server, "POST", INFER, **BINARY[name])
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/octet-stream")
        length = int(answer.headers["inference-header-content-length"])
        head = json.loads(answer.content[:length])
        sizes = [output.get("parameters", {}).get("binary_data_size", 0) for output in head["outputs"]]
        assert length + sum(sizes) == len(answer.content)
        last = answer.content[-sizes[-1] :]
        if head["outputs"][-1]["datatype"] == "BYTES":
            assert struct.unpack_from("<I", last)[0] < len(last)
        laid_out.append({leaf for leaf in _leaves(head) if leaf != DIGEST and ".data[]" not in leaf})
    assert laid_out[0] == laid_out[1]


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_both_read_and_write_compressed_bodies(ours, theirs, encoding):
    body = json.dumps(_request()).encode()
    content = gzip.compress(body) if encoding == "gzip" else zlib.compress(body)
    for server in (ours, theirs):
        headers = {"content-encoding": encoding, "accept-encoding": encoding}
        answer = _ask(server, "POST", INFER, content=content, headers=headers)
        assert (answer.status_code, answer.headers["content-encoding"]) == (200, encoding)
        assert answer.json()["model_name"] == MODEL


@pytest.mark.parametrize("binary", [True, False])
def test_tritons_client_reads_the_same_from_both(ours, theirs, binary):
    read = []
    for server in (ours, theirs):
        with http_client(server) as client:
            assert client.is_server_live()
            assert client.is_server_ready()
            assert client.is_model_ready(MODEL, "1")
            assert not client.is_model_ready("nope")
            text = tritonclient.http.InferInput("text", [2, 1], "BYTES")
            text.set_data_from_numpy(np.array([[b"a"], ["ü".encode()]], object), binary_data=binary)
            names = ("probabilities", "label_probability", "label", "row_offset", "label_index")
            outputs = [tritonclient.http.InferRequestedOutput(name, binary_data=binary) for name in names]
            result = client.infer(MODEL, [text], outputs=outputs, request_id="7", model_version="1", timeout=10**7)
            assert result.get_response()["id"] == "7"
            read.append({name: result.as_numpy(name).dtype for name in names})
            assert result.as_numpy("probabilities").shape == (2, 14)
            with pytest.raises(tritonclient.http.InferenceServerException) as caught:
                client.infer("nope", [text])
            assert caught.value.status() == "404"
    assert read[0] == read[1]
