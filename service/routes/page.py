"""The demo page at `/`, the API's at `/docs`, and their files."""

from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from service.access.browsers import PAGE_HEADERS

_WEB = Path(__file__).resolve().parents[1] / "web"

router = APIRouter(include_in_schema=False)


@router.api_route("/", methods=["GET", "HEAD"])
async def page() -> Response:
    """The demo page."""
    return FileResponse(_WEB / "index.html", headers=PAGE_HEADERS)


@router.api_route("/docs", methods=["GET", "HEAD"])
async def docs() -> Response:
    """Swagger UI, from this process: a service often runs where a content network is out of reach."""
    return FileResponse(_WEB / "docs.html", headers=PAGE_HEADERS)


class _PageFiles(StaticFiles):
    async def get_response(self, path: str, scope: dict[str, object]) -> Response:  # type: ignore[override]
        response = await super().get_response(path, scope)
        response.headers.update(PAGE_HEADERS)
        return response


def add_page(app: FastAPI) -> None:
    """Serve the two pages and their files."""
    app.include_router(router)
    app.mount("/web", _PageFiles(directory=_WEB))
    app.mount("/swagger", _PageFiles(packages=[("fastapi_swagger", "resources")]))
