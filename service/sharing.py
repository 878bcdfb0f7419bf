"""Work that is under way already is not begun again: whoever wants the same waits for the same."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class _Work(Generic[T]):
    """Work under way, and how many wait for it."""

    def __init__(self, task: "asyncio.Task[T]") -> None:
        self.task = task
        self.waiting = 0


class Sharing(Generic[T]):
    """Callers of one event loop who wait for the same at the same time have it computed once."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, _Work[T]] = {}

    async def get(self, key: Hashable, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What `begin` gives, or what somebody who has begun the same before is about to get.

        A caller who is cancelled leaves the others alone; when the last one has left, the work is cancelled.

        Args:
            key: Equal for the same work.
            begin: Called where nothing of that key is under way. What it raises is raised for all who wait.
        """
        work = self._under_way.get(key)
        if work is None:
            work = self._under_way[key] = _Work(asyncio.create_task(begin()))
        work.waiting += 1
        try:
            return await asyncio.shield(work.task)
        finally:
            work.waiting -= 1
            if not work.waiting:  # it is done, or nobody wants it any more
                del self._under_way[key]
                work.task.cancel()
