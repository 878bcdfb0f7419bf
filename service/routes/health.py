"""Probes: is the process alive, may it get requests, which version is it."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import APIRouter, Request

from service.errors import NotReady
from service.routes.state import Serving, ServingState
from service.schemas import ErrorAnswer, Status, Version


def installed_version() -> str:
    """The version of labelset; `unknown` where it runs from a checkout that was never installed."""
    try:
        return version("labelset")
    except PackageNotFoundError:
        return "unknown"


def require_ready(serving: Serving, is_leaving: bool) -> None:
    """Refuse where the loaded service should get no requests.

    Raises:
        NotReady: no model is served, or the service is about to stop.
    """
    if is_leaving:
        raise NotReady("the service is shutting down")
    if not serving.catalogue:
        raise NotReady("no model is served at the moment")


router = APIRouter(tags=["health"])

_NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {"model": ErrorAnswer, "description": "No model is loaded, or the service is about to stop."}
}


@router.head("/livez", include_in_schema=False)
@router.get("/livez", summary="Is the process alive?")
async def live() -> Status:
    """Answers as long as the process does."""
    return Status(status="ok")


@router.head("/readyz", include_in_schema=False)
@router.head("/healthz", include_in_schema=False)
@router.get("/readyz", summary="May it get requests?", responses=_NOT_READY)
@router.get("/healthz", summary="The same as /readyz", responses=_NOT_READY)
async def ready(request: Request, serving: ServingState) -> Status:
    """Answers 200 once every model served has given its golden examples the answers of the day of export.

    Raises:
        NotReady: no model is loaded, or the service is about to stop.
    """
    require_ready(serving, request.app.state.is_leaving)
    return Status(status="ok")


@router.get("/version", summary="Version of the service")
async def service_version() -> Version:
    """The installed version of labelset."""
    return Version(version=installed_version())
