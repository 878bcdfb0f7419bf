"""`labelset serve`: the service as a process of its own."""

import errno
import logging
import socket
import sys
from pathlib import Path
from typing import Any

import click
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model.errors import LabelsetError
from model.repository import EMBEDDED_BUNDLES, bundle_folders
from service.app import create_app
from service.settings import Settings

logger = logging.getLogger("labelset.service")


class CannotListen(LabelsetError):
    """The address is taken, or is none of this machine's."""

    code = "cannot_listen"


class ServerProcess:
    """The service on a socket; the socket is open from the start, so a busy port is known before a model is loaded."""

    def __init__(self, settings: Settings, log_level: str = "info") -> None:
        self._listener = _listen(settings.host, settings.port)
        host, port = self._listener.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._app = _StartupErrorKept(create_app(settings))
        # Without a limit one caller who never finishes would keep the service from stopping.
        config = uvicorn.Config(self._app, log_level=log_level, timeout_graceful_shutdown=settings.drain_seconds)
        self._server = uvicorn.Server(config)

    def run(self) -> None:
        """Serve until SIGINT, SIGTERM or `stop`; requests that are being answered get their answers.

        Raises:
            LabelsetError: the service cannot start, because no model can be loaded.
        """
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
        self._server.should_exit = True


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


@click.command()
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("--or-embedded", is_flag=True, help="Serve the embedded demo bundles where DIR holds none.")
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one.  [default: 8000]")
@click.option("--watch-seconds", type=click.FloatRange(0), help="Look for changed models that often.  [default: never]")
@click.option("--admin", is_flag=True, default=None, help="Let callers load and unload models: see docs/repository.md.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where to compute.  [default: auto]")
def serve(folder: Path | None, or_embedded: bool, **options: Any) -> None:
    """Serve DIR over HTTP: a bundle, or a repository that holds bundles as NAME/VERSION/.

    Without DIR the embedded demo bundles are served. Settings can also be given in the environment, as LABELSET_MODELS
    (DIR), LABELSET_HOST, LABELSET_PORT, LABELSET_DEVICE and so on; what stands on the command line goes before it.
    """
    if folder and or_embedded and not bundle_folders(folder):
        folder = EMBEDDED_BUNDLES
    given = {name: value for name, value in {"models": folder, **options}.items() if value is not None}
    logging.basicConfig(level=logging.INFO, format="%(levelname)s:     %(message)s")
    server = ServerProcess(Settings(**given))
    logger.info("listening on %s", server.url)
    server.run()


def _listen(host: str, port: int) -> socket.socket:
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        # Every connection inherits it. An answer goes out as two packets, head and body, and Nagle's algorithm would
        # hold the second until the caller acknowledges the first: 40 ms on each request of a connection kept alive.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        reason = "it is in use; choose another port" if in_use else error.strerror
        raise CannotListen(f"cannot listen on {host} port {port}: {reason}", host=host, port=port) from None
