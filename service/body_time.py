"""A time limit on the body of a request: a caller who stops in the midst is told so, and holds nothing any longer."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooSlow


class BodyTime:
    """Middleware: whoever reads a body that has not arrived in time meets `BodyTooSlow`."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, its body timed."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        deadline = asyncio.get_running_loop().time() + self._seconds
        is_whole = False

        async def receive_timed() -> Message:
            nonlocal is_whole
            if is_whole:  # what still comes is that the caller leaves
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise BodyTooSlow(f"a request's body must arrive within {self._seconds:g} seconds") from None
            is_whole = not message.get("more_body", False)
            return message

        await self._app(scope, receive_timed, send)
