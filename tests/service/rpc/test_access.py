"""Who may call: the keys that HTTP asks for are asked for here too; TLS is spoken on both ports."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time

import grpc
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc

from service.access.keys import new_key, write_keys

TEXT = b"It encrypts the disk."


def infer_request(model: str = "text-demo") -> service_pb2.ModelInferRequest:
    request = service_pb2.ModelInferRequest(model_name=model)
    tensor = request.inputs.add(name="text", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(TEXT)
    return request


OF_A_MODEL = {
    "ModelReady": ("infer", service_pb2.ModelReadyRequest, "name"),
    "ModelMetadata": ("infer", service_pb2.ModelMetadataRequest, "name"),
    "ModelConfig": ("infer", service_pb2.ModelConfigRequest, "name"),
    "ModelStatistics": ("infer", service_pb2.ModelStatisticsRequest, "name"),
    "RepositoryModelLoad": ("admin", service_pb2.RepositoryModelLoadRequest, "model_name"),
}
OF_NONE = {
    "ServerMetadata": ("infer", service_pb2.ServerMetadataRequest()),
    "RepositoryIndex": ("admin", service_pb2.RepositoryIndexRequest()),
}
CALLS = [
    *((name, scope, request(**{field: "text-demo"})) for name, (scope, request, field) in OF_A_MODEL.items()),
    *((name, scope, request) for name, (scope, request) in OF_NONE.items()),
    ("ModelInfer", "infer", infer_request()),
]
NAMES = [name for name, *_ in CALLS]


@pytest.fixture(scope="module")
def guarded(serve_rpc, tmp_path_factory):
    made = {
        "infer": new_key("infer"),
        "admin": new_key("admin", scopes=("admin",)),
        "image-only": new_key("image-only", scopes=("infer", "admin"), models=("image-demo",)),
    }
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    write_keys(path, [key for key, _ in made.values()])
    service, address = serve_rpc(admin=True, keys_file=path)
    return service, address, {name: secret for name, (_, secret) in made.items()}


@pytest.fixture(scope="module")
def call(guarded):
    _, address, keys = guarded
    with grpc.insecure_channel(address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)

        def ask(name, request, key=None, header="authorization"):
            secret = keys.get(key, key)
            value = f"Bearer {secret}" if header == "authorization" else secret
            metadata = [(header, value)] if key else []
            return getattr(stub, name)(request, metadata=metadata, timeout=60)

        yield ask


def refused(call, *arguments, **options) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **options)
    return caught.value.code(), caught.value.details()


@pytest.mark.parametrize(("name", "scope", "request_"), CALLS, ids=NAMES)
def test_a_call_needs_a_key_of_its_scope(call, name, scope, request_):
    assert refused(call, name, request_)[0] == grpc.StatusCode.UNAUTHENTICATED
    assert refused(call, name, request_, key="labelset_wrong")[0] == grpc.StatusCode.UNAUTHENTICATED
    other = "admin" if scope == "infer" else "infer"
    assert refused(call, name, request_, key=other)[0] == grpc.StatusCode.PERMISSION_DENIED
    call(name, request_, key=scope)
    call(name, request_, key=scope, header="x-api-key")


@pytest.mark.parametrize("name", OF_A_MODEL)
def test_a_model_outside_of_a_keys_scope_is_refused_whether_or_not_it_exists(call, name):
    _, request, field = OF_A_MODEL[name]
    for model in ("text-demo", "no-such-model"):
        code, details = refused(call, name, request(**{field: model}), key="image-only")
        assert (code, details) == (
            grpc.StatusCode.PERMISSION_DENIED,
            f"this key is for the models ['image-demo'], got '{model}'",
        )
    call(name, request(**{field: "image-demo"}), key="image-only")
    assert refused(call, "ModelInfer", infer_request(), key="image-only")[0] == grpc.StatusCode.PERMISSION_DENIED


def test_a_key_of_some_models_sees_those_alone(call):
    index = call("RepositoryIndex", service_pb2.RepositoryIndexRequest(), key="image-only")
    assert {model.name for model in index.models} == {"image-demo"}
    statistics = call("ModelStatistics", service_pb2.ModelStatisticsRequest(), key="image-only")
    assert {model.name for model in statistics.model_stats} == {"image-demo"}


def test_health_needs_no_key(call):
    assert call("ServerLive", service_pb2.ServerLiveRequest()).live
    assert call("ServerReady", service_pb2.ServerReadyRequest()).ready


@pytest.mark.parametrize(
    ("key", "code", "name"),
    [
        (None, grpc.StatusCode.UNAUTHENTICATED, ""),
        ("labelset_wrong", grpc.StatusCode.UNAUTHENTICATED, ""),
        ("admin", grpc.StatusCode.PERMISSION_DENIED, " by admin"),
    ],
)
def test_a_stream_without_a_key_is_refused_before_it_says_anything(guarded, key, code, name):
    service, address, keys = guarded
    lines, free = len(service.logged("ModelStreamInfer", 0)), threading.Event()

    def nothing():
        free.wait(60)
        yield infer_request()

    metadata = [("x-api-key", keys.get(key, key))] if key else []
    with grpc.insecure_channel(address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        try:
            with pytest.raises(grpc.RpcError) as caught:
                list(stub.ModelStreamInfer(nothing(), metadata=metadata, timeout=20))
        finally:
            free.set()
    assert caught.value.code() == code
    assert "x-request-id" in dict(caught.value.trailing_metadata())
    [line] = service.logged("ModelStreamInfer", lines + 1)[lines:]
    assert re.search(rf" 40[13] \S+ ms{name} (unauthorized|forbidden) ", line)


def test_each_request_of_a_stream_needs_the_key(serve_rpc, tmp_path):
    """Also one that was taken away since the stream began. Beginning a stream is no use of a key that has a rate."""
    key, secret = new_key("slow", requests_per_second=0.01)
    write_keys(tmp_path / "keys.json", [key])
    _, address = serve_rpc(keys_file=tmp_path / "keys.json", watch_seconds=0.05)
    answered, revoked = threading.Event(), threading.Event()

    def messages():
        yield infer_request()
        yield infer_request()
        assert answered.wait(30)
        write_keys(tmp_path / "keys.json", [])
        assert revoked.wait(30)
        yield infer_request()

    with grpc.insecure_channel(address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        answers = stub.ModelStreamInfer(messages(), metadata=[("x-api-key", secret)], timeout=60)
        assert not next(answers).error_message
        assert "used too fast" in next(answers).error_message
        answered.set()
        deadline = time.monotonic() + 20
        while _status(stub, secret) != grpc.StatusCode.UNAUTHENTICATED:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        revoked.set()
        assert "not known here" in next(answers).error_message


def _status(stub, secret) -> grpc.StatusCode:
    try:
        stub.ServerMetadata(service_pb2.ServerMetadataRequest(), metadata=[("x-api-key", secret)], timeout=20)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_the_log_names_the_key_and_never_holds_it(guarded, call):
    service, _, keys = guarded
    call("ModelInfer", infer_request(), key="infer")
    assert service.logged(r"ModelInfer 200 .* by infer")
    log = service.log.read_text()
    assert not any(secret in log for secret in keys.values())


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl in PATH (apt install openssl)")
def test_with_a_certificate_both_ports_speak_tls(tmp_path):
    certificate, key, log = tmp_path / "certificate.pem", tmp_path / "key.pem", tmp_path / "log"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-out", str(certificate), "-keyout", str(key)]
    subprocess.run(["openssl", "req", "-x509", *curve, *name, *files], check=True, capture_output=True)
    settings = {"LABELSET_TLS_CERTIFICATE": str(certificate), "LABELSET_TLS_KEY": str(key), "LABELSET_GRPC_PORT": "0"}
    with log.open("w") as stream:
        command = [sys.executable, "-m", "labelset", "serve", "--port", "0"]
        service = subprocess.Popen(command, stderr=stream, stdin=subprocess.DEVNULL, env={**os.environ, **settings})
    try:
        deadline = time.monotonic() + 60
        while "startup complete" not in log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        address = re.search(r"gRPC listens on (\S+)", log.read_text())[1]
        with triton.InferenceServerClient(address, ssl=True, root_certificates=str(certificate)) as client:
            assert client.is_server_ready()
        with triton.InferenceServerClient(address) as client, pytest.raises(triton.InferenceServerException):
            client.is_server_live(client_timeout=10)
    finally:
        service.terminate()
        service.wait(timeout=30)
