"""The same calls over gRPC to this service and to a real Triton: statuses, and the fields of what is answered."""

import shutil

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from google.protobuf.json_format import MessageToDict
from tritonclient.grpc import service_pb2, service_pb2_grpc

MODEL = "text-demo"


@pytest.fixture(scope="module")
def theirs(triton_server):
    return triton_server.grpc


@pytest.fixture(scope="module")
def ours(theirs, serve_rpc, bundles, tmp_path_factory):
    """This service, with one model and the limits of the other."""
    root = tmp_path_factory.mktemp("ours")
    shutil.copytree(bundles / MODEL, root / MODEL)
    return serve_rpc(models=root, admin=True, max_batch_size=8)[1]


def _call(server, name, request):
    """The answer, and the code of the status."""
    with grpc.insecure_channel(server) as channel:
        try:
            answer = getattr(service_pb2_grpc.GRPCInferenceServiceStub(channel), name)(request, timeout=60)
        except grpc.RpcError as error:
            return None, error.code()
    return answer, grpc.StatusCode.OK


def _request(texts=(b"It encrypts the disk.",), **fields):
    request = service_pb2.ModelInferRequest(**{"model_name": MODEL, **fields})
    if not request.inputs:
        request.inputs.add(name="text", datatype="BYTES", shape=[len(texts), 1])
        request.inputs[0].contents.bytes_contents.extend(texts)
    return request


def _input(**fields):
    contents = service_pb2.InferTensorContents(bytes_contents=[b"a"])
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1, 1], "contents": contents, **fields}
    return _request(inputs=[service_pb2.ModelInferRequest.InferInputTensor(**tensor)])


OK, NOT_FOUND, INVALID = grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT
NOPE = service_pb2.ModelInferRequest.InferRequestedOutputTensor(name="nope")
SAME_STATUS = {
    "live": (OK, "ServerLive", service_pb2.ServerLiveRequest()),
    "ready": (OK, "ServerReady", service_pb2.ServerReadyRequest()),
    "model ready": (OK, "ModelReady", service_pb2.ModelReadyRequest(name=MODEL)),
    "version ready": (OK, "ModelReady", service_pb2.ModelReadyRequest(name=MODEL, version="1")),
    "unknown model ready": (OK, "ModelReady", service_pb2.ModelReadyRequest(name="nope")),
    "unknown version ready": (OK, "ModelReady", service_pb2.ModelReadyRequest(name=MODEL, version="9")),
    "unknown model": (NOT_FOUND, "ModelMetadata", service_pb2.ModelMetadataRequest(name="nope")),
    "unknown version": (NOT_FOUND, "ModelMetadata", service_pb2.ModelMetadataRequest(name=MODEL, version="9")),
    "config of an unknown model": (NOT_FOUND, "ModelConfig", service_pb2.ModelConfigRequest(name="nope")),
    "infer": (OK, "ModelInfer", _request()),
    "infer several": (OK, "ModelInfer", _request([b"a", b"b", b"c"], id="7", model_version="1")),
    "infer by an unknown model": (NOT_FOUND, "ModelInfer", _request(model_name="nope")),
    "infer by an unknown version": (NOT_FOUND, "ModelInfer", _request(model_version="9")),
    "no input": (INVALID, "ModelInfer", service_pb2.ModelInferRequest(model_name=MODEL)),
    "another input": (INVALID, "ModelInfer", _input(name="nope")),
    "another datatype": (INVALID, "ModelInfer", _input(datatype="FP32")),
    "another shape": (INVALID, "ModelInfer", _input(shape=[1, 2])),
    "too few elements": (INVALID, "ModelInfer", _input(shape=[2, 1])),
    "too many inputs": (INVALID, "ModelInfer", _request([b"a"] * 9)),
    "an output that is not there": (INVALID, "ModelInfer", _request(outputs=[NOPE])),
    "index": (OK, "RepositoryIndex", service_pb2.RepositoryIndexRequest()),
    "loading what is loaded": (OK, "RepositoryModelLoad", service_pb2.RepositoryModelLoadRequest(model_name=MODEL)),
}


@pytest.mark.parametrize("name", SAME_STATUS)
def test_both_answer_with_the_same_status_and_fields(ours, theirs, name):
    status, *call = SAME_STATUS[name]
    (own, own_status), (other, other_status) = (_call(server, *call) for server in (ours, theirs))
    assert (own_status, other_status) == (status, status)
    if status == OK:
        own_fields, other_fields = (_leaves(MessageToDict(answer)) for answer in (own, other))
        assert own_fields - other_fields == ({".parameters.digest.stringParam str"} if "infer" in name else set())
        assert other_fields - own_fields == set()


def _leaves(value, path=""):
    """What a message is made of: the path of each field that is set, with its type."""
    if isinstance(value, dict):
        return {leaf for name, part in value.items() for leaf in _leaves(part, f"{path}.{name}")}
    if isinstance(value, list):
        return {leaf for part in value for leaf in _leaves(part, f"{path}[]")}
    return {f"{path} {type(value).__name__}"}


# What is 0 is not set. Writing outputs is part of the model's work here; of a batch no other part is counted.
ALWAYS_0 = {
    f".modelStats[].{where}.{part} str"
    for where in ("inferenceStats.computeOutput", "batchStats[].computeInput", "batchStats[].computeOutput")
    for part in ("count", "ns")
}


@pytest.mark.parametrize(
    ("name", "request_", "only_theirs"),
    [
        ("ServerMetadata", service_pb2.ServerMetadataRequest(), set()),
        ("ModelMetadata", service_pb2.ModelMetadataRequest(name=MODEL), set()),
        ("ModelStatistics", service_pb2.ModelStatisticsRequest(name=MODEL), ALWAYS_0),
    ],
)
def test_what_is_told_of_models_has_the_same_fields(ours, theirs, name, request_, only_theirs):
    for server in (ours, theirs):
        assert _call(server, "ModelInfer", _request())[1] == OK
    own, other = (_leaves(MessageToDict(_call(server, name, request_)[0])) for server in (ours, theirs))
    assert own <= other
    assert other - own == only_theirs


def test_the_configuration_says_nothing_that_tritons_does_not(ours, theirs):
    request = service_pb2.ModelConfigRequest(name=MODEL)
    own, other = (_leaves(MessageToDict(_call(server, "ModelConfig", request)[0])) for server in (ours, theirs))
    assert own - other == {".config.platform str"}  # of a model of its Python backend Triton has none
    assert {".config.maxBatchSize int", ".config.input[].dims[] str", ".config.output[].dataType str"} <= own & other


def test_tritons_client_reads_the_same_from_both(ours, theirs):
    read = []
    for server in (ours, theirs):
        with triton.InferenceServerClient(server) as client:
            text = triton.InferInput("text", [2, 1], "BYTES")
            text.set_data_from_numpy(np.array([[b"a"], ["ü".encode()]], object))
            names = ("probabilities", "label_probability", "label", "row_offset", "label_index")
            outputs = [triton.InferRequestedOutput(name) for name in names]
            result = client.infer(MODEL, [text], outputs=outputs, request_id="7", client_timeout=60)
            assert result.get_response().id == "7"
            read.append({name: result.as_numpy(name).dtype for name in names})
            assert result.as_numpy("probabilities").shape == (2, 14)
            classes = triton.InferRequestedOutput("probabilities", class_count=3)
            [best, _] = client.infer(MODEL, [text], outputs=[classes]).as_numpy("probabilities")
            assert [element.count(b":") for element in best] == [2, 2, 2]
    assert read[0] == read[1]
