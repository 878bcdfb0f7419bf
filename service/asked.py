"""What waits in the batcher: inputs, and whoever waits for what becomes of them."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from model.preprocess import InputError, Item
from model.session import Sparsity
from service.catalogue import ServedModel
from service.record import Stage, current_record
from service.session_calls import Outcome


class Question:
    """What a model is asked: equal to another of the same content, which is looked at only where the ends agree."""

    __slots__ = ("_hash", "item", "model", "sparsity")

    def __init__(self, model: ServedModel, item: Item, sparsity: Sparsity) -> None:
        self.model, self.item, self.sparsity = model, item, sparsity
        self._hash = hash((model, sparsity, len(item), item[-256:]))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Question)
            and self.model is other.model
            and self.sparsity == other.sparsity
            and self.item == other.item
        )


@dataclass(eq=False, slots=True)
class Row:
    """An input in a queue, and what has become of it."""

    question: Question
    order: int
    # Of a text about its tokens: how many there are is known when it is computed, and looked at then.
    length: int
    queued: float
    # Of who asked first: a batch is of many requests, and at work on none.
    request_id: str | None
    # Who waits for it; one who asks the same twice does so twice.
    askers: list["Asked"] = field(default_factory=list)
    taken: float = 0.0
    # How often a batch was taken while it waited, and not it.
    passed_over: int = 0
    decoded: float = 0.0
    answered: float = 0.0
    outcome: Outcome | None = None

    @property
    def is_open(self) -> bool:
        """Whether it has no answer, and somebody waits for one."""
        return self.outcome is None and bool(self.askers)

    def tell(self, outcome: Outcome, now: float) -> None:
        """Give the answer to whoever waits for it."""
        if self.outcome is None:
            self.answered = now
            self.outcome = outcome
            for asker in self.askers:
                asker.tell()


class Asked:
    """Inputs of a request on their way to their answers. Some of them others may have asked before."""

    def __init__(self, came: float, left: Callable[[], None]) -> None:
        """Begin without any.

        Args:
            came: When the request came here, by `time.perf_counter`.
            left: Called where it is given up.
        """
        self._rows: list[Row] = []
        self._came = came
        self._left = left
        self._open = 0
        self._answered: asyncio.Future[None] | None = None

    def add(self, row: Row) -> None:
        """Wait for one more, which has no answer yet."""
        self._rows.append(row)
        self._open += 1
        row.askers.append(self)

    async def outcomes(self) -> list[Outcome]:
        """What becomes of each input; to be called at once, and once.

        Where it is cancelled, what nobody else waits for is not computed any more. The record of the request at hand
        tells the stages since it came.
        """
        rows = self._rows
        try:
            if self._open:
                self._answered = asyncio.get_running_loop().create_future()
                await self._answered
        finally:
            for row in rows:
                row.askers.remove(self)  # else they and this would hold each other, and the inputs with them
            if self._open:
                self._left()
        _record_stages(rows, self._came)
        return [row.outcome for row in rows if row.outcome is not None]

    def tell(self) -> None:
        """One more input has its answer."""
        self._open -= 1
        if not self._open and self._answered and not self._answered.done():  # its caller may have left in this moment
            self._answered.set_result(None)


def _record_stages(rows: Sequence[Row], came: float) -> None:
    """Tell the request at hand how its input that was answered last has spent its time here, since it came."""
    if not rows:
        return
    # An input of which no array could be made has not been computed.
    last = max(rows, key=lambda row: (row.answered, not isinstance(row.outcome, InputError))) if rows[1:] else rows[0]
    decoded = max(last.taken, last.decoded)
    stages = {"queue": Stage(last.queued, last.taken), "decode": Stage(last.taken, decoded)}
    if not isinstance(last.outcome, InputError):
        stages["infer"] = Stage(decoded, last.answered)
    if came > last.queued:
        stages = {name: Stage(max(start, came), end) for name, (start, end) in stages.items() if end > came}
    current_record().stages.update(stages)
