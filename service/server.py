"""The process that listens: uvicorn, with the manners that a service behind callers of all kinds needs.

- A connection may not hold anything for ever, nor fill the memory (`service/connection.py`).
- When the process is told to stop it says so at `/readyz` and in each answer (`Connection: close`), and goes on
  answering for a moment: what is on its way already is answered, and callers find another server.
"""

import asyncio
import functools
import gc
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model.errors import LabelsetError
from service.app import create_app
from service.connection import impatient_protocol
from service.door import Door
from service.listening import allow_connections, listen
from service.settings import Settings
from service.tls import check_certificate

# Of `gc`. A request leaves nothing that has to be searched for (`tests/service/test_garbage.py`), so searches may be
# rare: one through all that is there takes tens of milliseconds where a thousand callers wait, and nobody is answered.
_GARBAGE_THRESHOLDS = (2000, 10, 50)

# Longer than that of most callers and proxies: who closes an idle connection first meets no request on its way.
_KEEP_ALIVE_SECONDS = 75
_SECONDS_TO_SPEAK = 0.1
_TICK_SECONDS = 1.0


class ServerProcess:
    """The service on a socket; the socket is open from the start, so a busy port is known before a model is loaded."""

    def __init__(self, settings: Settings, log_level: str = "info") -> None:
        if settings.tls_certificate and settings.tls_key:
            check_certificate(settings.tls_certificate, settings.tls_key)
        self._listener = listen(settings.host, settings.port)
        host, port = self._listener.getsockname()[:2]
        scheme = "https" if settings.tls_certificate else "http"
        self.url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
        app = create_app(settings)
        self._app = _StartupErrorKept(app)
        # Over TLS there are as many again who are not let in yet: their files are open already.
        max_connections = allow_connections() // (2 if settings.tls_certificate else 1)
        config = uvicorn.Config(
            self._app,
            http=impatient_protocol(
                settings.head_seconds,
                settings.body_seconds,
                max_connections,
                lambda: self._server.is_leaving,
                app.state.refusing,
            ),
            # Nothing here speaks WebSocket, whatever else is installed.
            ws="none",
            # Its lines go the way of all others, and `service/logs.py` writes one for each request.
            log_config=None,
            access_log=False,
            # Nothing here asks where a request came from.
            proxy_headers=False,
            log_level=log_level,
            ssl_certfile=settings.tls_certificate,
            ssl_keyfile=settings.tls_key,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            # Without a limit one caller who never finishes would keep the service from stopping.
            timeout_graceful_shutdown=settings.drain_seconds,
        )
        door = functools.partial(Door, handshake_seconds=settings.head_seconds, max_handshakes=max_connections)
        self._server = _Server(config, app, settings.leave_seconds, door)

    def run(self) -> None:
        """Serve until SIGINT, SIGTERM or `stop`; requests that are being answered get their answers.

        Raises:
            LabelsetError: the service cannot start, because no model can be loaded.
        """
        # What has been imported stays. Else it would be searched for garbage, again and again, and each time nobody be
        # answered for 50 ms. The models are not loaded yet: they may go.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GARBAGE_THRESHOLDS)
        try:
            self._server.run(sockets=[self._listener])
        except KeyboardInterrupt:
            pass  # uvicorn has shut down in order and passes the signal on
        except SystemExit:  # uvicorn's way of saying that the start failed
            if self._app.error is None:
                raise
            raise self._app.error from None
        finally:
            self._listener.close()

    def stop(self) -> None:
        """End `run`, from another thread."""
        self._server.stop()


class _Server(uvicorn.Server):
    """A server that takes its leave before it closes its door."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, leave_seconds: float, door: Callable[..., Door]) -> None:
        super().__init__(config)
        self.is_leaving = False
        self._door = door
        self._fastapi = app
        self._leave_seconds = leave_seconds
        self._wake_up: Callable[[], object] = lambda: None
        self._doors: list[Door] = []

    def stop(self) -> None:
        """Leave; from any thread."""
        self.should_exit = True
        self._wake_up()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Leave, because of a signal."""
        super().handle_exit(sig, frame)
        self._wake_up()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then open the doors."""
        await super().startup(sockets=[])
        config, state = self.config, self.server_state

        def protocol() -> asyncio.Protocol:
            return config.http_protocol_class(config=config, server_state=state, app_state=self.lifespan.state)  # type: ignore[call-arg]

        self._doors = [self._door(listener, protocol, config.ssl) for listener in sockets or ()]
        for door in self._doors:
            door.open()

    async def main_loop(self) -> None:
        """Keep the date in the headers right until it is time to leave.

        Uvicorn's own looks ten times a second whether it is, which is most of what an idle service does.
        """
        loop, woken = asyncio.get_running_loop(), asyncio.Event()
        self._wake_up = lambda: loop.call_soon_threadsafe(woken.set)
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), _TICK_SECONDS)
        self._wake_up = lambda: None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.is_leaving = True
        self._fastapi.state.is_leaving = True
        end = asyncio.get_running_loop().time() + self._leave_seconds
        while asyncio.get_running_loop().time() < end and not self.force_exit:
            await asyncio.sleep(0.02)
        # Whom the system has let in, but not yet we, would be thrown out with the door: let in who waits, and one at a
        # time who still comes.
        for listener in sockets or ():
            listener.listen(0)
        await asyncio.sleep(_SECONDS_TO_SPEAK)
        for door in self._doors:
            door.close()
        # Who has just been let in has his request on its way; uvicorn would close his connection unheard.
        await asyncio.sleep(_SECONDS_TO_SPEAK)
        # Both doors close at once: what is open behind each has the same time to end.
        rpc_server = self._fastapi.state.rpc_server
        closing = [super().shutdown(sockets), *([rpc_server.stop()] if rpc_server else [])]
        await asyncio.gather(*closing)


class _StartupErrorKept:
    """The application, but for an error of ours at the start: kept for one clear line, where uvicorn prints a trace."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.error: LabelsetError | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_without_trace(message: Message) -> None:
            ours = isinstance(sys.exception(), LabelsetError)
            await send({**message, "message": ""} if ours else message)

        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send_without_trace)
        except LabelsetError as error:
            self.error = error
