"""The one input of a model, a BYTES tensor -> the files or texts in it."""

from collections.abc import Sequence
from typing import Any, Protocol

from service.catalogue import ServedModel
from service.errors import InvalidInferRequest, batch_too_large
from service.intake import Item, decoded_base64, decoded_text
from service.v2.tensor import split_elements
from service.v2.wire import InferRequest, RequestedInput


class InputHead(Protocol):
    """What a request says of an input, however it is carried."""

    name: str
    datatype: str

    @property
    def shape(self) -> Sequence[int]:
        """Its dimensions."""
        ...


def element_count(inputs: Sequence[InputHead], model: ServedModel, max_batch_size: int) -> int:
    """How many elements the one input of a request has by its shape.

    Raises:
        InvalidInferRequest: not one input of the model's name, datatype and shape.
        BatchTooLarge: more than `max_batch_size` elements.
    """
    names = [tensor.name[:80] for tensor in inputs[:10]]
    if names != [model.kind]:
        raise InvalidInferRequest(f"{model.name} must be given one input, {model.kind!r}, got {names}")
    [tensor] = inputs
    if tensor.datatype != "BYTES":
        raise InvalidInferRequest(
            f"datatype of input {tensor.name!r} must be BYTES, whole files or texts, got {tensor.datatype[:80]!r}"
        )
    shape = list(tensor.shape[:10])
    if len(shape) not in (1, 2) or shape[1:] not in ([], [1]):
        raise InvalidInferRequest(f"shape of input {tensor.name!r} must be [B] or [B, 1], got {shape}")
    if shape[0] < 1:
        raise InvalidInferRequest(f"input {tensor.name!r} must hold at least one element, got shape {shape}")
    if shape[0] > max_batch_size:
        raise batch_too_large(max_batch_size)
    return shape[0]


def check_count(tensor: InputHead, expected: int, given: int) -> None:
    """Refuse an input with another number of elements than its shape says.

    Raises:
        InvalidInferRequest: more or fewer.
    """
    if given != expected:
        raise InvalidInferRequest(
            f"input {tensor.name!r} must hold {expected} elements by its shape {list(tensor.shape)}, got {given}"
        )


def items_of(request: InferRequest, model: ServedModel, max_batch_size: int) -> list[Item]:
    """The inputs of a request over HTTP; one that cannot even be read takes part as its own error.

    Raises:
        InvalidInferRequest: not one input of the model's name, datatype and shape, or data that do not fit them.
        BatchTooLarge: more than `max_batch_size` elements.
    """
    count = element_count(request.header.inputs, model, max_batch_size)
    [tensor], [content] = request.header.inputs, request.contents
    if content is not None:
        return [item_of(element, model) for element in split_elements(content, count, tensor.name)]
    return [_item_of_json(element, model) for element in _json_elements(tensor, count)]


def item_of(content: bytes, model: ServedModel) -> Item:
    """The bytes of one element: a file, or a text in UTF-8."""
    return decoded_text(content) if model.kind == "text" else content


def _item_of_json(content: str, model: ServedModel) -> Item:
    if model.kind == "text":
        return content
    return decoded_base64(content, "an image" if model.kind == "image" else "a recording")


def _json_elements(tensor: RequestedInput, count: int) -> Sequence[str]:
    data: list[Any] = tensor.data or []
    if len(tensor.shape) == 2 and all(isinstance(row, list) and len(row) == 1 for row in data):
        data = [element for [element] in data]  # nested as the shape is; flat data are as good
    check_count(tensor, count, len(data))
    for index, element in enumerate(data):
        if not isinstance(element, str):
            raise InvalidInferRequest(
                f"element {index} of input {tensor.name!r} must be a string, got {type(element).__name__}"
            )
    return data
