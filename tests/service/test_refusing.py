"""Refused at the door: what is said there, to whom, and what becomes of the connection."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest

from service.access.keys import new_key, write_keys

SENTENCE = "The group sent phishing mails to the staff of two banks."
INFER = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [SENTENCE]}]}
ROUTES = ["/predict", "/predict?label_count=1", "/v2/models/text-demo/infer", "/v2/models/text-demo/versions/1/infer"]
OWN = {"date", "x-request-id", "server-timing", "connection"}


@contextlib.contextmanager
def full(service, **headers):
    """A service whose only place is taken, by somebody whose answer takes as long as this does."""
    tasks = Path(f"/proc/{service.process.pid}/task").glob("*/children")
    [process] = [int(child) for task in tasks for child in task.read_text().split()]
    os.kill(process, signal.SIGSTOP)
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(ask(service, **headers)))
    try:
        waiting.start()
        deadline = time.monotonic() + 20
        while httpx.get(f"{service.url}/metrics", headers=headers).text.count("\nlabelset_open_inputs 1.0") != 1:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield
    finally:
        os.kill(process, signal.SIGCONT)
        waiting.join(timeout=60)
    assert [answer.status_code for answer in answers] == [200]


def ask(service, **headers):
    return httpx.post(f"{service.url}/predict", json={"text": SENTENCE}, headers=headers, timeout=60)


@pytest.fixture(scope="module")
def one_place(serve):
    return serve(max_waiting=1, max_batch_size=1, log_format="json")


def test_it_is_said_as_the_application_says_it(one_place):
    with full(one_place), httpx.Client(base_url=one_place.url) as client:
        for route in ROUTES:
            door, application = (
                client.post(route, json=INFER, headers={"connection": connection})
                for connection in ("keep-alive", "close")
            )
            assert door.status_code == application.status_code == 503
            assert door.content == application.content
            said, also = ({n: v for n, v in one.headers.items() if n not in OWN} for one in (door, application))
            assert said == also
            assert OWN - {"connection"} < door.headers.keys()


def test_the_request_is_in_the_log_and_in_the_metrics_under_its_own_id(one_place):
    def counted():
        text = httpx.get(f"{one_place.url}/metrics").text
        route = 'method="POST",route="/v2/models/{name}/infer",status="503"'
        return float((re.search(rf"labelset_requests_total{{{re.escape(route)}}} (\S+)", text) or [0, 0])[1])

    time.sleep(1.1)  # the lines of others' refusals may be summed up
    before = counted()
    with full(one_place):
        refused = httpx.post(f"{one_place.url}/v2/models/a%20b/infer", headers={"x-request-id": "escaped"})
        assert refused.status_code == 503
        refused = httpx.post(f"{one_place.url}/v2/models/any/infer", headers={"x-request-id": "order-17"})
        assert (refused.status_code, refused.headers["x-request-id"]) == (503, "order-17")
    assert counted() == before + 2
    [line] = map(json.loads, one_place.logged("order-17"))
    assert (line["path"], line["status"], line["code"]) == ("/v2/models/any/infer", 503, "queue_full")


def test_the_connection_goes_on_once_the_body_is_over(one_place):
    address = one_place.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(address[0], int(address[1]), timeout=20)
    with full(one_place), contextlib.closing(connection):
        for _ in range(3):
            connection.putrequest("POST", "/predict")
            connection.putheader("content-length", "1000000")
            connection.endheaders()
            connection.send(b"x" * 300_000)
            response = connection.getresponse()
            assert (response.status, json.load(response)["error"]["code"]) == (503, "queue_full")
            connection.send(b"x" * 700_000)
            connection.request("GET", "/readyz")
            assert connection.getresponse().read()
    answer = ask(one_place)
    assert answer.status_code == 200


def test_requests_sent_in_advance_are_refused_in_their_order(one_place):
    address = one_place.url.removeprefix("http://").split(":")
    refused = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\nx-request-id: %d\r\n\r\nbody"
    other = b"GET /readyz HTTP/1.1\r\nhost: x\r\nx-request-id: %d\r\n\r\n"
    with full(one_place), socket.create_connection((address[0], int(address[1])), timeout=20) as connection:
        connection.sendall(refused % 1 + other % 2 + refused % 3 + refused % 4 + other % 5)
        received = b""
        while received.count(b"HTTP/1.1 ") < 5:
            received += connection.recv(65536)
    assert re.findall(rb"(?im)^x-request-id: (\d)", received) == [b"1", b"2", b"3", b"4", b"5"]
    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"503", b"200", b"503", b"503", b"200"]


def test_the_next_request_is_waited_for_as_after_any_other_answer(serve):
    service = serve(max_waiting=1, max_batch_size=1, head_seconds=0.5)
    address = service.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(address[0], int(address[1]), timeout=20)
    with full(service), contextlib.closing(connection):
        for _ in range(2):
            connection.request("POST", "/predict", body=b"text", headers={"content-type": "text/plain"})
            response = connection.getresponse()
            assert (response.status, bool(response.read())) == (503, True)
            own = connection.sock
            time.sleep(1)
        connection.request("GET", "/livez")
        assert connection.getresponse().status == 200
        assert connection.sock is own


def test_who_sends_in_advance_without_end_and_takes_no_answer_is_cut_off(one_place):
    address = one_place.url.removeprefix("http://").split(":")
    with full(one_place), socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(5)
        connection.connect((address[0], int(address[1])))
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            connection.sendall(b"POST /predict HTTP/1.1\r\ncontent-length: 0\r\n\r\n" * 1_000_000)


def test_a_caller_who_does_not_send_the_rest_of_a_refused_body_is_cut_off(serve):
    service = serve(max_waiting=1, max_batch_size=1, body_seconds=0.5)
    address = service.url.removeprefix("http://").split(":")
    with full(service), socket.create_connection((address[0], int(address[1])), timeout=20) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nbeginning")
        assert connection.recv(65536).startswith(b"HTTP/1.1 503 ")
        started = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(65536) == b""
        assert 4 < time.monotonic() - started < 15


def test_nothing_else_is_refused_there(one_place):
    with full(one_place), httpx.Client(base_url=one_place.url) as client:
        assert client.get("/models").status_code == 200
        assert client.get("/predict").status_code == 405
        assert client.post("/predict/").status_code == 404
        assert client.post("/v2/models/text-demo/inferred").status_code == 404


def test_where_keys_are_in_force_who_has_none_is_told_so_first(serve, tmp_path: Path):
    key, secret = new_key("caller", scopes=("infer", "metrics"))
    write_keys(tmp_path / "keys", [key])
    service = serve(max_waiting=1, max_batch_size=1, keys_file=tmp_path / "keys")
    with full(service, authorization=f"Bearer {secret}"):
        assert ask(service).status_code == 401
        assert ask(service, authorization=f"Bearer {secret}").status_code == 503


def test_pages_of_other_origins_may_read_it(serve):
    service = serve(max_waiting=1, max_batch_size=1, cors_origins="https://example.org")
    with full(service):
        refused = ask(service, origin="https://example.org")
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (503, "https://example.org")
