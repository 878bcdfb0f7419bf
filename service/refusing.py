"""What is refused at the door: while there is no place for another input, requests that bring some.

The application refuses them as well, but at several times the price: a task, a chain of middleware, a response. Where
ten times as many come as can be answered, that price is taken from those who are being answered.
"""

from collections.abc import Sequence

from pydantic_core import to_json

from service.access.gate import Gate
from service.admission import Admission
from service.error_answers import shaped
from service.errors import STATUS, QueueFull, error_body
from service.routes.direct import DirectRoutes
from service.telemetry import Observer, close_record, new_record, read_headers


class Refusing:
    """Answers requests by their heads alone where there is nothing else to say. It belongs to the event loop."""

    def __init__(self, routes: DirectRoutes, admission: Admission, gate: Gate, observers: Sequence[Observer]) -> None:
        """`routes` bring inputs; `observers` are shown the records of those who are refused, as of all others."""
        self._routes = routes
        self._admission = admission
        self._gate = gate
        self._observers = observers

    def answer(self, method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bytes | None:
        """The answer after its first line and the server's own headers; None where a request is to go its way.

        Where keys are in force the application asks for them first.

        Args:
            method: Of the request.
            target: Its path and query, as they were sent.
            headers: Their names in small letters.
        """
        if not self._admission.is_full or not self._gate.is_open:
            return None
        path = target.partition(b"?")[0].decode("latin-1")
        # What is quoted in a path is unquoted for the application, which finds its route then.
        route, _ = self._routes.find(method.decode("latin-1"), path)
        if route is None or "%" in path:
            return None
        error = self._admission.refusal()
        record = new_record(method.decode("latin-1"), path, read_headers(headers))
        record.route, record.status, record.error_code = route.path, STATUS[QueueFull.code], QueueFull.code
        body = to_json({"error": shaped(path, error_body(error))})
        lines = {
            "retry-after": QueueFull.seconds_to_wait,
            "content-length": len(body),
            "content-type": "application/json",
            **record.headers(),
        }
        close_record(record, self._observers)
        return "".join([f"{name}: {value}\r\n" for name, value in lines.items()]).encode() + b"\r\n" + body
