"""What waits in the batcher: inputs, and whoever waits for what becomes of them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from model.preprocess import InputError, Item
from model.session import Sparsity
from service.record import Stage, current_record, current_request_id
from service.session_calls import Outcome


@dataclass(eq=False, slots=True)
class Row:
    """An input in a queue, and what has become of it."""

    item: Item
    sparsity: Sparsity
    order: int
    asked: "Asked"
    # Of a text about its tokens: how many there are is known when it is computed, and looked at then.
    length: int
    queued: float
    taken: float = 0.0
    # How often a batch was taken while it waited, and not it.
    passed_over: int = 0
    decoded: float = 0.0
    answered: float = 0.0
    outcome: Outcome | None = None

    @property
    def is_open(self) -> bool:
        """Whether it has no answer, and somebody waits for one."""
        return self.outcome is None and self.asked.is_wanted

    def tell(self, outcome: Outcome, now: float) -> None:
        """Give the answer to whoever waits for it."""
        if self.outcome is None:
            self.answered = now
            self.outcome = outcome
            self.asked.tell()


class Asked:
    """Inputs of a request, or of several that ask the same, on their way to their answers."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        # A batch is of many requests, and at work on none.
        self.request_id = current_request_id()
        self.is_wanted = True
        self._open = 0
        self._waiting: list[asyncio.Future[None]] = []

    def begin(self, rows: list[Row]) -> None:
        """These are the inputs."""
        self.rows, self._open = rows, len(rows)

    async def outcomes(self, came: float = 0.0) -> list[Outcome]:
        """What becomes of each input. Where all who wait here are cancelled, it is not computed any more.

        Args:
            came: When who waits here did so, by `time.perf_counter`, if another had asked the same before: the record
                of his request tells the stages since then.
        """
        rows = self.rows
        if self._open:
            # Everybody has a future to himself: one that is waited for by who is cancelled is so too.
            answered = asyncio.get_running_loop().create_future()
            self._waiting.append(answered)
            try:
                await answered
            finally:
                self._waiting.remove(answered)
                if not self._waiting:
                    self.is_wanted = False
                    self.rows = []  # else they and this would hold each other, and the inputs with them
        _record_stages(rows, came)
        return [row.outcome for row in rows if row.outcome is not None]

    def tell(self) -> None:
        """One more input has its answer."""
        self._open -= 1
        if not self._open:
            for answered in self._waiting:
                if not answered.done():  # its caller may have left in this moment
                    answered.set_result(None)


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
    if came:
        stages = {name: Stage(max(start, came), end) for name, (start, end) in stages.items() if end > came}
    current_record().stages.update(stages)
