"""When what lies on the disk is read again: every few seconds where that is wished, and on SIGHUP."""

import asyncio
import contextlib
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

logger = logging.getLogger("labelset.service")

Look = Callable[[], Awaitable[None]]


@asynccontextmanager
async def watching(looks: Sequence[Look], watch_seconds: float) -> AsyncIterator[None]:
    """Let what was read from files follow them meanwhile.

    Args:
        looks: What to do each time, one after the other.
        watch_seconds: Pause between two looks; 0 for none.
    """
    asked = asyncio.Event()
    follower = asyncio.create_task(_follow(looks, asked, watch_seconds))
    loop = asyncio.get_running_loop()
    if _hangup_is_ours():
        loop.add_signal_handler(signal.SIGHUP, asked.set)
    try:
        yield
    finally:
        if _hangup_is_ours():
            loop.remove_signal_handler(signal.SIGHUP)
        follower.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await follower


async def _follow(looks: Sequence[Look], asked: asyncio.Event, watch_seconds: float) -> None:
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asked.wait(), watch_seconds or None)
        asked.clear()
        for look in looks:
            try:
                await look()
            except Exception:  # nobody waits for this task, and the next time may go better
                logger.exception("models or keys could not be read again")


def _hangup_is_ours() -> bool:
    # Where it runs in a terminal, SIGHUP says that this was closed, and then the service should end as it always did.
    in_terminal = os.isatty(0)
    may_handle_signals = threading.current_thread() is threading.main_thread()
    return hasattr(signal, "SIGHUP") and may_handle_signals and not in_terminal
