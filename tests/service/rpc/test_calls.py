"""How calls begin and end: who leaves or is late, what the service tells of them, and how it stops."""

import itertools
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2

from service.app import create_app
from service.settings import InvalidSettings, Settings

METHODS = "/inference.GRPCInferenceService"
ROUTE = f"{METHODS}/ModelInfer"
SENTENCE = b"The group sent phishing mails to the staff of two banks and encrypted their disks."
NUMBERS = itertools.count()


def infer_request(rows: int = 1) -> bytes:
    """A request for so many texts, that nobody has sent before: equal ones would be computed once."""
    request = service_pb2.ModelInferRequest(model_name="text-demo")
    tensor = request.inputs.add(name="text", datatype="BYTES", shape=[rows])
    tensor.contents.bytes_contents.extend(SENTENCE + b" %d" % next(NUMBERS) for _ in range(rows))
    return request.SerializeToString()


def wait_for(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def counted(service, name: str, **labels: str) -> float:
    """What a metric of a service says."""
    inside = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    found = re.search(
        rf"^labelset_{name}{{{re.escape(inside)}}} (\S+)$", httpx.get(f"{service.url}/metrics").text, re.M
    )
    return float(found[1]) if found else 0.0


@pytest.fixture
def busy(slow_models, serve_rpc):
    """A service that takes inputs one by one, five a second, and a way to ask it."""
    service, address = serve_rpc(runners=1, max_batch_rows=1, max_waiting=10_000)
    with grpc.insecure_channel(address) as channel:
        yield service, channel.unary_unary(ROUTE)


def open_inputs(service) -> float:
    found = re.search(r"^labelset_open_inputs (\S+)$", httpx.get(f"{service.url}/metrics").text, re.M)
    return float(found[1])


def test_a_caller_whose_deadline_has_passed_is_not_computed_and_counts_as_such(busy):
    service, infer = busy
    occupied = [infer.future(infer_request(rows=4), timeout=120) for _ in range(3)]
    wait_for(lambda: open_inputs(service) == 12)
    late = infer.future(infer_request(rows=4), timeout=0.2)
    assert late.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    wait_for(lambda: counted(service, "request_errors_total", code="deadline_exceeded") == 1)
    assert counted(service, "requests_total", route=ROUTE, method="POST", status="504") == 1
    assert {call.code() for call in occupied} == {grpc.StatusCode.OK}
    assert open_inputs(service) == 0
    assert counted(service, "batch_rows_sum", model="text-demo", version="1") == 12
    assert "Traceback" not in service.log.read_text()


def test_callers_who_have_left_are_not_computed_and_count_as_such(busy):
    service, infer = busy
    calls = [infer.future(infer_request(), timeout=120) for _ in range(100)]
    wait_for(lambda: open_inputs(service) > 70)
    for call in calls:
        call.cancel()
    wait_for(lambda: open_inputs(service) == 0)
    left = counted(service, "request_errors_total", code="caller_left")
    assert left > 70
    assert counted(service, "requests_total", route=ROUTE, method="POST", status="400") == left
    # And the one whose turn it was.
    assert counted(service, "batch_rows_sum", model="text-demo", version="1") <= 101 - left
    assert "Traceback" not in service.log.read_text()


def test_a_request_is_in_the_log_and_in_the_metrics_as_those_over_http(serve_rpc):
    service, address = serve_rpc(log_format="json")
    with grpc.insecure_channel(address) as channel:
        infer = channel.unary_unary(ROUTE)
        _, call = infer.with_call(infer_request(2), metadata=[("x-request-id", "order-17")], timeout=60)
        told = dict(call.trailing_metadata())
        assert told["x-request-id"] == "order-17"
        stages = dict(entry.split(";dur=") for entry in told["server-timing"].split(", "))
        assert list(stages) == ["queue", "decode", "infer", "total"]
        with pytest.raises(grpc.RpcError) as caught:
            infer(b"\xff", metadata=[("x-request-id", "two words")])
        assert re.fullmatch("[0-9a-f]{32}", dict(caught.value.trailing_metadata())["x-request-id"])
    assert counted(service, "requests_total", route=ROUTE, method="POST", status="200") == 1
    assert counted(service, "requests_total", route=ROUTE, method="POST", status="400") == 1
    assert counted(service, "request_errors_total", code="invalid_infer_request") == 1
    assert counted(service, "stage_seconds_count", model="text-demo", version="1", stage="infer") == 1
    assert service.logged(rf'"request_id": "order-17", .*"path": "{ROUTE}", "status": 200, .*"model": "text-demo/1"')
    assert service.logged('"code": "invalid_infer_request"')
    assert SENTENCE.decode() not in service.log.read_text()


def test_each_request_of_a_stream_has_a_record(serve_rpc):
    service, address = serve_rpc()
    with grpc.insecure_channel(address) as channel:
        stream = channel.stream_stream(f"{METHODS}/ModelStreamInfer")
        answers = [
            service_pb2.ModelStreamInferResponse.FromString(answer)
            for answer in stream(iter([infer_request(), b"\xff", infer_request()]), timeout=60)
        ]
    assert [bool(answer.error_message) for answer in answers] == [False, True, False]
    route = f"{METHODS}/ModelStreamInfer"
    assert counted(service, "requests_total", route=route, method="POST", status="200") == 2
    assert counted(service, "requests_total", route=route, method="POST", status="400") == 1


def held(free: threading.Event, *messages: bytes) -> Iterator[bytes]:
    """Messages of a call that does not end before it is let go."""
    yield from messages
    free.wait(60)


def test_a_message_that_does_not_come_is_not_awaited_for_ever(serve_rpc):
    service, address = serve_rpc(body_seconds=0.5)
    free = threading.Event()
    with grpc.insecure_channel(address) as channel:
        started = time.monotonic()
        with pytest.raises(grpc.RpcError) as caught:
            channel.stream_unary(ROUTE)(held(free), timeout=60)
        free.set()
    assert time.monotonic() - started < 20
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert caught.value.details() == "a message must arrive within 0.5 seconds"
    assert counted(service, "request_errors_total", code="body_too_slow") == 1


def test_a_stream_may_rest_between_its_messages(serve_rpc):
    _, address = serve_rpc(body_seconds=0.3)

    def messages():
        yield infer_request()
        time.sleep(1)
        yield infer_request()

    with grpc.insecure_channel(address) as channel:
        assert len(list(channel.stream_stream(f"{METHODS}/ModelStreamInfer")(messages(), timeout=60))) == 2


def test_a_connection_that_says_nothing_is_closed(serve_rpc):
    _, address = serve_rpc(head_seconds=1)
    host, _, port = address.rpartition(":")
    started = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        while connection.recv(1000):
            pass
    assert 0.5 < time.monotonic() - started < 20


def test_what_has_been_sent_when_the_service_must_stop_is_answered(serve_rpc):
    service, address = serve_rpc(leave_seconds=3, max_waiting=10_000, max_batch_rows=1)
    with triton.InferenceServerClient(address) as client, grpc.insecure_channel(address) as channel:
        infer = channel.unary_unary(ROUTE)
        assert client.is_server_ready()
        calls = [infer.future(infer_request(8), timeout=60) for _ in range(40)]
        service.process.send_signal(signal.SIGTERM)
        wait_for(lambda: not client.is_server_ready())
        infer(infer_request(), timeout=60)  # while it leaves
        assert {call.code() for call in calls} == {grpc.StatusCode.OK}
        assert service.process.wait(timeout=30) == -signal.SIGTERM
    host, _, port = address.rpartition(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))
    assert "Traceback" not in service.log.read_text()


