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

    def can_write_eof(self):
        return False

    def get_write_buffer_size(self):
        return 0


def _written(app, *pieces):
    """What is written in answer to what arrives in pieces, and whether the connection is then closed."""

    async def ask():
        config = uvicorn.Config(app, http=impatient_protocol(10, 10, 10, lambda: False), log_config=None)
        config.load()
        protocol = config.http_protocol_class(config, ServerState(), {})
        wire = Wire()
        protocol.connection_made(wire)
        for piece in pieces:
            protocol.data_received(piece)
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


BODY = b"a" * 200_000
LARGEST_HEAD = 64 * 1024


def _request(head_bytes):
    """A request with a body, and a head of so many bytes."""
    head = REQUEST % (b"POST", b"Content-Length: %d\r\nX: %%s\r\n" % len(BODY))
    return head % (b"a" * (head_bytes - len(head) + len(b"%s"))) + BODY


ARRIVALS = {
    "in one piece with its body": lambda request: [request],
    "before its body": lambda request: [request[: -len(BODY)], BODY],
    "in two pieces": lambda request: [request[:1000], request[1000:]],
    "in many pieces": lambda request: [request[at : at + 1000] for at in range(0, len(request), 1000)],
}


@pytest.mark.parametrize("arrival", ARRIVALS)
def test_a_head_may_have_64_kib_and_no_byte_more_however_it_arrives(arrival):
    def first_lines(head_bytes):
        written, _ = _written(_app(b"done", reads=True), *ARRIVALS[arrival](_request(head_bytes)))
        return [one.partition(b"\r\n")[0] for one in written]

    assert first_lines(LARGEST_HEAD) == [b"HTTP/1.1 200 OK"]
    assert first_lines(LARGEST_HEAD + 1) == [b"HTTP/1.1 400 Bad Request"]


def test_a_head_that_is_too_large_behind_another_request_is_not_answered_and_one_that_is_not_is():
    """An answer would be taken for that to the other one."""
    first = REQUEST % (b"POST", b"Content-Length: 4\r\n") + b"body"
    assert _written(_app(b"done"), first + _request(LARGEST_HEAD + 1)) == ([], True)
    written, closed = _written(_app(b"done"), first + _request(LARGEST_HEAD))
    assert written[0].startswith(b"HTTP/1.1 200 OK")
    assert not closed


@pytest.mark.parametrize("count", [1, 2])
def test_nonsense_behind_a_request_is_not_answered_before_it(count):
    assert _written(_app(b"done"), (REQUEST % (b"GET", b"")) * count + b"nonsense\r\n\r\n") == ([], True)


def test_nonsense_is_answered_where_nobody_waits_for_another_answer():
    for pieces in ([b"nonsense\r\n\r\n"], [REQUEST % (b"POST", b"Transfer-Encoding: chunked\r\n"), b"nonsense\r\n"]):
        written, _ = _written(_app(b"done", reads=True), *pieces)
        assert written[0].startswith(b"HTTP/1.1 400 Bad Request")


def test_of_many_requests_in_one_piece_each_has_a_head_of_its_own():
    written, closed = _written(_app(b"done"), (REQUEST % (b"GET", b"X: %s\r\n" % (b"a" * 50_000))) * 3)
    assert written[0].startswith(b"HTTP/1.1 200 OK")
    assert not closed


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
