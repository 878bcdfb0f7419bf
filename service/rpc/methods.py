"""What each call of the protocol does, in the words of `service/v2/`."""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, TypeVar

import grpc
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from pydantic import BaseModel, ValidationError

from model.errors import LabelsetError
from service.access.caller import Caller
from service.access.keys import Scope
from service.administration import LoadParameters, UnloadParameters, entries, require_admin
from service.catalogue import ModelNotFound, VersionNotFound
from service.errors import NotReady, invalid_request
from service.metrics import Metrics
from service.routes.health import installed_version, require_ready
from service.routes.state import Serving
from service.rpc import inference_pb2 as pb
from service.rpc.calls import Calls, Outcome, Work
from service.rpc.messages import chosen, read_question, write_answer
from service.threads import LARGE_BYTES, computed
from service.v2.metadata import model_config, model_metadata, server_metadata
from service.v2.statistics import model_statistics

T = TypeVar("T", bound=BaseModel)

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name


class Methods:
    """The calls; each takes the bytes of its message."""

    def __init__(self, serving: Serving, metrics: Metrics, is_leaving: Callable[[], bool]) -> None:
        self._serving = serving
        self._metrics = metrics
        self._is_leaving = is_leaving

    def handler(self, calls: Calls) -> grpc.GenericRpcHandler:
        """The service, as the library wants it."""
        simple: dict[str, tuple[Scope | None, Work]] = {
            "ServerLive": (None, self._server_live),
            "ServerReady": (None, self._server_ready),
            "ModelReady": ("infer", self._model_ready),
            "ServerMetadata": ("infer", self._server_metadata),
            "ModelMetadata": ("infer", self._model_metadata),
            "ModelConfig": ("infer", self._model_config),
            "ModelStatistics": ("infer", self._model_statistics),
            "RepositoryIndex": ("admin", self._repository_index),
            "RepositoryModelLoad": ("admin", self._repository_model_load),
            "RepositoryModelUnload": ("admin", self._repository_model_unload),
        }
        admit = self._serving.pipeline.admission.require_a_place
        handlers = {name: calls.unary(_path(name), scope, work) for name, (scope, work) in simple.items()}
        handlers["ModelInfer"] = calls.unary(_path("ModelInfer"), "infer", self._model_infer, admit)
        handlers["ModelStreamInfer"] = calls.stream(_path("ModelStreamInfer"), "infer", self._model_infer, _in_stream)
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def _seen_by(self, caller: Caller) -> Serving:
        return replace(self._serving, caller=caller)

    async def _server_live(self, content: bytes, caller: Caller) -> Message:
        return pb.ServerLiveResponse(live=True)

    async def _server_ready(self, content: bytes, caller: Caller) -> Message:
        try:
            require_ready(self._serving, self._is_leaving())
        except NotReady:
            return pb.ServerReadyResponse(ready=False)
        return pb.ServerReadyResponse(ready=True)

    async def _model_ready(self, content: bytes, caller: Caller) -> Message:
        serving = self._seen_by(caller)
        request = pb.ModelReadyRequest.FromString(content)
        try:
            serving.catalogue.get(request.name, request.version or None)
        except (ModelNotFound, VersionNotFound):
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    async def _server_metadata(self, content: bytes, caller: Caller) -> Message:
        described = server_metadata(installed_version(), self._serving.settings.admin)
        return ParseDict(described, pb.ServerMetadataResponse())

    async def _model_metadata(self, content: bytes, caller: Caller) -> Message:
        serving = self._seen_by(caller)
        request, catalogue = pb.ModelMetadataRequest.FromString(content), serving.catalogue
        model = catalogue.get(request.name, request.version or None)
        return ParseDict(model_metadata(catalogue, model), pb.ModelMetadataResponse())

    async def _model_config(self, content: bytes, caller: Caller) -> Message:
        serving = self._seen_by(caller)
        request = pb.ModelConfigRequest.FromString(content)
        model = serving.catalogue.get(request.name, request.version or None)
        config = model_config(model, serving.settings.max_batch_size)
        return ParseDict({"config": config}, pb.ModelConfigResponse())

    async def _model_statistics(self, content: bytes, caller: Caller) -> Message:
        serving = self._seen_by(caller)
        request = pb.ModelStatisticsRequest.FromString(content)
        models = serving.catalogue.select(request.name or None, request.version or None)
        return ParseDict(model_statistics(models, self._metrics), pb.ModelStatisticsResponse())

    async def _model_infer(self, content: bytes, caller: Caller) -> Message:
        serving = self._seen_by(caller)
        model, question = await computed(
            len(content) > LARGE_BYTES, read_question, content, serving.catalogue, serving.settings.max_batch_size
        )
        answers = await serving.pipeline.answer(model, question.items, question.wishes)
        return await computed(question.is_dense, write_answer, model, question, answers)

    async def _repository_index(self, content: bytes, caller: Caller) -> Message:
        serving = self._seen_by(caller)
        require_admin(serving.settings)
        request = pb.RepositoryIndexRequest.FromString(content)
        found = [entry for entry in await entries(serving.repository, request.ready) if caller.may_use(entry.name)]
        return pb.RepositoryIndexResponse(
            models=[pb.RepositoryIndexResponse.ModelIndex(**asdict(entry)) for entry in found]
        )

    async def _repository_model_load(self, content: bytes, caller: Caller) -> Message:
        serving = self._seen_by(caller)
        require_admin(serving.settings)
        request = pb.RepositoryModelLoadRequest.FromString(content)
        caller.require_model(request.model_name)
        wish = _read(LoadParameters, request.parameters)
        await serving.repository.load(request.model_name, wish.version)
        return pb.RepositoryModelLoadResponse()

    async def _repository_model_unload(self, content: bytes, caller: Caller) -> Message:
        serving = self._seen_by(caller)
        require_admin(serving.settings)
        request = pb.RepositoryModelUnloadRequest.FromString(content)
        caller.require_model(request.model_name)
        wish = _read(UnloadParameters, request.parameters)
        await serving.repository.unload(request.model_name, wish.version)
        return pb.RepositoryModelUnloadResponse()


def _path(name: str) -> str:
    return f"/{SERVICE}/{name}"


def _in_stream(outcome: Outcome) -> Message:
    """An answer on a stream, where an error is no end."""
    if isinstance(outcome, LabelsetError):
        return pb.ModelStreamInferResponse(error_message=outcome.message)
    return pb.ModelStreamInferResponse(infer_response=outcome)


def _read(model: type[T], parameters: Any) -> T:
    try:
        return model.model_validate(chosen(parameters))
    except ValidationError as error:
        raise invalid_request(error.errors(include_url=False)) from None
