"""`/v2/repository/...`: load, unload and list models, as in the Open Inference Protocol; off unless it is allowed."""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.access.browsers import refuse_foreign_page
from service.access.caller import Caller
from service.administration import LoadParameters, UnloadParameters, entries, require_admin
from service.errors import InvalidJson, NotReady, invalid_request
from service.routes.state import Serving, ServingState, having
from service.schemas import ProtocolError


class IndexEntry(BaseModel):
    """One version of a model."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE", "LOADING", "UNLOADING"]
    reason: str = Field(description="Why it, or what lies in its folder now, is not served; empty where all is well.")


class _IndexBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    ready: bool = Field(default=False, description="Only what is served.")


class _LoadBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    parameters: LoadParameters = LoadParameters()


class _UnloadBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    parameters: UnloadParameters = UnloadParameters()


async def _administration(
    request: Request, caller: Annotated[Caller, Depends(having("admin"))], serving: ServingState
) -> Serving:
    refuse_foreign_page(request, serving.settings.keys_file is not None)
    require_admin(serving.settings)
    return replace(serving, caller=caller)


_Administration = Annotated[Serving, Depends(_administration)]
_Body = TypeVar("_Body", bound=BaseModel)

_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ProtocolError, "description": "A body that is not JSON."},
    403: {"model": ProtocolError, "description": "The service has these routes off, or a page of elsewhere asks."},
    404: {"model": ProtocolError, "description": "No such model or version."},
    422: {"model": ProtocolError, "description": "A broken bundle, or a field that is unknown."},
    503: {"model": ProtocolError, "description": "The models are not loaded yet."},
}

router = APIRouter(prefix="/v2/repository", tags=["repository"], responses=_ERRORS)


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    """What the documentation says of a body that the route reads itself: clients send it without a content type."""
    return {"requestBody": {"content": {"application/json": {"schema": schema}}}}


def _body_of(parameters: type[LoadParameters]) -> dict[str, Any]:
    properties = {"parameters": parameters.model_json_schema()}
    return _body({"type": "object", "properties": properties, "additionalProperties": False})


async def _read(request: Request, model: type[_Body]) -> _Body:
    content = await request.body()
    try:
        return model.model_validate_json(content) if content.strip() else model()
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":
            raise InvalidJson("the body must be JSON, or empty") from None
        raise invalid_request(error.errors(include_url=False)) from None


@router.post("/index", summary="All versions of all models", openapi_extra=_body(_IndexBody.model_json_schema()))
async def index(request: Request, serving: _Administration) -> list[IndexEntry]:
    """What is served, what was refused or unloaded and why, and what lies in the repository and is not loaded."""
    wish = await _read(request, _IndexBody)
    found = await entries(serving.repository, wish.ready)
    return [IndexEntry.model_validate(entry) for entry in found if serving.caller.may_use(entry.name)]


@router.post(
    "/models/{name}/load", summary="Load a model", response_class=Response, openapi_extra=_body_of(LoadParameters)
)
async def load(request: Request, serving: _Administration, name: str) -> Response:
    """Verify, load and warm up what lies in the repository under this name, then serve it.

    What is loaded and unchanged stays as it is. The answer comes when all is served; what is broken is refused, and
    what was served before is served still.
    """
    serving.caller.require_model(name)
    wish = await _read(request, _LoadBody)
    return await _done(serving.repository.load(name, wish.parameters.version))


@router.post(
    "/models/{name}/unload",
    summary="Unload a model",
    response_class=Response,
    openapi_extra=_body_of(UnloadParameters),
)
async def unload(request: Request, serving: _Administration, name: str) -> Response:
    """Serve a model no more; requests that are using it get their answers."""
    serving.caller.require_model(name)
    wish = await _read(request, _UnloadBody)
    return await _done(serving.repository.unload(name, wish.parameters.version))


async def _done(change: Awaitable[None]) -> Response:
    try:
        await change
    except asyncio.CancelledError:
        # Nobody else cancels a request. Passed on, it would be a trace in the log and a bare 500 for the caller.
        raise NotReady("the service is shutting down") from None
    return Response()
