"""Traces: what a collector receives, over the real protocol."""

import http.server
import socket
import sys
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from service.app import create_app
from service.settings import InvalidSettings, Settings

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector(http.server.ThreadingHTTPServer):
    """Takes what is sent to `/v1/traces`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[bytes] = []


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        self.server.received.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        yield collector
        collector.shutdown()
        thread.join()


def test_without_the_extra_a_wish_for_traces_is_refused_and_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "service.tracing", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(InvalidSettings, match=r"LABELSET_OTEL needs the extra otel .*opentelemetry"):
        create_app(Settings(otel=True))


def test_a_request_is_a_span_of_its_callers_trace_and_its_stages_are_children(serve, bundles, monkeypatch, collector):
    reason = "the extra otel is not installed"
    pytest.importorskip("opentelemetry.sdk.trace", reason=reason)
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason=reason)
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    service = serve(models=bundles, otel=True)
    before = time.time_ns()
    for body, request_id in (({"text": "It encrypts the disk."}, "good"), ({"text": ""}, "bad")):
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": request_id}
        httpx.post(f"{service.url}/predict", json=body, headers=headers)
    after = time.time_ns()
    service.process.terminate()
    service.process.wait(timeout=30)

    sent = [ExportTraceServiceRequest.FromString(body) for body in collector.received]
    resources = [resource for one in sent for resource in one.resource_spans]
    names = {a.key: a.value.string_value for one in resources for a in one.resource.attributes}
    assert names["service.name"] == "labelset"
    spans = [span for one in resources for scope in one.scope_spans for span in scope.spans]
    in_trace = [span for span in spans if span.trace_id.hex() == TRACE]
    roots = {_attributes(span)["labelset.request_id"]: span for span in in_trace if span.parent_span_id.hex() == PARENT}
    assert roots.keys() == {"good", "bad"}
    assert {span.name for span in roots.values()} == {"POST /predict"}
    good, bad = _attributes(roots["good"]), _attributes(roots["bad"])
    assert (good["http.response.status_code"], good["labelset.model"], good["labelset.version"]) == (
        200,
        "text-demo",
        "1",
    )
    assert (bad["http.response.status_code"], bad["error.type"]) == (422, "empty_input")
    for request_id, stages in (("good", ["queue", "decode", "infer"]), ("bad", [])):
        root = roots[request_id]
        children = sorted(
            (span for span in in_trace if span.parent_span_id == root.span_id),
            key=lambda span: span.start_time_unix_nano,
        )
        assert [child.name for child in children] == stages
        times = [root.start_time_unix_nano]
        for child in children:
            times += [child.start_time_unix_nano, child.end_time_unix_nano]
        times.append(root.end_time_unix_nano)
        assert times == sorted(times)
        assert before - 10_000_000 < times[0] < times[-1] < after + 10_000_000
    assert "encrypts" not in repr(sent)


def test_the_service_ends_soon_though_nobody_collects_its_traces(serve, bundles, monkeypatch):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra otel is not installed")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        service = serve(models=bundles, otel=True)
        assert httpx.post(f"{service.url}/predict", json={"text": "It encrypts the disk."}).status_code == 200
        started = time.monotonic()
        service.process.terminate()
        service.process.wait(timeout=30)
        assert time.monotonic() - started < 7


def _attributes(span) -> dict[str, str | int]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}
