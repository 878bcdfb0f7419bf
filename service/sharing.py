"""Work that is under way already is not begun again: whoever wants the same waits for the same."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Hashable, Mapping
from typing import Any, Generic, TypeVar

from service.record import Stage, current_record

T = TypeVar("T")


class _Work(Generic[T]):
    """Work under way, how many wait for it, and its stages as far as they are written down."""

    def __init__(self, task: "asyncio.Task[T]") -> None:
        self.task = task
        self.waiting = 0
        # The work is done in the name of who has begun it, and goes on to write there when he has left.
        self.stages: Mapping[str, Stage] = current_record().stages


class Sharing(Generic[T]):
    """Callers of one event loop who wait for the same at the same time have it computed once."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, _Work[T]] = {}

    async def get(self, key: Hashable, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What `begin` gives, or what somebody who has begun the same before is about to get.

        A caller who is cancelled leaves the others alone; when the last one has left, the work is cancelled. The record
        of each tells the stages of the work from when he came.

        Args:
            key: Equal for the same work.
            begin: Called where nothing of that key is under way. What it raises is raised for all who wait.
        """
        work = self._under_way.get(key)
        if work is None:
            work = self._under_way[key] = _Work(asyncio.create_task(begin()))
        work.waiting += 1
        came = time.perf_counter()
        try:
            return await asyncio.shield(work.task)
        finally:
            work.waiting -= 1
            _tell_stages(work.stages, came)
            if not work.waiting:  # it is done, or nobody wants it any more
                del self._under_way[key]
                work.task.cancel()


def _tell_stages(stages: Mapping[str, Stage], came: float) -> None:
    """Write in the record of the request at hand which stages of the work it has waited for."""
    own = current_record().stages
    if own is not stages:
        own.update(
            {name: Stage(max(stage.start, came), stage.end) for name, stage in stages.items() if stage.end > came}
        )
