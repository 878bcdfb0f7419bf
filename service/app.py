"""The application: settings in, a FastAPI app out; the models are loaded and replayed before it takes a request."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_swagger import patch_fastapi

from service.batcher import Batcher
from service.body_limit import BodyLimit
from service.errors import add_error_handlers
from service.pipeline import Pipeline
from service.repository import Repository
from service.routes import health, models, predict, v2
from service.routes.page import add_page
from service.routes.state import Serving
from service.settings import Settings

_DESCRIPTION = "Multi-label classification without thresholds: send images or texts, get their label sets."


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service.

    Args:
        settings: Those of the environment where none are given.

    Raises:
        InvalidSettings: the environment has an impossible setting.
    """
    settings = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        repository = await asyncio.to_thread(Repository.load, settings)
        batcher = Batcher(settings.batch_limits, settings.runners)
        pipeline = Pipeline(settings.decode_threads, batcher)
        app.state.serving = Serving(settings, repository, pipeline)
        yield
        app.state.serving = None
        pipeline.close()

    app = FastAPI(
        title="labelset",
        description=_DESCRIPTION,
        version=health.installed_version(),
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    # /docs with Swagger UI from this process: a service often runs where a content network is out of reach.
    patch_fastapi(app, redirect_from_root_to_docs=False)
    app.add_middleware(BodyLimit, max_body_bytes=settings.max_body_bytes)
    add_error_handlers(app)
    for routes in (predict, models, health, v2):
        app.include_router(routes.router)
    add_page(app)
    return app
