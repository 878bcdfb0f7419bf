"""The messages of the protocol: requests that come as them, answers that go as them."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from model.errors import LabelsetError
from model.predictor import Answer
from service.catalogue import Catalogue, ServedModel
from service.errors import InvalidInferRequest
from service.intake import Item, check_json_structure
from service.rpc import inference_pb2 as pb
from service.rpc.structure import check_structure
from service.v2.infer import Question, output_tensors
from service.v2.inputs import check_count, element_count, item_of
from service.v2.outputs import wanted_outputs
from service.v2.tensor import split_elements
from service.v2.wire import InferHead, invalid_head

# Of a request, besides its elements; a few dozen are used.
_MAX_PARTS = 10_000


def read_question(content: bytes, catalogue: Catalogue, max_batch_size: int) -> tuple[ServedModel, Question]:
    """Read an inference request: who shall answer, and what.

    Raises:
        DecodeError: it is no `ModelInferRequest`.
        ModelNotFound, VersionNotFound: there is nobody to answer.
        InvalidInferRequest, BodyTooLarge, BatchTooLarge: a request that breaks a rule.
    """
    check_structure(content, _MAX_PARTS + max_batch_size)
    request = pb.ModelInferRequest.FromString(content)
    model = catalogue.get(request.model_name, request.model_version or None)
    head = _head(request)
    wanted = wanted_outputs(model, head.outputs)
    return model, Question(head, _items(request, model, max_batch_size), wanted)


def write_answer(
    model: ServedModel, question: Question, outcomes: Sequence[Answer | LabelsetError]
) -> pb.ModelInferResponse:
    """The answer to an inference request; its tensors go as bytes.

    Raises:
        LabelsetError: the first input that could not be answered.
    """
    tensors = output_tensors(model, question, outcomes)
    return pb.ModelInferResponse(
        model_name=model.name,
        model_version=model.version,
        id=question.header.id,
        parameters={"digest": pb.InferParameter(string_param=model.digest)},
        outputs=[
            pb.ModelInferResponse.InferOutputTensor(
                name=tensor.name, datatype=tensor.datatype, shape=tensor.array.shape
            )
            for tensor in tensors
        ],
        raw_output_contents=[tensor.to_bytes() for tensor in tensors],
    )


def chosen(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters by name, each with the one value that was set of those that it may have."""
    kinds = {name: parameter.WhichOneof("parameter_choice") for name, parameter in parameters.items()}
    return {name: getattr(parameters[name], kind) for name, kind in kinds.items() if kind is not None}


def _head(request: pb.ModelInferRequest) -> InferHead:
    try:
        return InferHead.model_validate(
            {
                "id": request.id or None,
                "parameters": _values(request.parameters),
                "outputs": [{"name": one.name, "parameters": _values(one.parameters)} for one in request.outputs],
            }
        )
    except ValidationError as error:
        findings = error.errors(include_url=False, include_context=False, include_input=False)
        raise invalid_head(findings[0]) from None


def _values(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What parameters say. A string is JSON: a parameter cannot be a list, and some clients send no fractions."""
    return {
        name: _from_json(name, value) if isinstance(value, str) else value for name, value in chosen(parameters).items()
    }


def _from_json(name: str, value: str) -> Any:
    check_json_structure(value.encode())
    try:
        return from_json(value)
    except ValueError:
        raise InvalidInferRequest(
            f"parameter {name[:80]!r} must be a number, true or false, or JSON in a string, got {value[:80]!r}"
        ) from None


def _items(request: pb.ModelInferRequest, model: ServedModel, max_batch_size: int) -> list[Item]:
    count = element_count(request.inputs, model, max_batch_size)
    [tensor], raw = request.inputs, request.raw_input_contents
    elements: Sequence[bytes] = tensor.contents.bytes_contents
    if raw:
        if len(raw) != 1 or tensor.HasField("contents"):
            got = "both" if tensor.HasField("contents") else f"{len(raw)} of the latter"
            raise InvalidInferRequest(f"input {tensor.name!r} must have contents or raw_input_contents, got {got}")
        elements = split_elements(raw[0], count, tensor.name)
    check_count(tensor, count, len(elements))
    return [item_of(element, model) for element in elements]
