"""Puts inputs of different requests together: queues, and runners that take a batch when they are free.

How many may wait is decided before they come here (`admission.py`).
"""

import asyncio
import contextlib
import heapq
import itertools
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from model.errors import LabelsetError
from model.predictor import LabelSets
from model.session import Sparsity
from service.catalogue import ServedModel
from service.errors import NotReady
from service.metrics import Metrics
from service.record import Stage, current_record, current_request_id
from service.session_link import SessionProcessDied
from service.settings import BatchLimits

logger = logging.getLogger("labelset.service")

Outcome = LabelSets | LabelsetError
Array = npt.NDArray[Any]


@dataclass(eq=False)
class _Row:
    """An input in a queue, and the future of its answer."""

    array: Array
    sparsity: Sparsity
    order: int
    answer: "asyncio.Future[Outcome]"
    # Of a text its tokens; a picture or a recording is as long as any other.
    length: int = field(init=False)
    # A runner serves many requests at once, and is at work on none.
    request_id: str | None = field(default_factory=current_request_id)
    queued: float = field(default_factory=time.perf_counter)
    taken: float = 0.0
    answered: float = 0.0

    def __post_init__(self) -> None:
        self.length = len(self.array)


class Batcher:
    """Queues of inputs, one a model, and threads that answer them in batches.

    There is no timer: a runner that is free takes its share of what waits, so that a batch is as large as the load
    makes it. Which model is next is decided by which input has waited longest.
    """

    def __init__(self, limits: BatchLimits, runners: int, metrics: Metrics) -> None:
        self._limits = limits
        self._metrics = metrics
        self._queues: dict[ServedModel, deque[_Row]] = {}
        self._orders = itertools.count()
        self._closed = False
        self._trying_again = threading.RLock()
        self._changed = threading.Condition()
        self._runners = [
            threading.Thread(target=self._run, name=f"runner-{number}", daemon=True) for number in range(runners)
        ]
        for runner in self._runners:
            runner.start()

    async def infer(self, model: ServedModel, inputs: Sequence[tuple[Array, Sparsity]]) -> list[Outcome]:
        """Answer preprocessed inputs, in whatever batches they end up; one that fails fails alone.

        Where the caller is cancelled, his inputs are not computed any more.

        Raises:
            NotReady: the batcher is closed.
        """
        loop = asyncio.get_running_loop()
        rows = [_Row(array, sparsity, next(self._orders), loop.create_future()) for array, sparsity in inputs]
        with self._changed:
            if self._closed:
                raise NotReady("the service is shutting down")
            self._queues.setdefault(model, deque()).extend(rows)
            self._changed.notify(len(rows))
        outcomes = await asyncio.gather(*(row.answer for row in rows))
        _record_stages(rows)
        return outcomes

    @property
    def waiting(self) -> int:
        """Inputs that no runner has taken yet."""
        return sum(map(len, list(self._queues.values())))

    def close(self) -> None:
        """Answer what waits, then let the runners go."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for runner in self._runners:
            runner.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (taken := self._take()):
                    if self._closed:
                        return
                    self._changed.wait()
            model, batch = taken
            self._metrics.observe_batch(model, len(batch), len(batch) / self._limits.rows)
            self._answer(model, batch)
            del taken, model, batch  # while a runner waits it must not keep a model alive

    def _take(self) -> tuple[ServedModel, list[_Row]] | None:
        """The next batch; None where nothing waits."""
        self._forget_the_departed()
        if not self._queues:
            return None
        model = min(self._queues, key=lambda model: self._queues[model][0].order)
        queue = self._queues[model]
        # Its share, not all of it: what one runner takes, the others cannot help with.
        share = math.ceil(len(queue) / len(self._runners))
        batch = _choose(queue, min(share, self._limits.rows), self._limits.tokens, by_length=model.kind == "text")
        chosen = {row.order for row in batch}
        self._queues[model] = deque(row for row in queue if row.order not in chosen)
        now = time.perf_counter()
        for row in batch:
            row.taken = now
        return model, batch

    def _answer(self, model: ServedModel, rows: Sequence[_Row], is_second_time: bool = False) -> None:
        """Compute one batch and tell whoever waits for it."""
        answered: list[tuple[_Row, Outcome]]
        started = time.perf_counter()
        try:
            outcomes = model.predictor.infer([row.array for row in rows], [row.sparsity for row in rows])
            # Not where they are told: a session that answers too few is one that failed, and nobody may wait on.
            answered = list(zip(rows, outcomes, strict=True))
        except Exception as error:
            if isinstance(error, SessionProcessDied) and not is_second_time:
                # Killed from outside, most likely, or by what another batch did to it. One at a time, so that what
                # kills it again does not do so to others that get their second chance.
                with self._trying_again:
                    self._answer_again(model, [rows], is_second_time=True)
                return
            if len(rows) > 1:  # one of them may be to blame: the others must not suffer for it
                self._answer_again(model, [[row] for row in rows])
                return
            own_id = {"request_id": rows[0].request_id}
            logger.exception("%s/%s failed to answer", model.name, model.version, extra=own_id)
            answered = [(rows[0], LabelsetError("the service failed to answer; its log says why"))]
        else:
            self._metrics.observe_answered_batch(model, len(rows), time.perf_counter() - started)
        now = time.perf_counter()
        for row in rows:
            row.answered = now
        with contextlib.suppress(RuntimeError):  # the loop is closed, and whoever waited there is gone
            rows[0].answer.get_loop().call_soon_threadsafe(_settle, answered)

    def _answer_again(
        self, model: ServedModel, batches: Sequence[Sequence[_Row]], is_second_time: bool = False
    ) -> None:
        """Compute batches once more, for those who still wait."""
        for batch in batches:
            if present := [row for row in batch if not row.answer.cancelled()]:
                self._answer(model, present, is_second_time)

    def _forget_the_departed(self) -> None:
        """Drop the inputs whose callers have left, so that they take no place in a batch."""
        present = {
            model: deque(row for row in queue if not row.answer.cancelled()) for model, queue in self._queues.items()
        }
        self._queues = {model: queue for model, queue in present.items() if queue}


def _choose(queue: Sequence[_Row], row_limit: int, token_limit: int, by_length: bool) -> list[_Row]:
    """The row that has waited longest, and as many others as fit: of texts those of the most similar length."""
    if not by_length:
        return list(itertools.islice(queue, row_limit))
    oldest = queue[0]
    batch, longest = [oldest], oldest.length
    others = itertools.islice(queue, 1, None)
    for row in heapq.nsmallest(row_limit - 1, others, key=lambda row: abs(row.length - oldest.length)):
        padded = max(longest, row.length) * (len(batch) + 1)
        if padded > token_limit:
            break
        batch.append(row)
        longest = max(longest, row.length)
    return batch


def _settle(answered: Sequence[tuple[_Row, Outcome]]) -> None:
    for row, outcome in answered:
        if not row.answer.done():  # its caller may have left meanwhile
            row.answer.set_result(outcome)


def _record_stages(rows: Sequence[_Row]) -> None:
    """Tell the request at hand how its input that was answered last has spent its time here."""
    if rows:
        last = max(rows, key=lambda row: row.answered)
        current_record().stages.update(queue=Stage(last.queued, last.taken), infer=Stage(last.taken, last.answered))
