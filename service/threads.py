"""Where work is done: short work on the event loop, long work in a thread beside it."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

# Up to here the event loop reads a body itself: handing it to a thread would take longer.
LARGE_BYTES = 64 * 1024


async def computed(in_thread: bool, function: Callable[..., T], *arguments: Any) -> T:
    """What a function gives, computed in a thread where it may take long."""
    return await asyncio.to_thread(function, *arguments) if in_thread else function(*arguments)
