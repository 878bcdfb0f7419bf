"""Health, metadata, configuration, statistics and the repository, as Triton's client reads them over gRPC."""

import json

import grpc
import httpx
import pytest
import tritonclient.grpc as triton
from google.protobuf import descriptor_pb2
from google.protobuf.json_format import MessageToDict
from grpc_tools import protoc
from tritonclient.grpc import model_config_pb2, service_pb2
from tritonclient.utils import InferenceServerException

from service import rpc

PROTO = "service/rpc/inference.proto"


def compiled(tmp_path, *options: str) -> None:
    root = str(rpc.__path__[0]).removesuffix("/service/rpc")
    assert protoc.main(["protoc", f"--proto_path={root}", *options, PROTO]) == 0


@pytest.fixture(scope="module")
def protocol(tmp_path_factory) -> descriptor_pb2.FileDescriptorProto:
    """Our definition of the protocol, read by the compiler."""
    path = tmp_path_factory.mktemp("protocol") / "set"
    compiled(path, f"--descriptor_set_out={path}")
    [described] = descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes()).file
    return described


def test_the_code_of_the_messages_is_that_of_their_definition(tmp_path):
    compiled(tmp_path, f"--python_out={tmp_path}", f"--pyi_out={tmp_path}")
    for name in ("inference_pb2.py", "inference_pb2.pyi"):
        with open(f"{rpc.__path__[0]}/{name}") as committed:
            assert (tmp_path / "service" / "rpc" / name).read_text() == committed.read()


def _fields(message, prefix="") -> dict:
    """Name, number, kind and number of values of every field, those of nested messages too."""
    own = {f"{prefix}{message.name}.{field.name}": (field.number, field.type, field.label) for field in message.field}
    for nested in message.nested_type:
        own |= _fields(nested, f"{prefix}{message.name}.")
    return own


def test_every_field_has_the_number_and_type_that_tritons_client_knows(protocol):
    known = {}
    for module in (service_pb2, model_config_pb2):
        described = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(described)
        for message in described.message_type:
            known |= _fields(message)
    ours = {name: field for message in protocol.message_type for name, field in _fields(message).items()}
    assert len(ours) > 100
    assert {name: known[name] for name in ours} == ours
    [datatypes] = protocol.enum_type
    for value in datatypes.value:
        assert model_config_pb2.DataType.Value(value.name) == value.number


def test_every_method_of_the_definition_is_answered(protocol, channel):
    [service] = protocol.service
    assert len(service.method) == 12
    for method in service.method:
        call = channel.stream_stream(f"/{protocol.package}.{service.name}/{method.name}")
        try:
            list(call(iter([b""]), timeout=20))
        except grpc.RpcError as error:
            assert error.code() in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED}  # noqa: PT017


def test_the_service_is_live_and_ready(rpc_client):
    assert rpc_client.is_server_live()
    assert rpc_client.is_server_ready()
    for name, version in (("text-demo", ""), ("text-demo", "1"), ("image-demo", "")):
        assert rpc_client.is_model_ready(name, version)
    assert not rpc_client.is_model_ready("nope")
    assert not rpc_client.is_model_ready("text-demo", "9")


def plain(message) -> dict:
    """A message as HTTP's JSON has it: numbers of 64 bits as numbers."""
    return json.loads(json.dumps(MessageToDict(message, preserving_proto_field_name=True)), object_hook=_with_numbers)


def _with_numbers(values: dict) -> dict:
    def number(value):
        return int(value) if isinstance(value, str) and value.removeprefix("-").isdecimal() else value

    texts = {"version", "versions", "name"}
    return {
        key: value if key in texts else [number(one) for one in value] if isinstance(value, list) else number(value)
        for key, value in values.items()
    }


@pytest.mark.parametrize("model", ["image-demo", "text-demo"])
@pytest.mark.parametrize("version", ["", "1"])
def test_what_is_told_of_a_model_is_what_http_tells(rpc_client, http, model, version):
    path = f"/v2/models/{model}" + (f"/versions/{version}" if version else "")
    assert plain(rpc_client.get_model_metadata(model, version)) == http.get(path).json()
    assert plain(rpc_client.get_model_config(model, version))["config"] == http.get(f"{path}/config").json()


def test_the_service_names_itself_as_over_http(rpc_client, http):
    assert plain(rpc_client.get_server_metadata()) == http.get("/v2").json()


@pytest.mark.parametrize("call", ["get_model_metadata", "get_model_config", "get_inference_statistics"])
def test_of_a_model_that_is_not_there_nothing_is_told(rpc_client, call):
    with pytest.raises(InferenceServerException, match=r"model must be one of .* got 'nope'") as caught:
        getattr(rpc_client, call)("nope")
    assert caught.value.status() == "StatusCode.NOT_FOUND"
    with pytest.raises(InferenceServerException, match=r"version of text-demo must be one of .* got '9'") as caught:
        getattr(rpc_client, call)("text-demo", "9")
    assert caught.value.status() == "StatusCode.NOT_FOUND"


