"""The end of a connection on which the caller may still be sending: he is to get the answer first.

Where bytes lie unread on a connection that is closed, or more come, the system resets it, and most clients lose what
they have not read. So the service says that it sends no more, and reads on for a while (RFC 9112, section 9.6).
"""

import asyncio
from collections.abc import Sized
from typing import Any

from service.deadlines import Deadlines

# After what he sent is answered a caller has this long to send the rest, which is thrown away, and to read the answer.
# No number of bytes is set beside it: what is thrown away costs less than a request, and he may send those for ever.
SECONDS_TO_READ = 5.0
# More than lies in the buffers on its own: an answer that its caller is still taking.
_LARGE_BYTES = 64 * 1024


class LingeringTransport(asyncio.Transport):
    """A transport that `close` leaves open for a while, where the caller may be sending.

    It says that it is closing from then on: what is written is dropped, and what arrives is to be.
    """

    def __init__(
        self, transport: asyncio.Transport, arriving: Deadlines, unanswered: Sized, seconds_to_take: float
    ) -> None:
        """A transport in front of another.

        Args:
            transport: The other one.
            arriving: It has a deadline for this one while a request is on its way; and ends it, when it lingers.
            unanswered: The requests that wait for an answer, that which `close` follows upon among them.
            seconds_to_take: Time for an answer that is larger than buffers to be taken.
        """
        super().__init__()
        self._transport = transport
        self._arriving = arriving
        self._unanswered = unanswered
        self._seconds_to_take = seconds_to_take
        self._has_answered = False
        self._is_reading = True
        self._is_lingering = False

    def write(self, data: bytes) -> None:  # type: ignore[override]
        """Write, as long as it does not linger."""
        self._has_answered = True
        if not self._is_lingering:
            self._transport.write(data)

    def close(self) -> None:
        """Close at once, or where an answer could be lost by that, after a while."""
        if self._has_answered and self._may_more_come():
            self.linger()
        elif not self._is_lingering:
            self._transport.close()

    def linger(self) -> None:
        """Close after a while, or when the caller does."""
        if self.is_closing():
            return
        self._is_lingering = True
        if self._transport.can_write_eof():  # over TLS that cannot be said
            self._transport.write_eof()
        self.resume_reading()
        is_large = self._transport.get_write_buffer_size() > _LARGE_BYTES
        self._arriving.set(self, SECONDS_TO_READ + (self._seconds_to_take if is_large else 0))

    def _may_more_come(self) -> bool:
        # The rest of a request, or requests in advance, of which some may lie unread.
        return self in self._arriving or len(self._unanswered) > 1 or not self._is_reading

    def abort(self) -> None:
        """Close at once, whatever is lost."""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether it closes, or lingers."""
        return self._is_lingering or self._transport.is_closing()

    def pause_reading(self) -> None:
        """Let what comes wait; one that lingers reads on."""
        if self._is_reading and not self._is_lingering:
            self._is_reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if not self._is_reading:
            self._is_reading = True
            self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the other transport knows."""
        return self._transport.get_extra_info(name, default)
