"""Requests leave nothing behind that only a search for garbage finds: until then it would keep their bodies."""

import json
import subprocess
import sys
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

server = ServerProcess(Settings(models=Path(sys.argv[1]), port=0), log_level="critical")
host, port = server.url.removeprefix("http://").split(":")

def ask(head, body, stays):
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(head.encode() + body)
        return connection.recv(65536).split(b" ", 2)[1].decode() if stays else ""

def ready():
    return ask("GET /readyz HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n", b"", True) == "200"

def work():
    while not ready():
        time.sleep(0.05)
    for line in sys.stdin:
        wanted = json.loads(line)
        question = wanted["head"], bytes.fromhex(wanted["body"]), wanted["stays"]
        statuses = {ask(*question) for _ in range(5)}  # what is made at the first time, stays
        time.sleep(0.3)
        gc.collect()
        gc.disable()
        statuses |= {ask(*question) for _ in range(wanted["count"])}
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


@pytest.fixture(scope="module")
def service():
    command = [sys.executable, "-c", _PROGRAM, str(EMBEDDED_BUNDLES)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.stdin.close()
        assert process.wait(60) == 0


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


@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("stays", [True, False], ids=["stays", "leaves"])
def test_a_request_leaves_no_garbage(service, kind, stays):
    path, content_type, body, status = _KINDS[kind]
    declared = len(body) + (0 if stays else 10)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: {declared}\r\n\r\n"
    line = {"head": head, "body": body.hex(), "stays": stays, "count": _REQUESTS}
    service.stdin.write(json.dumps(line) + "\n")
    service.stdin.flush()
    statuses, found = json.loads(service.stdout.readline())
    assert statuses == [status if stays else ""]
    # A few things belong to no request, such as the timer of the log.
    assert sum(found.values()) < _REQUESTS, found
