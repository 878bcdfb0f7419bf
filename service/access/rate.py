"""So many requests a second, and no more at once than in one second."""

import time
from collections.abc import Callable


class RateLimit:
    """A bucket that holds the requests of one second, at least one, and is filled evenly."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1 / per_second
        # How far ahead of its time a request may come.
        self._slack = max(0.0, 1 - self._interval)
        self._clock = clock
        self._due = clock()

    def take(self) -> float:
        """Count a request; how many seconds too early it is, 0 where it may pass. One that may not is not counted."""
        now = self._clock()
        due = max(self._due, now)
        wait = due - now - self._slack
        if wait > 1e-9:  # what rounding leaves of requests at exact intervals
            return wait
        self._due = due + self._interval
        return 0.0
