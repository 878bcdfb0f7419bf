"""A hard limit on the bytes of a request's body, counted while it is read: an endless body cannot fill the memory."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooLarge


class BodyLimit:
    """Middleware: whoever reads a body over the limit meets `BodyTooLarge`."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._limit = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, its body counted."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        header = dict(scope["headers"]).get(b"content-length", b"")
        declared = int(header) if header.isdigit() else 0
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            # Before the first byte: a client that waits for `100 Continue` then sends none.
            if declared > self._limit:
                raise self._too_large(declared)
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise self._too_large(received)
            return message

        await self._app(scope, receive_counted, send)

    def _too_large(self, size: int) -> BodyTooLarge:
        return BodyTooLarge(
            f"a request's body must have at most {self._limit} bytes, got {size} or more", limit=self._limit
        )
