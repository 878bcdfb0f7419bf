"""The application: settings in, a FastAPI app out; the models are loaded and replayed before it takes a request."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI

from service.access.browsers import allow_origins
from service.access.documentation import document_keys
from service.access.gate import Gate
from service.admission import Admission
from service.batcher import Batcher
from service.body import BodyLimits
from service.error_answers import add_error_handlers
from service.logs import AccessLog
from service.metrics import Metrics
from service.open_bodies import OpenBodies
from service.pipeline import Pipeline
from service.refusing import Refusing
from service.repository import Repository
from service.result_cache import ResultCache
from service.routes import health, metrics, models, predict, repository_admin, v2
from service.routes.direct import DirectRoutes, DirectWay
from service.routes.page import add_page
from service.routes.state import Serving
from service.session_host import SessionHost
from service.settings import InvalidSettings, Settings
from service.telemetry import Telemetry
from service.watching import watching

if TYPE_CHECKING:
    from service.rpc.server import RpcServer
    from service.tracing import Tracing

_DESCRIPTION = "Multi-label classification without thresholds: send images or texts, get their label sets."


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service.

    Args:
        settings: Those of the environment where none are given.

    Raises:
        InvalidSettings: the environment has an impossible setting, or one that needs what is not installed.
        InvalidKeys: the file of API keys cannot be read.
    """
    settings = settings or Settings()
    counted = Metrics()
    tracing = _tracing() if settings.otel else None
    gate = Gate(settings.keys_file)
    listen_to_rpc = _rpc_server() if settings.grpc_port is not None else None
    admission = Admission(settings.max_waiting)
    open_bodies = OpenBodies(settings.max_open_body_bytes)
    access_log = AccessLog()
    observers = [counted.observe, access_log.write, *([tracing.observe] if tracing else [])]

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as closing:  # in reverse, also of a start that fails half-way
            if tracing:
                closing.push_async_callback(asyncio.to_thread, tracing.close)
            closing.callback(access_log.close)
            # Before the models are loaded: a port that is taken is known at once.
            rpc_server = listen_to_rpc(settings, gate, open_bodies, observers) if listen_to_rpc else None
            if rpc_server:
                closing.push_async_callback(rpc_server.stop)
            host = SessionHost(settings.batch_seconds)
            closing.callback(host.close)
            repository = await asyncio.to_thread(Repository.open, settings, host)
            closing.callback(repository.close)
            batcher = Batcher(settings.batch_limits, settings.runner_count(host.devices()), counted)
            cache = ResultCache(settings.result_cache_rows)
            pipeline = Pipeline(admission, batcher, cache, settings.limits)
            closing.push_async_callback(pipeline.close)
            counted.watch(lambda: repository.catalogue, lambda: batcher.waiting, admission, open_bodies)
            app.state.is_leaving = False
            app.state.serving = Serving(settings, repository, pipeline)
            app.state.rpc_server = rpc_server
            async with watching([gate.reread, repository.rescan], settings.watch_seconds):
                if rpc_server:
                    await rpc_server.start(app.state.serving, counted, lambda: app.state.is_leaving)
                yield
                if rpc_server:
                    await rpc_server.stop()
            app.state.serving = None

    app = FastAPI(
        title="labelset",
        description=_DESCRIPTION,
        version=health.installed_version(),
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        # Newer versions of it trace requests too; ours are traced where that is asked for, and by `service/tracing.py`.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.metrics = counted
    app.state.gate = gate
    app.state.takes_changes = settings.admin
    direct_routes = DirectRoutes([*predict.router.routes, *v2.router.routes])
    # What a page of another origin may read of a refusal is for the application to say.
    app.state.refusing = None if settings.allowed_origins else Refusing(direct_routes, admission, gate, observers)
    app.add_middleware(DirectWay, routes=direct_routes)
    app.add_middleware(
        BodyLimits,
        max_body_bytes=settings.max_body_bytes,
        open_bodies=open_bodies,
        seconds=settings.body_seconds,
    )
    if settings.allowed_origins:
        allow_origins(app, settings.allowed_origins)
    # The last one added is the outermost: it must see what any other answers.
    app.add_middleware(Telemetry, observers=observers)
    add_error_handlers(app)
    for routes in (predict, models, v2, repository_admin, health, metrics):
        app.include_router(routes.router)
    add_page(app)
    if settings.keys_file:
        document_keys(app)
    return app


def _rpc_server() -> "type[RpcServer]":
    try:
        from service.rpc.server import RpcServer
    except ModuleNotFoundError as error:
        raise InvalidSettings(f"LABELSET_GRPC_PORT needs the extra grpc (pip install '.[grpc]'): {error}") from None
    return RpcServer


def _tracing() -> "Tracing":
    # Imported only where it is wanted: the packages are an extra, and heavy.
    try:
        from service.tracing import Tracing
    except ModuleNotFoundError as error:
        raise InvalidSettings(f"LABELSET_OTEL needs the extra otel (pip install '.[otel]'): {error}") from None
    return Tracing(health.installed_version())
