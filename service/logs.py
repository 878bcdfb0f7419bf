"""The log: lines for people or JSON for programs, each with the id of its request, none with anything of its inputs."""

import asyncio
import contextvars
import json
import logging
import time
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from service.errors import QueueFull
from service.record import RequestRecord, current_request_id

LogFormat = Literal["text", "json"]

access = logging.getLogger("labelset.access")

# Of the requests of one second that are refused because the queue is full.
_REFUSALS_TOLD_APART = 10
# The lines that follow a line so soon are written together: to write each apart is much of what a request costs.
_GATHERING_SECONDS = 0.1


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
        """The line, or those of several requests, without the trace that may follow it."""
        if requests := _requests(record):
            return "\n".join([f"{record.levelname}:     {request} [{request.request_id}]" for request in requests])
        request_id = _request_id(record)
        return super().formatMessage(record) + (f" [{request_id}]" if request_id else "")


class JsonFormatter(logging.Formatter):
    """One object a line: when, how grave, who says what of which request; `access` lines add what came of it."""

    def format(self, record: logging.LogRecord) -> str:
        """The object, or those of several requests; line breaks in a trace are escaped."""
        if requests := _requests(record):
            return "\n".join([_json_line(record, one.time, str(one), one.facts()) for one in requests])
        facts: dict[str, Any] = {"request_id": _request_id(record)}
        if (refusals := getattr(record, "refusals", None)) is not None:
            facts |= {"code": QueueFull.code, "refusals": refusals}
        if record.exc_info:
            facts["exception"] = self.formatException(record.exc_info)
        return _json_line(record, record.created, record.getMessage(), facts)


def _json_line(record: logging.LogRecord, when: float, message: str, facts: dict[str, Any]) -> str:
    line = {
        "time": datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname,
        "logger": record.name,
        "message": message,
        **facts,
    }
    return json.dumps({name: value for name, value in line.items() if value is not None})


def _request_id(record: logging.LogRecord) -> str | None:
    """That of the request that the line is about, or else of the one at hand."""
    return getattr(record, "request_id", None) or current_request_id()


class _Request(NamedTuple):
    """What a line says of a request that has ended."""

    time: float
    request_id: str
    method: str
    path: str
    status: int
    duration_ms: float
    model: str | None
    key: str | None
    code: str | None

    def __str__(self) -> str:
        model = f" {self.model}" if self.model else ""
        by = f" by {self.key}" if self.key else ""
        code = f" {self.code}" if self.code else ""
        return f"{self.method} {self.path} {self.status} {self.duration_ms} ms{model}{by}{code}"

    def facts(self) -> dict[str, Any]:
        """Each thing by its name."""
        facts = self._asdict()
        del facts["time"]
        return facts


class _Requests(list[_Request]):
    """Those of one entry of the log, which is a line for each."""

    def __str__(self) -> str:
        return "\n".join(map(str, self))


def _requests(record: logging.LogRecord) -> _Requests | None:
    return record.msg if isinstance(record.msg, _Requests) else None


class AccessLog:
    """One line for each request that has ended; where a great many are refused, one line a second for most of them.

    A line is written at once, those of the tenth of a second after it at the end of that, as one entry.
    """

    def __init__(self) -> None:
        self._refusals = 0
        self._gathered = _Requests()
        self._gathering: asyncio.TimerHandle | None = None

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
        self._gathered.append(
            _Request(
                time.time(),
                record.request_id,
                record.method,
                record.path,
                record.status,
                round((record.ended - record.started) * 1000, 2),
                f"{record.model.name}/{record.model.version}" if record.model else None,
                record.key,
                record.error_code,
            )
        )
        if not self._gathering:
            self._write_gathered()

    def sum_up(self) -> None:
        """Write the line of the refusals that have none."""
        more = self._refusals - _REFUSALS_TOLD_APART
        self._refusals = 0
        if more > 0:
            access.info("%d more refused with %s", more, QueueFull.code, extra={"refusals": more})

    def close(self) -> None:
        """Write what is to be written yet."""
        if self._gathering:
            self._gathering.cancel()
            self._gathering = None
        self.sum_up()
        if self._gathered:
            gathered, self._gathered = self._gathered, _Requests()
            access.info(gathered)

    def _write_gathered(self) -> None:
        self._gathering = None
        if self._gathered:
            self._gathering = asyncio.get_running_loop().call_later(
                _GATHERING_SECONDS, self._write_gathered, context=contextvars.Context()
            )
            # Emptied first: a handler that fails must not be given them again.
            gathered, self._gathered = self._gathered, _Requests()
            access.info(gathered)
