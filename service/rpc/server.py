"""The port that gRPC listens on, in the process and the event loop of the HTTP service."""

import asyncio
import logging
from collections.abc import Callable, Sequence

import grpc

from service.access.gate import Gate
from service.listening import CannotListen, listen
from service.metrics import Metrics
from service.open_bodies import OpenBodies
from service.routes.state import Serving
from service.rpc.calls import Calls
from service.rpc.methods import Methods
from service.settings import Settings
from service.telemetry import Observer

logger = logging.getLogger("labelset.service")

# As over HTTP: who closes an idle connection first meets no request on its way.
_IDLE_SECONDS = 75
# A connection that carries calls is asked whether somebody is still there.
_KEEP_ALIVE_SECONDS, _KEEP_ALIVE_TIMEOUT_SECONDS = 60, 20


class RpcServer:
    """The service over gRPC: its port is taken when this is made, calls are answered from `start` to `stop`."""

    def __init__(self, settings: Settings, gate: Gate, open_bodies: OpenBodies, observers: Sequence[Observer]) -> None:
        """Take the port `settings.grpc_port`, which is given; must be called in the event loop.

        Raises:
            CannotListen: the address is taken, or is none of this machine's.
        """
        assert settings.grpc_port is not None
        self._drain_seconds = settings.drain_seconds
        self._calls = Calls(gate, open_bodies, observers, settings.body_seconds)
        self._server = grpc.aio.server(options=_options(settings))
        self._ending: asyncio.Future[None] | None = None
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        # The library would tell the log why it fails, and the caller nothing.
        listen(settings.host, settings.grpc_port).close()
        try:
            self.address = f"{host}:{_add_port(self._server, f'{host}:{settings.grpc_port}', settings)}"
        except RuntimeError as error:
            raise CannotListen(f"cannot listen on {settings.host} port {settings.grpc_port}: {error}") from None
        logger.info("gRPC listens on %s", self.address)

    async def start(self, serving: Serving, metrics: Metrics, is_leaving: Callable[[], bool]) -> None:
        """Answer calls."""
        self._server.add_generic_rpc_handlers((Methods(serving, metrics, is_leaving).handler(self._calls),))
        await self._server.start()

    async def stop(self) -> None:
        """Take no new calls, answer those that are under way, or tell them that there is no time left."""
        if self._ending is None:
            self._ending = asyncio.ensure_future(self._end())
        await self._ending

    async def _end(self) -> None:
        # One second more than the calls have, for what they are told at the end to be sent.
        closed = asyncio.ensure_future(self._server.stop(self._drain_seconds + 1))
        await self._calls.end(self._drain_seconds)
        await closed


def _add_port(server: grpc.aio.Server, address: str, settings: Settings) -> int:
    """The port that was taken; with the certificate that HTTP has, where there is one."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return int(server.add_insecure_port(address))
    pair = (settings.tls_key.read_bytes(), settings.tls_certificate.read_bytes())
    return int(server.add_secure_port(address, grpc.ssl_server_credentials([pair])))


def _options(settings: Settings) -> list[tuple[str, int]]:
    return [
        # Two services on one port would each get some of the calls.
        ("grpc.so_reuseport", 0),
        # Also of a message that comes compressed, when it is unpacked.
        ("grpc.max_receive_message_length", settings.max_body_bytes),
        # The start of HTTP/2, where there is no TLS.
        ("grpc.server_handshake_timeout_ms", round(settings.head_seconds * 1000)),
        ("grpc.max_connection_idle_ms", _IDLE_SECONDS * 1000),
        ("grpc.keepalive_time_ms", _KEEP_ALIVE_SECONDS * 1000),
        ("grpc.keepalive_timeout_ms", _KEEP_ALIVE_TIMEOUT_SECONDS * 1000),
    ]
