"""Requests leave nothing behind that only a search for garbage finds: until then it would keep their bodies."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from model.bundle import GOLDEN
from model.golden import GoldenExample
from model.repository import EMBEDDED_BUNDLES

_REQUESTS = 50

# The service, and in a thread of its process who asks it what the lines of its input say. The client is a bare socket,
# since libraries leave garbage of their own.
_PROGRAM = """
import collections, gc, json, socket, sys, threading, time
from pathlib import Path
from service.server import ServerProcess
from service.settings import Settings

rpc_port = int(sys.argv[2])
settings = Settings(models=Path(sys.argv[1]), port=0, grpc_port=rpc_port or None)
server = ServerProcess(settings, log_level="critical")
host, port = server.url.removeprefix("http://").split(":")

def ask(content, stays):
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(content)
        return connection.recv(65536).split(b" ", 2)[1].decode() if stays else ""

def call(content, stays):
    import grpc
    try:
        with grpc.insecure_channel(f"127.0.0.1:{rpc_port}") as channel:
            channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(content, timeout=60)
        return "OK"
    except grpc.RpcError as error:
        return error.code().name

def ready():
    return ask(b"GET /readyz HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n", True) == "200"

def work():
    while not ready():
        time.sleep(0.05)
    for line in sys.stdin:
        wanted = json.loads(line)
        question, do = (bytes.fromhex(wanted["content"]), wanted["stays"]), call if wanted["is_rpc"] else ask
        statuses = {do(*question) for _ in range(5)}  # what is made at the first time, stays
        time.sleep(0.3)
        gc.collect()
        gc.disable()
        statuses |= {do(*question) for _ in range(wanted["count"])}
        time.sleep(0.5)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found = collections.Counter(type(one).__qualname__ for one in gc.garbage)
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
        print(json.dumps([sorted(statuses), found]), flush=True)
    server.stop()

threading.Thread(target=work).start()
server.run()
"""


class _Service:
    """The program: what requests of one kind were answered with, and what they have left."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, content: bytes, *, stays: bool = True, is_rpc: bool = False) -> tuple[list[str], dict[str, int]]:
        line = {"content": content.hex(), "stays": stays, "count": _REQUESTS, "is_rpc": is_rpc}
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()
        statuses, found = json.loads(self._process.stdout.readline())
        return statuses, found


@contextmanager
def _running(rpc_port: int) -> Iterator[_Service]:
    command = [sys.executable, "-c", _PROGRAM, str(EMBEDDED_BUNDLES), str(rpc_port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield _Service(process)
        assert process.stdin
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.fixture(scope="module")
def service() -> Iterator[_Service]:
    with _running(0) as service:
        yield service


def _golden(model: str) -> bytes:
    examples = json.loads((Path(EMBEDDED_BUNDLES) / model / "1" / GOLDEN).read_text())
    item = GoldenExample.model_validate(examples[0]).item
    return item if isinstance(item, bytes) else str(item).encode()


def _tensor() -> bytes:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["It encrypts the disk."]}
    return json.dumps({"inputs": [tensor]}).encode()


_KINDS = {
    "text": ("/predict", "text/plain", _golden("text-demo"), "200"),
    "options": ("/predict?max_labels=2", "text/plain", b"It encrypts the disk.", "200"),
    "a wrong option": ("/predict?max_labels=x", "text/plain", b"It encrypts the disk.", "422"),
    "JSON": ("/predict", "application/json", b'{"text": "It encrypts the disk."}', "200"),
    "broken JSON": ("/predict", "application/json", b"{", "400"),
    "picture": ("/predict", "image/png", _golden("image-demo"), "200"),
    "half a picture": ("/predict", "image/png", _golden("image-demo")[:100], "422"),
    "form": (
        "/predict",
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\nIt lists processes.\r\n--b--\r\n',
        "200",
    ),
    "tensor": ("/v2/models/text-demo/infer", "application/json", _tensor(), "200"),
    "no model": ("/v2/models/nope/infer", "application/json", _tensor(), "404"),
    "nothing there": ("/nowhere", "text/plain", b"", "404"),
}


def _request(kind: str, missing: int = 0) -> bytes:
    path, content_type, body, _ = _KINDS[kind]
    length = len(body) + missing
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
    return head.encode() + body


# A few things belong to no request, such as the timer of the log: so there may be fewer of them than requests.


@pytest.mark.parametrize("kind", _KINDS)
def test_a_request_leaves_no_garbage(service, kind):
    statuses, found = service.ask(_request(kind))
    assert statuses == [_KINDS[kind][-1]]
    assert sum(found.values()) < _REQUESTS, found


@pytest.mark.parametrize("kind", _KINDS)
def test_a_caller_who_leaves_before_he_has_sent_all_leaves_no_garbage(service, kind):
    _, found = service.ask(_request(kind, missing=10), stays=False)
    assert sum(found.values()) < _REQUESTS, found


@pytest.mark.parametrize("kind", _KINDS)
def test_a_caller_who_leaves_before_he_is_answered_leaves_no_garbage(service, kind):
    _, found = service.ask(_request(kind) * 5, stays=False)
    assert sum(found.values()) < _REQUESTS, found


@pytest.mark.parametrize(
    ("head", "status"),
    [("POST /predict HTTP/1.1", "413"), ("POST /pre dict HTTP/1.1", "400"), ("X: " + "a" * 70_000, "400")],
    ids=["a body that is too large", "no request line", "a head that is too large"],
)
def test_an_answer_that_ends_the_connection_before_all_is_sent_leaves_no_garbage(service, head, status):
    first = head if head.startswith("POST") else f"POST /predict HTTP/1.1\r\n{head}"
    content = f"{first}\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: {10**9}\r\n\r\nhalf"
    statuses, found = service.ask(content.encode())
    assert statuses == [status]
    assert sum(found.values()) < _REQUESTS, found


def test_a_call_that_is_refused_leaves_no_garbage_of_ours():
    service_pb2 = pytest.importorskip("tritonclient.grpc.service_pb2")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with _running(port) as service:
        statuses, found = service.ask(service_pb2.ModelInferRequest(model_name="nope").SerializeToString(), is_rpc=True)
    assert statuses == ["NOT_FOUND"]
    # The library leaves some small objects of each call, in server and client. A frame would hold the message.
    assert not found.keys() & {"frame", "traceback", "InferRequest", "ModelNotFound"}, found
