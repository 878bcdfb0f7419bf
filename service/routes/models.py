"""What is served here."""

from typing import Any

from fastapi import APIRouter

from model.bundle import CARD
from model.golden import GoldenInput, GoldenText, GoldenWords
from service.repository import Repository, ServedModel
from service.routes.state import ServingState
from service.schemas import ErrorAnswer, Examples, ModelDetail, ModelList, ModelSummary, SoftmaxImplementation

router = APIRouter(prefix="/models", tags=["models"])

_ERRORS: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorAnswer, "description": "`model_not_found`, `version_not_found`"},
    422: {"model": ErrorAnswer, "description": "`invalid_request`"},
}


@router.get("", summary="All models")
async def list_models(serving: ServingState) -> ModelList:
    """Every model in its default version, the newest."""
    repository = serving.repository
    return ModelList(models=[_summary(repository, model) for model in repository])


@router.get("/{name}", summary="One model", responses=_ERRORS)
async def describe_model(serving: ServingState, name: str, version: str | None = None) -> ModelDetail:
    """Labels, metrics, model card, preprocessing and origin of a model."""
    model = serving.repository.get(name, version)
    bundle, manifest = model.predictor.bundle, model.manifest
    return ModelDetail(
        **_summary(serving.repository, model).model_dump(),
        labels=list(manifest.labels),
        sparsity=manifest.sparsity,
        preprocessing=manifest.preprocessing,
        provenance=manifest.provenance,
        card=bundle.read_text(CARD),
        device=model.predictor.session.device,
    )


@router.get("/{name}/examples", summary="Inputs to try", responses=_ERRORS)
async def list_examples(serving: ServingState, name: str, version: str | None = None) -> Examples:
    """The model's golden examples, which it answered before it was served."""
    model = serving.repository.get(name, version)
    return Examples(kind=model.kind, inputs=[_shown(example.input) for example in model.golden_examples])


def _shown(given: GoldenInput) -> str:
    if isinstance(given, GoldenText):
        return given.text
    return " ".join(given.words) if isinstance(given, GoldenWords) else given.base64


def _summary(repository: Repository, model: ServedModel) -> ModelSummary:
    return ModelSummary(
        name=model.name,
        version=model.version,
        digest=model.digest,
        versions=repository.versions(model.name),
        kind=model.kind,
        task=model.manifest.task,
        class_count=len(model.manifest.labels),
        metrics=model.manifest.metrics,
        r_softmax=SoftmaxImplementation.model_validate(model.predictor.session.r_softmax),
    )
