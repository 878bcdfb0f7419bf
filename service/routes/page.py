"""The demo page at `/` and its files."""

from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

_WEB = Path(__file__).resolve().parents[1] / "web"

# Everything the page needs is its own: a script or a style from anywhere else is somebody's attack.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Asked again each time (and answered 304), so that an upgrade never meets the old script.
    "Cache-Control": "no-cache",
}

router = APIRouter(include_in_schema=False)


@router.api_route("/", methods=["GET", "HEAD"])
async def page() -> Response:
    """The demo page."""
    return FileResponse(_WEB / "index.html", headers=_HEADERS)


class _PageFiles(StaticFiles):
    async def get_response(self, path: str, scope: dict[str, object]) -> Response:  # type: ignore[override]
        response = await super().get_response(path, scope)
        response.headers.update(_HEADERS)
        return response


def add_page(app: FastAPI) -> None:
    """Serve the demo page and its files."""
    app.include_router(router)
    app.mount("/web", _PageFiles(directory=_WEB))
