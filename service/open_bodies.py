"""How many bytes of bodies the service holds at once: what would go past that is refused while it can still be."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import BodiesFull
from service.freed_memory import give_back_freed_memory

# A connection holds as much of a request before anybody has asked for its body. So a small body is not counted, and not
# refused, however many large ones there are.
UNCOUNTED_BYTES = 64 * 1024
# What many callers send lies mixed in the heap, of which the C library gives back only the end. It is told to give back
# the rest, which takes milliseconds, after so many bytes, when there have been none for so long.
_WORTH_GIVING_BACK_BYTES = 64 * 1024 * 1024
_SECONDS_OF_REST = 1.0


class OpenBodies:
    """Bytes of bodies; those of one are held from when it begins to be read until its request has ended.

    It belongs to the event loop: nothing else may call it.
    """

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes`: of all bodies together."""
        self.max_bytes = max_bytes
        self._taken = 0
        self._freed = 0
        self._giving_back: asyncio.TimerHandle | None = None

    @property
    def taken(self) -> int:
        """Bytes that have come, and some that are known to follow."""
        return self._taken

    def require(self, size: int) -> None:
        """See that there is room for so many bytes more.

        Raises:
            BodiesFull: there is none.
        """
        if self._taken + size > self.max_bytes:
            raise BodiesFull(
                f"bodies of at most {self.max_bytes} bytes are held at once, and this one would be more: try again "
                "in a second",
                limit=self.max_bytes,
            )

    def take(self, size: int) -> None:
        """Take room for so many bytes more.

        Raises:
            BodiesFull: there is none.
        """
        self.require(size)
        self._taken += size

    def give_back(self, size: int) -> None:
        """Give back room that was taken."""
        self._taken -= size
        self._freed += size
        if not self._taken and self._freed >= _WORTH_GIVING_BACK_BYTES and self._giving_back is None:
            self._giving_back = asyncio.get_running_loop().call_later(_SECONDS_OF_REST, self._free_memory)

    def _free_memory(self) -> None:
        self._giving_back = None
        if not self._taken:  # else others would soon ask the system for it again
            self._freed = 0
            give_back_freed_memory()

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Hold a body of so many bytes, which is whole already.

        Raises:
            BodiesFull: there is no room for it.
        """
        held = HeldBody(self)
        try:
            held.grow_to(size)
            yield
        finally:
            held.let_go()


class HeldBody:
    """What one body takes of the room for all."""

    __slots__ = ("_bodies", "_size")

    def __init__(self, bodies: OpenBodies) -> None:
        self._bodies = bodies
        self._size = 0

    def require(self, size: int) -> None:
        """See that there is room for a body of so many bytes; none is taken, for it may never come.

        Raises:
            BodiesFull: there is not so much.
        """
        if size > UNCOUNTED_BYTES:
            self._bodies.require(size)

    def grow_to(self, size: int) -> None:
        """Take room for so many bytes in all.

        Raises:
            BodiesFull: there is not so much; what was taken stays so.
        """
        if size > self._size and size > UNCOUNTED_BYTES:
            self._bodies.take(size - self._size)
            self._size = size

    def let_go(self) -> None:
        """Give the room back."""
        if self._size:
            self._bodies.give_back(self._size)
            self._size = 0
