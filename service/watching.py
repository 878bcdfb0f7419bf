"""When the repository is read again: every few seconds where that is wished, and on SIGHUP."""

import asyncio
import contextlib
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.repository import Repository

logger = logging.getLogger("labelset.service")


@asynccontextmanager
async def watching(repository: Repository, watch_seconds: float) -> AsyncIterator[None]:
    """Let the repository follow its folder meanwhile.

    Args:
        repository: What is read again.
        watch_seconds: Pause between two looks; 0 for none.
    """
    asked = asyncio.Event()
    follower = asyncio.create_task(_follow(repository, asked, watch_seconds))
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


async def _follow(repository: Repository, asked: asyncio.Event, watch_seconds: float) -> None:
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asked.wait(), watch_seconds or None)
        asked.clear()
        try:
            await repository.rescan()
        except Exception:  # nobody waits for this task, and the next look may go better
            logger.exception("the models could not be read again")


def _hangup_is_ours() -> bool:
    # Where it runs in a terminal, SIGHUP says that this was closed, and then the service should end as it always did.
    in_terminal = os.isatty(0)
    may_handle_signals = threading.current_thread() is threading.main_thread()
    return hasattr(signal, "SIGHUP") and may_handle_signals and not in_terminal
