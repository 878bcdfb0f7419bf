"""What is served here."""

from typing import Any

from fastapi import APIRouter

from model.golden import GoldenInput, GoldenText, GoldenWords
from service.catalogue import Catalogue, ServedModel
from service.routes.state import InferringState
from service.schemas import ErrorAnswer, Examples, ModelDetail, ModelList, ModelSummary, SoftmaxImplementation

router = APIRouter(prefix="/models", tags=["models"])

_ERRORS: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorAnswer, "description": "`model_not_found`, `version_not_found`"},
    422: {"model": ErrorAnswer, "description": "`invalid_request`"},
}


@router.get("", summary="All models")
async def list_models(serving: InferringState) -> ModelList:
    """Every model in its default version, the newest."""
    catalogue = serving.catalogue
    return ModelList(models=[_summary(catalogue, model) for model in catalogue])


@router.get("/{name}", summary="One model", responses=_ERRORS)
async def describe_model(serving: InferringState, name: str, version: str | None = None) -> ModelDetail:
    """Labels, metrics, model card, preprocessing and origin of a model."""
    catalogue = serving.catalogue
    model = catalogue.get(name, version)
    manifest = model.manifest
    return ModelDetail(
        **_summary(catalogue, model).model_dump(),
        labels=list(manifest.labels),
        sparsity=manifest.sparsity,
        preprocessing=manifest.preprocessing,
        provenance=manifest.provenance,
        card=model.card,
        device=model.facts.device,
    )


@router.get("/{name}/examples", summary="Inputs to try", responses=_ERRORS)
async def list_examples(serving: InferringState, name: str, version: str | None = None) -> Examples:
    """The model's golden examples, which it answered before it was served."""
    model = serving.catalogue.get(name, version)
    return Examples(kind=model.kind, inputs=[_shown(example.input) for example in model.facts.golden_examples])


def _shown(given: GoldenInput) -> str:
    if isinstance(given, GoldenText):
        return given.text
    return " ".join(given.words) if isinstance(given, GoldenWords) else given.base64


def _summary(catalogue: Catalogue, model: ServedModel) -> ModelSummary:
    return ModelSummary(
        name=model.name,
        version=model.version,
        digest=model.digest,
        versions=catalogue.versions(model.name),
        kind=model.kind,
        task=model.manifest.task,
        class_count=len(model.manifest.labels),
        metrics=model.manifest.metrics,
        r_softmax=SoftmaxImplementation.model_validate(model.facts.r_softmax),
    )
