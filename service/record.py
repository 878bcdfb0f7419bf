"""What is known of the request at hand: its id, where its time went, what came of it.

Whoever works on a request writes down what he knows and does not care who reads it: the headers of the answer, and at
the end of the request the metrics, a line of the log and, where wanted, a trace (`service/telemetry.py`).
"""

import random
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NamedTuple

from model.errors import LabelsetError
from model.predictor import LabelSets
from service.catalogue import ServedModel


class Stage(NamedTuple):
    """A part of a request's time, by `time.perf_counter`."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


def _new_id() -> str:
    # It is no secret, and the system's own source of random bytes would be a call of the system for each request.
    return f"{random.getrandbits(128):032x}"


@dataclass(eq=False)
class RequestRecord:
    """One request, from its first line to the end of its answer.

    Attributes:
        request_id: The caller's own, or one made for it.
        method: `GET`, `POST` and so on.
        path: As the caller wrote it, without the query.
        route: The path with the names of its parameters, `/models/{name}`; `other` where nothing is served.
        key: Name of the API key that it came with, whether or not that was for this.
        trace_context: Headers of a trace that the request is part of (W3C).
        stages: `queue`, `decode` and `infer`, as far as it got, one after the other. Of several inputs they are those
            of the one answered last, so that they never sum to more than the whole. A request that has joined the
            computation of another (`service/sharing.py`) has the parts of its stages that it has waited for.
        model: The model that was chosen for it.
        outcomes: What became of each of its inputs.
        cache_hits: Inputs whose answers were kept from before.
        cache_misses: Inputs that were looked up in vain.
        status: That of the answer; 500 is what the server says where nothing else was said.
        error_code: Code of the error that it was answered with.
    """

    request_id: str = field(default_factory=_new_id)
    method: str = ""
    path: str = ""
    route: str = "other"
    key: str | None = None
    trace_context: Mapping[str, str] = field(default_factory=dict)
    stages: dict[str, Stage] = field(default_factory=dict)
    model: ServedModel | None = None
    outcomes: Sequence[LabelSets | LabelsetError] = ()
    cache_hits: int = 0
    cache_misses: int = 0
    status: int = 500
    error_code: str | None = None
    started: float = field(default_factory=time.perf_counter)
    ended: float = 0.0

    @property
    def whole(self) -> Stage:
        """The request from its start to its end, which has come."""
        return Stage(self.started, self.ended)

    def let_go(self) -> None:
        """Forget the model and its answers, once all is told: a connection that is kept open may keep this alive."""
        self.model, self.outcomes = None, ()

    def headers(self) -> dict[str, str]:
        """What every answer says: of its request, and that it is nothing else than its content type says."""
        stages = "".join(
            [f"{name};dur={(stage.end - stage.start) * 1000:.2f}, " for name, stage in self.stages.items()]
        )
        timing = f"{stages}total;dur={(time.perf_counter() - self.started) * 1000:.2f}"
        return {"X-Request-Id": self.request_id, "Server-Timing": timing, "X-Content-Type-Options": "nosniff"}


_at_hand: ContextVar[RequestRecord | None] = ContextVar("request_at_hand", default=None)


def take_in_hand(record: RequestRecord) -> None:
    """Make it the record of this task, and of the tasks and threads that it starts."""
    _at_hand.set(record)


def current_record() -> RequestRecord:
    """The record of the request at hand; one that nobody will read where there is none."""
    return _at_hand.get() or RequestRecord()


def current_request_id() -> str | None:
    """The id of the request at hand, where there is one."""
    record = _at_hand.get()
    return record.request_id if record else None
