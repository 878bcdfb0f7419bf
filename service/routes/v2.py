"""The Open Inference Protocol v2 over HTTP: health, metadata, `infer`; errors under it are `{"error": message}`."""

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from model.errors import LabelsetError
from model.predictor import Answer
from service.body import hold_unpacked, whole_body
from service.catalogue import ServedModel
from service.intake import check_declared
from service.metrics import Metrics
from service.presence import while_wanted
from service.routes import health
from service.routes.direct import DirectRoute
from service.routes.state import InferringState, ServingState, admitted, having
from service.schemas import ProtocolError
from service.settings import Settings
from service.threads import LARGE_BYTES, computed
from service.v2.compression import chosen_encoding, compressed, decompressed
from service.v2.infer import Question, read_question, write_answer
from service.v2.metadata import model_config, model_metadata, server_metadata
from service.v2.statistics import model_statistics
from service.v2.wire import HEADER_LENGTH

_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ProtocolError, "description": "The request cannot be answered; the message says why."},
    "5XX": {"model": ProtocolError, "description": "The service cannot answer."},
}
# A path of text cannot be wrong: without this FastAPI would document an error that never is.
_MODEL_ERRORS: dict[int | str, dict[str, Any]] = {
    **_ERRORS,
    422: {"model": ProtocolError, "description": "An input that cannot be read, or a sparsity that cannot be granted."},
}
_TENSOR = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["The malware deletes event logs."]}
_INFER_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object"}, "example": {"inputs": [_TENSOR]}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}

router = APIRouter(prefix="/v2", tags=["open inference protocol"])


_knows_caller = [Depends(having("infer"))]


@router.get("", summary="Name, version and extensions of the service", dependencies=_knows_caller)
# As clients ask that put every path behind `/v2/`.
@router.get("/", include_in_schema=False, dependencies=_knows_caller)
async def describe_service(request: Request) -> dict[str, Any]:
    """Answers before the models are loaded, too."""
    return server_metadata(health.installed_version(), request.app.state.takes_changes)


@router.get("/health/live", summary="Is the process alive?")
async def live() -> dict[str, bool]:
    """Answers as long as the process does."""
    return {"live": True}


@router.get("/health/ready", summary="May it get requests?", responses=_ERRORS)
async def ready(request: Request, serving: ServingState) -> dict[str, bool]:
    """Answers as `/readyz` does."""
    await health.ready(request, serving)
    return {"ready": True}


# Before the models by name: without one the statistics are those of all.
@router.get("/models/stats", summary="What was counted of each model", responses=_MODEL_ERRORS)
@router.get("/models/{name}/stats", summary="… of a model", responses=_MODEL_ERRORS)
@router.get("/models/{name}/versions/{version}/stats", summary="… of a version", responses=_MODEL_ERRORS)
async def statistics(
    request: Request, serving: InferringState, name: str | None = None, version: str | None = None
) -> dict[str, Any]:
    """Requests, batches and their nanoseconds since the service began, in the shape of Triton's statistics."""
    metrics: Metrics = request.app.state.metrics
    return model_statistics(serving.catalogue.select(name, version), metrics)


@router.get("/models/{name}", summary="Inputs and outputs of a model", responses=_MODEL_ERRORS)
@router.get("/models/{name}/versions/{version}", summary="… of a version", responses=_MODEL_ERRORS)
async def describe_model(serving: InferringState, name: str, version: str | None = None) -> dict[str, Any]:
    """Metadata of a model."""
    return model_metadata(serving.catalogue, serving.catalogue.get(name, version))


@router.get("/models/{name}/ready", summary="May a model get requests?", responses=_MODEL_ERRORS)
@router.get("/models/{name}/versions/{version}/ready", summary="… or a version?", responses=_MODEL_ERRORS)
async def model_ready(serving: InferringState, name: str, version: str | None = None) -> dict[str, Any]:
    """A model that is served is ready."""
    return {"name": serving.catalogue.get(name, version).name, "ready": True}


@router.get("/models/{name}/config", summary="A model in the shape of Triton's configuration", responses=_MODEL_ERRORS)
@router.get("/models/{name}/versions/{version}/config", summary="… or a version", responses=_MODEL_ERRORS)
async def configuration(serving: InferringState, name: str, version: str | None = None) -> dict[str, Any]:
    """What Triton's clients read of a model's configuration."""
    return model_config(serving.catalogue.get(name, version), serving.settings.max_batch_size)


async def infer(request: Request, name: str, version: str | None = None) -> Response:
    """Answer files or texts in one BYTES tensor; one that cannot be read fails the request, its index in the message.

    The body is JSON, or JSON and tensors as bytes (`Inference-Header-Content-Length` says where they begin), or with
    that header 0 the one input itself.
    """
    with admitted(request) as serving:
        model = serving.catalogue.get(name, version)
        body = await _body(request, model, serving.settings)
        question = await computed(
            len(body) > LARGE_BYTES,
            read_question,
            body,
            request.headers.get(HEADER_LENGTH),
            model,
            serving.settings.max_batch_size,
        )
        answers = await while_wanted(request, serving.pipeline.answer(model, question.items, question.wishes))
        return await computed(question.is_dense, _write, request, model, question, answers)


for _path, _summary in (
    ("/models/{name}/infer", "Label sets as tensors"),
    ("/models/{name}/versions/{version}/infer", "… of a version"),
):
    router.add_api_route(
        _path,
        infer,
        methods=["POST"],
        summary=_summary,
        responses=_MODEL_ERRORS,
        openapi_extra=_INFER_BODY,
        route_class_override=DirectRoute,
    )


async def _body(request: Request, model: ServedModel, settings: Settings) -> bytes:
    """The body of a request, no longer compressed."""
    encoding = request.headers.get("content-encoding")
    if encoding is None:
        if request.headers.get(HEADER_LENGTH) == "0":
            check_declared(request, model.kind, settings)
        return await whole_body(request)
    content = await asyncio.to_thread(decompressed, await whole_body(request), encoding, settings.max_body_bytes)
    hold_unpacked(request, len(content))
    return content


def _write(
    request: Request, model: ServedModel, question: Question, answers: Sequence[Answer | LabelsetError]
) -> Response:
    content, header_length = write_answer(model, question, answers)
    headers = {} if header_length is None else {HEADER_LENGTH: str(header_length)}
    encoding = chosen_encoding(request.headers.get("accept-encoding", ""))
    if encoding is not None:
        content = compressed(content, encoding)
        headers["Content-Encoding"] = encoding
    media_type = "application/json" if header_length is None else "application/octet-stream"
    return Response(content, headers=headers, media_type=media_type)