def test_what_is_not_answered_in_time_when_the_service_must_stop_is_told_so(slow_models, serve_rpc):
    service, address = serve_rpc(leave_seconds=1, drain_seconds=1, max_batch_rows=1)
    with grpc.insecure_channel(address) as channel:
        infer = channel.unary_unary(ROUTE)
        calls = [infer.future(infer_request(), timeout=60) for _ in range(50)]
        wait_for(lambda: open_inputs(service) > 30)
        service.process.send_signal(signal.SIGTERM)
        ends = [(call.code(), call.details()) for call in calls]
    assert set(ends) == {(grpc.StatusCode.OK, ""), (grpc.StatusCode.UNAVAILABLE, "the service is shutting down")}
    assert service.process.wait(timeout=30) == -signal.SIGTERM
    assert "Traceback" not in service.log.read_text()


def test_a_stream_that_rests_does_not_keep_the_service_from_stopping(serve_rpc):
    service, address = serve_rpc(leave_seconds=0, drain_seconds=60)
    free = threading.Event()
    with grpc.insecure_channel(address) as channel, ThreadPoolExecutor(1) as pool:
        answers = channel.stream_stream(f"{METHODS}/ModelStreamInfer")(held(free, infer_request()), timeout=60)
        assert next(answers)
        started = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        ended = pool.submit(lambda: list(answers)).exception(timeout=30)
        free.set()
        assert (ended.code(), ended.details()) == (grpc.StatusCode.UNAVAILABLE, "the service is shutting down")
        assert service.process.wait(timeout=30) == -signal.SIGTERM
    assert time.monotonic() - started < 15
    assert "Traceback" not in service.log.read_text()


