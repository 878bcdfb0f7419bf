"""Puts inputs of different requests together: queues, and runners that take a batch when they are free.

How many may wait is decided before they come here (`admission.py`).
"""

import asyncio
import contextlib
import contextvars
import heapq
import itertools
import logging
import math
import time
from collections import deque
from collections.abc import Sequence

from model.errors import LabelsetError
from model.preprocess import InputError, Item
from model.session import Sparsity
from service.asked import Asked, Question, Row
from service.catalogue import ServedModel
from service.errors import NotReady
from service.metrics import Metrics
from service.record import current_request_id
from service.session_link import SessionProcessDied
from service.settings import BatchLimits

logger = logging.getLogger("labelset.service")

# How often it is looked at, at the end, whether anybody still waits for what is computed.
_LOOK_SECONDS = 0.1
# A run of few inputs takes longer for each of them. While others are at work anyway, a runner takes no fewer, unless no
# more come for a moment.
_FEW = 4
_MOMENT_SECONDS = 0.001
# A text of a rare length that was left out of so many batches goes before those that were not.
_PASSED_OVER_ENOUGH = 2
_FAILED = "the service failed to answer; its log says why"

# A token of English text is about as long.
_CHARS_OF_A_TOKEN = 4


class Batcher:
    """Queues of inputs, one a model, and runners that answer them in batches: as many as may be computed at once.

    A runner that is free takes its share of what waits, so that a batch is as large as the load makes it; nothing waits
    for company where no runner is at work. Which model is next is decided by which input has waited longest. It belongs
    to the event loop: a runner is a place for a task that waits for the session process.
    """

    def __init__(self, limits: BatchLimits, runners: int, metrics: Metrics) -> None:
        self._limits = limits
        self._metrics = metrics
        self._queues: dict[ServedModel, deque[Row]] = {}
        # A picture that many ask for at once, or a request that is sent again because it was slow.
        self._under_way: dict[Question, Row] = {}
        self._forgetting: asyncio.Handle | None = None
        self._orders = itertools.count()
        self._closed = False
        self._runners = runners
        self._at_work: dict[asyncio.Task[None], list[Row]] = {}
        self._trying_again = asyncio.Lock()
        self._moment: asyncio.TimerHandle | None = None

    def ask(self, model: ServedModel, inputs: Sequence[tuple[Item, Sparsity]]) -> Asked:
        """Have inputs answered, in whatever batches they end up; one that fails fails alone.

        An input is computed once for all who ask it before it has its answer.

        Raises:
            NotReady: the batcher is closed.
        """
        if self._closed:
            raise NotReady("the service is shutting down")
        now = time.perf_counter()
        asked = Asked(now, self._forget_soon)
        for item, sparsity in inputs:
            asked.add(self._row(Question(model, item, sparsity), now))
        self._begin()
        return asked

    def _row(self, question: Question, now: float) -> Row:
        """The input that is under way already where somebody else has asked the same, else one more that waits."""
        row = self._under_way.get(question)
        if row is None or not row.is_open:
            model = question.model
            row = Row(question, next(self._orders), _length(model, question.item), now, current_request_id())
            self._under_way[question] = row
            self._queues.setdefault(model, deque()).append(row)
        return row

    @property
    def waiting(self) -> int:
        """Inputs that no runner has taken yet."""
        return sum(map(len, list(self._queues.values())))

    async def close(self) -> None:
        """Take nothing more, and answer what somebody waits for."""
        self._closed = True
        while self._at_work:
            for task, batch in self._at_work.items():
                if not any(row.is_open for row in batch):
                    task.cancel()
            await asyncio.wait(self._at_work, timeout=_LOOK_SECONDS)

    def _begin(self, is_late: bool = False) -> None:
        """Let the runners that are free take what waits; `is_late`: even where it is little."""
        while len(self._at_work) < self._runners and (taken := self._take(is_late=is_late)):
            # In a context of its own: a batch is of many requests, and at work on none.
            context = contextvars.Context()
            task = asyncio.create_task(self._run(taken), context=context)
            self._at_work[task] = taken[1]
            task.add_done_callback(self._end, context=context)

    def _end(self, task: "asyncio.Task[None]") -> None:
        batch = self._at_work.pop(task)
        if not task.cancelled() and (error := task.exception()):
            logger.error("a runner failed", exc_info=error)
        for row in batch:  # nobody waits on for a runner that is gone
            row.tell(LabelsetError(_FAILED), time.perf_counter())
        self._forget(batch)
        self._begin()

    def _take(
        self, own: "asyncio.Task[None] | None" = None, is_late: bool = False
    ) -> tuple[ServedModel, list[Row]] | None:
        """The next batch of a runner; None where nothing waits, or so little that more is waited for.

        Args:
            own: Task of the runner, where it has one already.
            is_late: Whether little is enough.
        """
        self._forget_the_departed()
        if not self._queues:
            return None
        others = sum(len(batch) for task, batch in self._at_work.items() if task is not own)
        if self.waiting < min(others, _FEW) and not is_late:
            if not self._moment:
                self._moment = asyncio.get_running_loop().call_later(_MOMENT_SECONDS, self._end_moment)
            return None
        if self._moment:
            self._moment.cancel()
            self._moment = None
        model = min(self._queues, key=lambda model: self._queues[model][0].order)
        queue = self._queues[model]
        # Its share, not all of it: what one runner takes, the others cannot help with.
        share = max(math.ceil(len(queue) / self._runners), _FEW if others else 0)
        batch = _choose(queue, min(share, self._limits.rows), self._limits.tokens, by_length=model.kind == "text")
        chosen = {row.order for row in batch}
        self._queues[model] = left = deque(row for row in queue if row.order not in chosen)
        for row in left:
            row.passed_over += 1
        now = time.perf_counter()
        for row in batch:
            row.taken = now
        return model, batch

    def _end_moment(self) -> None:
        self._moment = None
        self._begin(is_late=True)

    async def _run(self, taken: tuple[ServedModel, list[Row]] | None) -> None:
        """A runner: answers a batch, and what waits then."""
        task = asyncio.current_task()
        assert task
        while taken:
            model, self._at_work[task] = taken
            await self._answer(model, self._at_work[task])
            self._forget(self._at_work[task])
            # On its way before those who have just been told are heard: until then the session process would idle.
            taken = self._take(task)

    async def _answer(self, model: ServedModel, rows: Sequence[Row], is_alone: bool = False) -> None:
        """Compute one batch and tell whoever waits for it; `is_alone`: nobody else tries again at the same time."""
        error = await self._attempt(model, rows)
        if error is None:
            return
        has_died = isinstance(error, SessionProcessDied)
        # Killed from outside, most likely, or by what another batch did to it. One at a time, so that what kills it
        # again does not do so to others that get their second chance.
        async with self._trying_again if has_died and not is_alone else contextlib.nullcontext():
            if has_died:
                error = await self._attempt(model, rows)
            if error and len(rows) == 1:
                _give_up(model, rows[0], error)
            elif error:  # one of them may be to blame: the others must not suffer for it
                for row in rows:
                    await self._answer(model, [row], is_alone or has_died)

    async def _attempt(self, model: ServedModel, rows: Sequence[Row]) -> Exception | None:
        """Compute those for which somebody still waits, and tell him; gives the error where that failed."""
        present = [row for row in rows if row.is_open]
        if not present:
            return None
        started = time.perf_counter()
        try:
            questions = [row.question for row in present]
            inferred = await model.infer(
                [question.item for question in questions], [question.sparsity for question in questions]
            )
            # Not where they are told: a session that answers too few is one that failed, and nobody may wait on.
            answers = list(zip(present, inferred.outcomes, strict=True))
        except Exception as error:
            return error
        ended = time.perf_counter()
        self._put_back(model, [row for row, outcome in answers if outcome is None])
        answered = [(row, outcome) for row, outcome in answers if outcome is not None]
        computed = sum(not isinstance(outcome, InputError) for _, outcome in answered)
        if computed:
            fill = computed / self._limits.rows
            self._metrics.observe_batch(model, computed, fill, ended - started - inferred.decode_seconds)
        for row, outcome in answered:
            row.decoded = started + inferred.decode_seconds
            row.tell(outcome, ended)
        return None

    def _put_back(self, model: ServedModel, rows: Sequence[Row]) -> None:
        """Let those wait on, in the order in which all came, of which a runner had no time to do anything."""
        if rows:
            task = asyncio.current_task()
            assert task
            self._at_work[task] = [row for row in self._at_work[task] if row not in rows]
            # Not simply in front: a text that came earlier may have been left out of the batch for its length.
            self._queues[model] = deque(sorted([*rows, *self._queues.get(model, ())], key=lambda row: row.order))

    def _forget_soon(self) -> None:
        """Callers have left; those who leave at the same time are looked for together."""
        if not self._forgetting:
            self._forgetting = asyncio.get_running_loop().call_soon(self._forget_the_departed)

    def _forget_the_departed(self) -> None:
        """Drop the inputs whose callers have left, so that they take no place in a batch and no memory."""
        self._forgetting = None
        departed = [row for queue in self._queues.values() for row in queue if not row.askers]
        if departed:
            self._queues = {model: deque(row for row in queue if row.askers) for model, queue in self._queues.items()}
            self._forget(departed)
        self._queues = {model: queue for model, queue in self._queues.items() if queue}

    def _forget(self, rows: Sequence[Row]) -> None:
        """From now on who asks the same has it computed anew."""
        for row in rows:
            if self._under_way.get(row.question) is row:
                del self._under_way[row.question]


