"""The log: lines for people or JSON for programs, each with the id of its request, none with anything of its inputs."""

import json
import logging
from datetime import UTC, datetime
from typing import Any, Literal

from service.record import RequestRecord, current_request_id

LogFormat = Literal["text", "json"]

access = logging.getLogger("labelset.access")


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
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps({name: value for name, value in line.items() if value is not None})


def _request_id(record: logging.LogRecord) -> str | None:
    """That of the request at hand; of a runner, who serves many at once, the one that the line is about."""
    return getattr(record, "request_id", None) or current_request_id()


def write_access_line(record: RequestRecord) -> None:
    """One line for a request that has ended."""
    if not access.isEnabledFor(logging.INFO):
        return
    duration_ms = round(record.whole.seconds * 1000, 2)
    model = f"{record.model.name}/{record.model.version}" if record.model else None
    facts = {
        "method": record.method,
        "path": record.path,
        "status": record.status,
        "duration_ms": duration_ms,
        "model": model,
        "key": record.key,
        "code": record.error_code,
    }
    message = f"{record.method} {record.path} {record.status} {duration_ms} ms"
    by = f"by {record.key}" if record.key else None
    access.info("%s", " ".join(filter(None, (message, model, by, record.error_code))), extra={"facts": facts})