def test_a_busy_port_is_named_before_a_model_is_loaded():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "labelset", "serve", "--port", "0", "--grpc-port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "serving" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        f"error: cannot listen on 127.0.0.1 port {port}: it is in use; choose another port [cannot_listen]"
    )


def test_two_services_do_not_share_a_port(serve_rpc):
    _, address = serve_rpc()
    command = [sys.executable, "-m", "labelset", "serve", "--port", "0", "--grpc-port", address.rpartition(":")[2]]
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == 1


def test_without_the_setting_there_is_no_second_port(serve, bundles):
    assert "gRPC" not in serve(models=bundles).log.read_text()


def test_without_the_extra_the_setting_is_refused_and_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "service.rpc.server", raising=False)
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(InvalidSettings, match=r"LABELSET_GRPC_PORT needs the extra grpc .*import of grpc halted"):
        create_app(Settings(grpc_port=0))


def test_a_message_counts_among_the_bodies_of_all_requests(serve_rpc):
    service, address = serve_rpc(
        max_body_bytes=1_000_000, max_open_body_bytes=1_000_000, max_image_bytes=1, max_audio_bytes=1
    )
    host, port = service.url.removeprefix("http://").split(":")
    large = service_pb2.ModelInferRequest(model_name="text-demo")
    tensor = large.inputs.add(name="text", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(b"a" * 200_000)

    def held() -> str:
        return re.search(r"^labelset_open_body_bytes (\S+)$", httpx.get(f"{service.url}/metrics").text, re.M)[1]

    with grpc.insecure_channel(address) as channel:
        infer = channel.unary_unary(ROUTE)
        stream = channel.stream_stream(f"{METHODS}/ModelStreamInfer")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n")
            connection.sendall(b"Content-Length: 1000000\r\n\r\n")
            wait_for(lambda: held() == "1e+06")
            with pytest.raises(grpc.RpcError) as refused:
                infer(large.SerializeToString(), timeout=60)
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
            assert ("grpc-retry-pushback-ms", "1000") in refused.value.trailing_metadata()
            [on_stream] = stream(iter([large.SerializeToString()]), timeout=60)
            assert b"bodies of at most 1000000 bytes are held at once" in on_stream
            assert infer(infer_request(), timeout=60)
        wait_for(lambda: held() == "0.0")
        for _ in range(10):  # more than there would be room for, if one kept it
            with pytest.raises(grpc.RpcError, match="a text must have at most 100000 characters"):
                infer(large.SerializeToString(), timeout=60)
        assert held() == "0.0"
