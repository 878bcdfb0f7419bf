"""How an error leaves the service: for each exception an answer, in one shape.

The shape is `{"error": {"code", "message", "detail"}}`, for our own errors, for the framework's and for the unexpected;
under `/v2` it is the Open Inference Protocol's, `{"error": message}`.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from model.errors import LabelsetError
from service.errors import (
    STATUS,
    BodiesFull,
    BodyTooLarge,
    BodyTooSlow,
    ImageUnread,
    QueueFull,
    RateLimited,
    RecordingUnread,
    Unauthorized,
    error_body,
    invalid_request,
)
from service.record import current_record


def _answer(request: Request, error: LabelsetError, headers: Mapping[str, str] | None = None) -> Response:
    return _told(request, error_body(error), STATUS[error.code], headers)


def _told(request: Request, body: dict[str, Any], status: int, headers: Mapping[str, str] | None) -> Response:
    current_record().error_code = body["code"]
    content = to_json({"error": shaped(request.scope["path"], body)})
    return Response(content, status, headers, "application/json")


def shaped(path: str, body: dict[str, Any]) -> dict[str, Any] | str:
    """What stands under `error` in the answer to a request for a path."""
    return body["message"] if path == "/v2" or path.startswith("/v2/") else body


_HEADERS: Mapping[type[LabelsetError], Mapping[str, str]] = {
    # Nobody reads the rest of a body that was cut off, so the connection cannot carry another request.
    BodyTooLarge: {"Connection": "close"},
    BodyTooSlow: {"Connection": "close"},
    ImageUnread: {"Connection": "close"},
    RecordingUnread: {"Connection": "close"},
    BodiesFull: {"Connection": "close", "Retry-After": str(BodiesFull.seconds_to_wait)},
    QueueFull: {"Retry-After": str(QueueFull.seconds_to_wait)},
    Unauthorized: {"WWW-Authenticate": "Bearer"},
}


async def _answer_labelset_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, LabelsetError)
    if error.code not in STATUS:
        raise error
    headers = _HEADERS.get(type(error))
    if isinstance(error, RateLimited):
        headers = {"Retry-After": str(error.detail["retry_after_seconds"])}
    return _answer(request, error, headers)


async def _answer_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _answer(request, invalid_request(error.errors()))


_HTTP_CODES = {
    404: ("not_found", "there is nothing at this path; /docs lists what there is"),
    405: ("method_not_allowed", "this path does not take this method; /docs lists what it takes"),
}


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, message = _HTTP_CODES.get(error.status_code, ("invalid_request", str(error.detail)))
    return _told(request, {"code": code, "message": message, "detail": {}}, error.status_code, error.headers)


async def _answer_nobody(request: Request, error: Exception) -> Response:
    current_record().error_code = "caller_left"
    return Response(status_code=400)


async def _answer_unexpected(request: Request, error: Exception) -> Response:
    # The server closes the connection after an exception: a caller must know, or he sends his next request on it.
    # This answer goes past the middleware that gives every other one its headers.
    headers = {"Connection": "close", **current_record().headers()}
    return _answer(request, LabelsetError("the service failed to answer; its log says why"), headers)


# The answers are coroutines: others are run in a thread, for which a server that must stop does not wait.
_ANSWERS: Mapping[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    LabelsetError: _answer_labelset_error,
    RequestValidationError: _answer_validation_error,
    HTTPException: _answer_http_exception,
    ClientDisconnect: _answer_nobody,
}


def add_error_handlers(app: FastAPI) -> None:
    """Let every error of `app` leave in the one shape."""
    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, answer)
    # Starlette raises it again once this has answered, so the server logs the trace.
    app.add_exception_handler(Exception, _answer_unexpected)


async def answer_to(request: Request, error: Exception) -> Response:
    """The answer to an error; one that nobody foresaw is raised again."""
    for kind in type(error).__mro__:
        if kind in _ANSWERS:
            return await _ANSWERS[kind](request, error)
    raise error
