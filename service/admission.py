"""How much the service works on at once: what would be more is refused, before anything is done for it."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import QueueFull


class Admission:
    """Places for inputs; one is held from when its request has been read until that is answered or given up.

    It belongs to the event loop: nothing else may call it.
    """

    def __init__(self, places: int) -> None:
        """`places`: inputs that wait, are decoded or are computed at the same time."""
        self.places = places
        self._taken = 0

    @property
    def taken(self) -> int:
        """Inputs that are worked on, or wait for it."""
        return self._taken

    @property
    def is_full(self) -> bool:
        """Whether there is no place for a single input."""
        return self._taken >= self.places

    def refusal(self) -> QueueFull:
        """What is said to whom there is no place for."""
        return QueueFull(
            f"at most {self.places} inputs are worked on at once, {self._taken} are: try again in a second",
            limit=self.places,
        )

    def require_a_place(self) -> None:
        """Refuse a request whose inputs are not known yet, where there is no place for a single one.

        Raises:
            QueueFull: there is none.
        """
        self._require(1)

    @contextmanager
    def hold(self, count: int) -> Iterator[None]:
        """Hold places for the inputs of a request until it is done.

        Raises:
            QueueFull: there are too few.
        """
        self._require(count)
        self._taken += count
        try:
            yield
        finally:
            self._taken -= count

    def _require(self, count: int) -> None:
        if self._taken + count > self.places:
            raise self.refusal()
