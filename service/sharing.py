"""Work that is under way already is not begun again: whoever asks the same waits for the same."""

import time
from collections.abc import Callable, Hashable

from service.asked import Asked
from service.session_calls import Outcome


class Sharing:
    """Callers of one event loop who ask the same at the same time have it computed once."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, Asked] = {}

    async def get(self, key: Hashable, ask: Callable[[], Asked]) -> list[Outcome]:
        """What becomes of what `ask` asks, or of what somebody who has asked the same before waits for.

        A caller who is cancelled leaves the others alone; when the last one has left, it is not computed any more. The
        record of each tells the stages from when he came.

        Args:
            key: Equal for the same question.
            ask: Called where nothing of that key is under way. What it raises is raised.
        """
        came = 0.0
        asked = self._under_way.get(key)
        if asked is None:
            asked = self._under_way[key] = ask()
        else:
            came = time.perf_counter()
        try:
            return await asked.outcomes(came)
        finally:
            if not asked.is_wanted:
                self._under_way.pop(key, None)
