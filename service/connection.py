"""HTTP on one connection: uvicorn's, with an end to whatever a caller could make it wait for, or keep.

Uvicorn waits for ever for a request and for its answer to be taken, so that a few thousand callers who say nothing
would hold all the files that a process may open; and it keeps any number of headers and of requests in advance.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.deadlines import Deadlines, stopped_seconds
from service.lingering import SECONDS_TO_READ, LingeringTransport
from service.presence import PRESENCE, Presence
from service.refusing import Refusing

# Head and trailers of a request; what other servers allow is between 8 and 80 KB.
_MAX_HEAD_BYTES = 64 * 1024
# A chunk of one byte has five around it.
_BYTES_AROUND_A_BYTE = 8
# Requests that a caller sends without waiting for the answers to those before.
_MAX_PIPELINED = 100


def impatient_protocol(
    head_seconds: float,
    body_seconds: float,
    max_connections: int,
    is_leaving: Callable[[], bool],
    refusing: Refusing | None = None,
) -> type[HttpToolsProtocol]:
    """The protocol of a server.

    Args:
        head_seconds: Time for the head of a request to arrive.
        body_seconds: Time for its body to arrive, and for an answer that is larger than buffers to be taken.
        max_connections: One that would be more is closed at once: without files nobody could be answered.
        is_leaving: Whether an answer must be the last one on its connection.
        refusing: Answers what need not reach the application.
    """
    arriving = Deadlines(min(head_seconds, body_seconds, SECONDS_TO_READ))

    class ImpatientProtocol(HttpToolsProtocol):
        _leaving: asyncio.TimerHandle | None = None
        # Read since the last request was whole, without bodies: a head or trailers have at least so many by now.
        _head_bytes = 0
        # Read since the request began, with the whole piece in which it did: its head has at most so many.
        _read_bytes = 0
        _piece_bytes = 0
        _is_refused = False

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            self._unanswered: deque[RequestResponseCycle] = deque()
            super().connection_made(LingeringTransport(transport, arriving, self._unanswered, body_seconds))
            if len(self.connections) > max_connections:
                transport.abort()
            arriving.set(self.transport, head_seconds)

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            self._piece_bytes = len(data)
            self._head_bytes += len(data)
            self._read_bytes += len(data)
            super().data_received(data)
            if self._head_bytes > _MAX_HEAD_BYTES:
                self._refuse_head()
            is_waited_for = self.transport in arriving or self._unanswered or self.timeout_keep_alive_task
            if not is_waited_for and not self.transport.is_closing():
                # Empty lines before a request begin none, and have ended uvicorn's wait for it.
                arriving.set(self.transport, head_seconds)

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._read_bytes = self._piece_bytes
            self._unset_keepalive_if_required()  # it may have come together with one that was refused
            if self.transport not in arriving:  # else it is the first, which has been waited for already
                arriving.set(self.transport, head_seconds)

        def on_headers_complete(self) -> None:
            # In one piece with its body, or behind another request, it is not seen in `_head_bytes`.
            if self._read_bytes > _MAX_HEAD_BYTES and self._parsed_bytes() > _MAX_HEAD_BYTES:
                self._refuse_head()
                raise ValueError("a head that is too large")  # for the parser, which reads on else
            # Also of a body that nobody reads, because its request was refused.
            arriving.set(self.transport, body_seconds + SECONDS_TO_READ)
            if self._refuse():
                return
            super().on_headers_complete()
            self.cycle.transport = _OneWrite(self.transport, self.cycle)  # type: ignore[assignment]
            self._unanswered.append(self.cycle)
            self.cycle.scope[PRESENCE] = Presence(self.flow.resume_reading)  # type: ignore[literal-required]
            if is_leaving():
                self.cycle.keep_alive = False
            if len(self.pipeline) > _MAX_PIPELINED:
                self.transport.abort()

        def on_body(self, body: bytes) -> None:
            self._head_bytes = max(0, self._head_bytes - len(body) * (1 + _BYTES_AROUND_A_BYTE))
            if not self._is_refused:
                super().on_body(body)

        def on_message_complete(self) -> None:
            arriving.lift(self.transport)
            self._head_bytes = 0
            if self._is_refused:
                self._is_refused = False
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )
            else:
                super().on_message_complete()
                self.cycle.scope[PRESENCE].has_sent_all = True  # type: ignore[literal-required]

        def _parsed_bytes(self) -> int:
            """Size of the head, as clients write it: with one space after each colon."""
            first = len(self.parser.get_method()) + len(self.url) + len("  HTTP/1.1\r\n")
            return first + sum(len(name) + len(value) + len(": \r\n") for name, value in self.headers) + len("\r\n")

        def _refuse_head(self) -> None:
            if self._unanswered:  # an answer is owed that this would get in the way of
                self.transport.abort()
            else:
                self.send_400_response(f"the head of a request must have at most {_MAX_HEAD_BYTES} bytes")

        def _refuse(self) -> bool:
            """Answer a request by its head alone, where that is possible."""
            # Who is to be answered before, or to leave afterwards, or sends what is not read here, goes the usual way.
            if refusing is None or self._unanswered or is_leaving() or not self.parser.should_keep_alive():
                return False
            if self.flow.write_paused:  # nor who does not take his answers: nothing here would wait for him
                return False
            if self.parser.should_upgrade() or self.parser.get_http_version() != "1.1":
                return False
            answer = refusing.answer(self.parser.get_method(), self.url, self.headers)
            if answer is None:
                return False
            own = b"".join([b"%b: %b\r\n" % header for header in self.server_state.default_headers])
            self.transport.write(b"HTTP/1.1 503 Service Unavailable\r\n" + own + answer)
            self._is_refused = True
            return True

        def on_response_complete(self) -> None:
            cycle = self._unanswered.popleft()
            cycle.transport.flush()  # type: ignore[attr-defined]
            cycle.transport = self.transport  # else the two would hold each other, and the request with them
            super().on_response_complete()
            if self.pipeline:  # else every answer would make room for many more requests
                self.flow.pause_reading()

        def send_400_response(self, msg: str) -> None:
            if self.transport.is_closing():  # it has been said
                return
            if any(cycle.scope[PRESENCE].has_sent_all for cycle in self._unanswered):  # type: ignore[literal-required]
                self.transport.abort()  # who waits for that answer would take this for it
                return
            body = json.dumps({"error": {"code": "invalid_http", "message": msg, "detail": {}}}).encode()
            head = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n"
            self.transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            self.transport.linger()  # type: ignore[attr-defined]
            self._leave_unanswered()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._leaving = self.loop.call_later(body_seconds, self._leave)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._leaving is not None:
                self._leaving.cancel()

        def _leave(self) -> None:
            if self._leaving and stopped_seconds(self._leaving.when()):
                self._leaving = self.loop.call_later(body_seconds, self._leave)
            else:
                self.transport.abort()

        def timeout_keep_alive_handler(self) -> None:
            if self.timeout_keep_alive_task and stopped_seconds(self.timeout_keep_alive_task.when()):
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )
            else:
                # Not close: that would wait for the caller to take what he has not taken so far.
                self.transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            arriving.lift(self.transport)
            if self._leaving is not None:
                self._leaving.cancel()
            self._leave_unanswered()
            super().connection_lost(exc)

        def _leave_unanswered(self) -> None:
            for cycle in self._unanswered:  # uvicorn tells the last one only, and the others would write to nowhere
                cycle.disconnected = True
                cycle.transport = self.transport
                cycle.message_event.set()
                cycle.on_response = _nothing  # one that has not begun would hold the connection, which holds it
                cycle.scope[PRESENCE].leave()  # type: ignore[literal-required]
            self._unanswered.clear()
            self.pipeline.clear()

    return ImpatientProtocol


def _nothing() -> None:
    pass


class _OneWrite:
    """What an answer is written to: its head goes out with the beginning of its body.

    Uvicorn writes the two one after the other, and each write is a call of the system, and wakes the caller up.
    """

    def __init__(self, transport: asyncio.Transport, cycle: RequestResponseCycle) -> None:
        self._transport = transport
        self._cycle = cycle
        self._head: bytes | None = None
        self._is_head_written = False

    def write(self, data: bytes) -> None:
        if self._is_head_written or not self._cycle.response_started:  # `100 Continue` comes before
            self._transport.write(data)
        elif self._head is None:
            self._head = data
        else:
            self._is_head_written = True
            self._transport.write(self._head + data)

    def flush(self) -> None:
        """Write a head that no body has followed."""
        if self._head is not None and not self._is_head_written:
            self.write(b"")

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()
