"""Middleware around all others: a request gets a record and an id, its answer headers; observers see how it ended."""

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.record import RequestRecord, take_in_hand

Observer = Callable[[RequestRecord], None]

# Anything else could break a line of the log or a header.
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_TRACE_CONTEXT = ("traceparent", "tracestate")
_READ = {name.encode(): name for name in ("x-request-id", *_TRACE_CONTEXT)}
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_MAX_PATH_CHARS = 200
# What `quote` leaves as it is.
_PLAIN_PATH = re.compile(r"[\w./~-]*", re.ASCII)


class Telemetry:
    """Keeps a record of each request, and shows it to the observers at its end."""

    def __init__(self, app: ASGIApp, observers: Sequence[Observer]) -> None:
        self._app = app
        self._observers = observers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request; its answer gets the headers of the record."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = new_record(scope["method"], scope["path"], read_headers(scope["headers"]))
        # Never reset: the server runs each request in a task of its own, and logs in it after this has returned.
        take_in_hand(record)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                own = [(name.encode(), value.encode()) for name, value in record.headers().items()]
                message = {**message, "headers": [*message.get("headers", ()), *own]}
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            # The answer to what nobody foresaw is given further out, in `service/error_answers.py`.
            record.error_code = "internal_error"
            raise
        finally:
            record.route = getattr(scope.get("route"), "path", record.route)
            close_record(record, self._observers)


def read_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Of the headers of a request those that are for its record."""
    return {_READ[name]: value.decode("latin-1") for name, value in headers if name in _READ}


def new_record(method: str, path: str, headers: Mapping[str, str]) -> RequestRecord:
    """The record of a request that begins; `headers` may hold its id and the trace that it is part of."""
    given_id = headers.get("x-request-id", "")
    record = RequestRecord(
        # A method may be any word: those that are not known are one, so that nobody can make a metric of each.
        method=method if method in _METHODS else "other",
        # Quoted again: a line of the log must not be broken by a path with a line break in it.
        path=(path if _PLAIN_PATH.fullmatch(path) else quote(path))[:_MAX_PATH_CHARS],
        trace_context={name: headers[name] for name in _TRACE_CONTEXT if name in headers},
    )
    if _REQUEST_ID.fullmatch(given_id):
        record.request_id = given_id
    return record


def close_record(record: RequestRecord, observers: Sequence[Observer]) -> None:
    """Show the record of a request that has ended to the observers."""
    record.ended = time.perf_counter()
    for observe in observers:
        observe(record)
    record.let_go()