def _choose(queue: Sequence[Row], row_limit: int, token_limit: int, by_length: bool) -> list[Row]:
    """The row that has waited longest, and as many others as fit: of texts those of the most similar length.

    Those that were passed over a few times come first.
    """
    if not by_length:
        return list(itertools.islice(queue, row_limit))
    oldest = queue[0]
    batch, longest = [oldest], oldest.length
    others = itertools.islice(queue, 1, None)
    for row in heapq.nsmallest(row_limit - 1, others, key=lambda row: _preference(row, oldest)):
        padded = max(longest, row.length) * (len(batch) + 1)
        if padded > token_limit:
            continue
        batch.append(row)
        longest = max(longest, row.length)
    return batch


def _preference(row: Row, oldest: Row) -> tuple[bool, int]:
    """What a text is to be taken by together with another one; the smallest comes first."""
    return row.passed_over < _PASSED_OVER_ENOUGH, abs(row.length - oldest.length)


def _length(model: ServedModel, item: Item) -> int:
    """About how many tokens a text has; a picture or a recording is as long as any other."""
    preprocessing = model.manifest.preprocessing
    if isinstance(item, bytes) or preprocessing.kind not in ("text", "words"):
        return 0
    chars = len(item) if isinstance(item, str) else sum(map(len, item))
    return min(chars // _CHARS_OF_A_TOKEN, preprocessing.max_length)


def _give_up(model: ServedModel, row: Row, error: Exception) -> None:
    own_id = {"request_id": row.request_id}
    logger.error("%s/%s failed to answer", model.name, model.version, extra=own_id, exc_info=error)
    row.tell(LabelsetError(_FAILED), time.perf_counter())
