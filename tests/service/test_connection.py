"""What is written on a connection, and in how many pieces."""

import asyncio
import time

import pytest
import uvicorn
from uvicorn.server import ServerState

from service.connection import impatient_protocol

REQUEST = b"%s / HTTP/1.1\r\nHost: x\r\n%s\r\n"


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self):
        super().__init__()
        self.written = []
        self.closed = False

    def write(self, data):
        assert not self.closed
        self.written.append(bytes(data))

    def close(self):
        self.closed = True

    abort = close

    def is_closing(self):
        return self.closed

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass


def _written(app, request):
    """What is written in answer to a request, and whether the connection is then closed."""

    async def ask():
        config = uvicorn.Config(app, http=impatient_protocol(10, 10, 10, lambda: False), log_config=None)
        config.load()
        protocol = config.http_protocol_class(config, ServerState(), {})
        wire = Wire()
        protocol.connection_made(wire)
        protocol.data_received(request)
        await asyncio.gather(*protocol.tasks)
        closed = wire.closed
        protocol.connection_lost(None)
        return wire.written, closed

    return asyncio.run(ask())


def _app(*chunks, reads=False, status=200, fails=False):
    async def app(scope, receive, send):
        if reads:
            await receive()
        headers = [(b"content-length", b"%d" % sum(map(len, chunks)))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if fails:
            raise RuntimeError("foreseen by this test")
        for position, chunk in enumerate(chunks):
            more = position < len(chunks) - 1
            await send({"type": "http.response.body", "body": chunk, "more_body": more})

    return app


def test_an_answer_is_one_write():
    [answer], _ = _written(_app(b"all of it"), REQUEST % (b"GET", b""))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nall of it")


def test_of_an_answer_in_parts_each_further_one_is_written_when_it_is_there():
    first, *others = _written(_app(b"one", b"two", b"three"), REQUEST % (b"GET", b""))[0]
    assert first.endswith(b"\r\n\r\none")
    assert others == [b"two", b"three"]


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("ending", [b"", b"Connection: close\r\n"])
def test_an_answer_without_a_body_is_written(method, ending):
    [answer], closed = _written(_app(b""), REQUEST % (method, ending))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n")
    assert closed == bool(ending)


def test_the_head_of_an_answer_that_fails_before_its_body_is_written():
    [head], closed = _written(_app(b"never sent", fails=True), REQUEST % (b"GET", b""))
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert closed


def test_who_waits_to_be_told_to_continue_is_told_at_once():
    waits = b"Content-Length: 4\r\nExpect: 100-continue\r\n"
    told, answer = _written(_app(b"done", reads=True), REQUEST % (b"POST", waits) + b"body")[0]
    assert told == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer.endswith(b"\r\n\r\ndone")


def test_a_kept_connection_is_not_closed_for_the_time_in_which_the_process_was_stopped():
    async def stop_in_between():
        protocol = impatient_protocol(10, 10, 10, lambda: False)
        config = uvicorn.Config(_app(b"x"), http=protocol, log_config=None, timeout_keep_alive=1)
        config.load()
        protocol, wire = config.http_protocol_class(config, ServerState(), {}), Wire()
        protocol.connection_made(wire)
        protocol.data_received(REQUEST % (b"GET", b""))
        await asyncio.gather(*protocol.tasks)
        time.sleep(1.5)  # the loop stands still, as it does in a process that is stopped
        await asyncio.sleep(0.1)  # what has come meanwhile would be read now
        closed = wire.closed
        await asyncio.sleep(1.5)
        return closed, wire.closed

    assert asyncio.run(stop_in_between()) == (False, True)