def test_statistics_count_what_came_through_either_door(serve_rpc, bytes_input):
    service, address = serve_rpc(runners=1)  # so that the inputs of a request are one batch
    texts = [b"It encrypts the disk.", b"It lists processes."]
    with triton.InferenceServerClient(address) as client, httpx.Client(base_url=service.url, timeout=60) as http:
        for _ in range(3):
            client.infer("text-demo", [bytes_input("text", texts)])
        assert http.post("/predict", json={"text": "It encrypts the disk."}).status_code == 200
        [counted] = client.get_inference_statistics("text-demo").model_stats
        assert (counted.name, counted.version) == ("text-demo", "1")
        assert (counted.inference_count, counted.execution_count) == (7, 4)
        assert counted.inference_stats.success.count == counted.inference_stats.queue.count == 4
        assert counted.inference_stats.fail.count == 0
        assert 0 < counted.inference_stats.compute_infer.ns < counted.inference_stats.success.ns
        assert {batch.batch_size: batch.compute_infer.count for batch in counted.batch_stats} == {1: 1, 2: 3}
        assert [one.name for one in client.get_inference_statistics().model_stats] == ["image-demo", "text-demo"]
        [over_http] = http.get("/v2/models/text-demo/stats").json()["model_stats"]
        assert over_http["inference_stats"]["success"]["ns"] == counted.inference_stats.success.ns
        assert over_http["last_inference"] == counted.last_inference


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.get_model_repository_index(),
        lambda client: client.load_model("text-demo"),
        lambda client: client.unload_model("text-demo"),
    ],
)
def test_without_leave_nothing_is_told_of_the_repository_and_nothing_changed(rpc_client, call):
    with pytest.raises(InferenceServerException, match="this service takes no changes") as caught:
        call(rpc_client)
    assert caught.value.status() == "StatusCode.PERMISSION_DENIED"
    assert rpc_client.is_model_ready("text-demo")


def test_models_are_listed_unloaded_and_loaded(serve_rpc, tmp_path, write_version):
    (tmp_path / "mine").mkdir()
    for version in ("1", "2"):
        write_version(tmp_path / "mine" / version, version)
    _, address = serve_rpc(models=tmp_path, admin=True)
    with triton.InferenceServerClient(address) as client, grpc.insecure_channel(address) as channel:

        def index() -> list[tuple[str, str, str, str]]:
            models = client.get_model_repository_index().models
            return [(model.name, model.version, model.state, model.reason) for model in models]

        assert index() == [("mine", "2", "READY", ""), ("mine", "1", "READY", "")]
        unload = channel.unary_unary("/inference.GRPCInferenceService/RepositoryModelUnload")
        request = service_pb2.RepositoryModelUnloadRequest(model_name="mine")
        request.parameters["version"].string_param = "2"
        unload(request.SerializeToString())
        assert index()[0] == ("mine", "2", "UNAVAILABLE", "unloaded on request")
        ready = channel.unary_unary("/inference.GRPCInferenceService/RepositoryIndex")
        only = service_pb2.RepositoryIndexRequest(ready=True).SerializeToString()
        assert len(service_pb2.RepositoryIndexResponse.FromString(ready(only)).models) == 1
        client.unload_model("mine", unload_dependents=True)
        assert not client.is_server_ready()
        client.load_model("mine")
        assert client.is_model_ready("mine", "2")

        with pytest.raises(InferenceServerException, match=r"model must be one of \['mine'\]") as caught:
            client.load_model("other")
        assert caught.value.status() == "StatusCode.NOT_FOUND"
        with pytest.raises(InferenceServerException, match=r"\] config: ") as caught:
            client.load_model("mine", config="{}")
        assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
        write_version(tmp_path / "mine" / "3", "3", graph="unreadable")
        with pytest.raises(InferenceServerException, match=r"\] refused mine/3 \(bundle_graph_mismatch: ") as caught:
            client.load_model("mine")
        assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
        assert str(tmp_path) not in caught.value.message()
        assert client.is_model_ready("mine", "2")


@pytest.mark.parametrize(
    "call",
    [lambda client: client.get_system_shared_memory_status(), lambda client: client.get_trace_settings()],
)
def test_what_is_not_offered_is_unimplemented(rpc_client, call):
    with pytest.raises(InferenceServerException, match="Method not found") as caught:
        call(rpc_client)
    assert caught.value.status() == "StatusCode.UNIMPLEMENTED"
