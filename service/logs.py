"""The log: lines for people or JSON for programs, each with the id of its request, none with anything of its inputs."""

import asyncio
import contextvars
import json
import logging
from datetime import UTC, datetime
from typing import Any, Literal

from service.errors import QueueFull
from service.record import RequestRecord, current_request_id

LogFormat = Literal["text", "json"]

access = logging.getLogger("labelset.access")

# Of the requests of one second that are refused because the queue is full.
_REFUSALS_TOLD_APART = 10


def configure_logging(log_format: LogFormat) -> None:
    """Send every line of the process, those of the libraries too, to stderr in one format."""
    # No line tells where in the code it was written, or by which thread: finding that out takes as long as writing it.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


class TextFormatter(logging.Formatter):
    """`INFO:     POST /predict 200 6.1 ms text-demo/1 [id of the request]`."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s:     %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802, the name is the library's
        """The line, without the trace that may follow it."""
        request_id = _request_id(record)
        return super().formatMessage(record) + (f" [{request_id}]" if request_id else "")


class JsonFormatter(logging.Formatter):
    """One object a line: when, how grave, who says what of which request; `access` lines add what came of it."""

    def format(self, record: logging.LogRecord) -> str:
        """The object; line breaks in a trace are escaped."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": _request_id(record),
            **_facts(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps({name: value for name, value in line.items() if value is not None})


def _facts(line: logging.LogRecord) -> dict[str, Any]:
    """What a line of the access log says, each thing by its name."""
    if (refusals := getattr(line, "refusals", None)) is not None:
        return {"code": QueueFull.code, "refusals": refusals}
    record: RequestRecord | None = getattr(line, "of_request", None)
    if record is None:
        return {}
    return {
        "method": record.method,
        "path": record.path,
        "status": record.status,
        "duration_ms": _duration_ms(record),
        "model": f"{record.model.name}/{record.model.version}" if record.model else None,
        "key": record.key,
        "code": record.error_code,
    }


def _request_id(record: logging.LogRecord) -> str | None:
    """That of the request that the line is about, or else of the one at hand."""
    of_request: RequestRecord | None = getattr(record, "of_request", None)
    return of_request.request_id if of_request else getattr(record, "request_id", None) or current_request_id()


def _duration_ms(record: RequestRecord) -> float:
    return round((record.ended - record.started) * 1000, 2)


class AccessLog:
    """One line for each request that has ended; where a great many are refused, one line a second for most of them."""

    def __init__(self) -> None:
        self._refusals = 0

    def write(self, record: RequestRecord) -> None:
        """Write the line of a request, in the event loop."""
        if not access.isEnabledFor(logging.INFO):
            return
        if record.error_code == QueueFull.code:
            if not self._refusals:
                # In a context of its own: the line is about no request.
                asyncio.get_running_loop().call_later(1, self.sum_up, context=contextvars.Context())
            self._refusals += 1
            if self._refusals > _REFUSALS_TOLD_APART:
                return
        model = f" {record.model.name}/{record.model.version}" if record.model else ""
        by = f" by {record.key}" if record.key else ""
        code = f" {record.error_code}" if record.error_code else ""
        what = f"{record.method} {record.path} {record.status} {_duration_ms(record)} ms{model}{by}{code}"
        access.info("%s", what, extra={"of_request": record})

    def sum_up(self) -> None:
        """Write the line of the refusals that have none."""
        more = self._refusals - _REFUSALS_TOLD_APART
        self._refusals = 0
        if more > 0:
            access.info("%d more refused with %s", more, QueueFull.code, extra={"refusals": more})
