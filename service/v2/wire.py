"""The body of an inference request and of its answer: JSON, and behind it the tensors that go as bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json

from service.errors import InvalidInferRequest, InvalidJson, invalid_request
from service.intake import check_json_structure
from service.v2.tensor import Tensor
from service.wishes import WishFields

HEADER_LENGTH = "Inference-Header-Content-Length"

# Python's integers have no end; the protocol's do.
_Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]
_Size = Annotated[_Int64, Field(ge=0)]


class _Part(BaseModel):
    # A key that is not known may be that of an extension; only among parameters it is a wish that would go unheard.
    model_config = ConfigDict(strict=True)


class InputParameters(_Part):
    """Of an input; a client may add hints of its own, such as MLServer's `content_type`."""

    binary_data_size: _Size | None = None


class RequestedInput(_Part):
    """An input: its data stand here, or behind the JSON."""

    name: str
    datatype: str
    shape: list[_Size]
    parameters: InputParameters = InputParameters()
    data: list[Any] | None = None


class OutputParameters(_Part, extra="forbid"):
    """How an output is wanted: as bytes, as the k most probable classes (0: as it is)."""

    binary_data: bool | None = None
    classification: _Size = 0


class RequestedOutput(_Part):
    """An output that the caller wants."""

    name: str
    parameters: OutputParameters = OutputParameters()


class OwnParameters(_Part, WishFields, extra="forbid"):
    """What a caller wishes for one input."""


class RequestParameters(_Part, WishFields, extra="forbid"):
    """What a caller wishes for all inputs, and for each."""

    wishes: list[OwnParameters] | None = None
    binary_data_output: bool = False
    # Clients can send them. They change nothing, as with a Triton model that has no priority levels.
    priority: _Int64 | None = None
    timeout: _Int64 | None = None


class InferHead(_Part):
    """What an inference request says besides its inputs."""

    id: str | None = None
    parameters: RequestParameters = RequestParameters()
    outputs: list[RequestedOutput] = []


class InferJson(InferHead):
    """The JSON of an inference request."""

    inputs: list[RequestedInput]


@dataclass(frozen=True)
class InferRequest:
    """An inference request, its tensors found but not read.

    Attributes:
        header: The JSON.
        contents: Of each input its bytes, None where its data stand in the JSON.
    """

    header: InferJson
    contents: Sequence[bytes | None]


def parse_header_length(value: str, body_length: int) -> int:
    """Where the JSON of a body ends.

    Raises:
        InvalidInferRequest: not a number, or more than there is.
    """
    # isdigit alone takes more than int does, and int more than HTTP does.
    if not (value.isascii() and value.isdigit() and len(value) < 20 and int(value) <= body_length):
        raise InvalidInferRequest(
            f"{HEADER_LENGTH} must be a number of bytes, at most the {body_length} of the body, got {value[:80]!r}"
        )
    return int(value)


def parse_request(body: bytes, header_length: int) -> InferRequest:
    """Read a body that begins with `header_length` bytes of JSON.

    Raises:
        InvalidJson: the JSON is none.
        BodyTooLarge: it has more values than are read.
        InvalidInferRequest: it has another structure, or its tensors do not fill the rest of the body.
    """
    header = _parse_json(body[:header_length])
    contents: list[bytes | None] = []
    position = header_length
    for tensor in header.inputs:
        size = tensor.parameters.binary_data_size
        if (size is None) == (tensor.data is None):
            got = "neither" if size is None else "both"
            raise InvalidInferRequest(f"input {tensor.name[:80]!r} must have data or binary_data_size, got {got}")
        if size is not None and size > len(body) - position:
            raise InvalidInferRequest(
                f"input {tensor.name[:80]!r} must have {size} bytes behind the JSON by its binary_data_size, "
                f"got {len(body) - position}"
            )
        contents.append(None if size is None else body[position : position + size])
        position += size or 0
    if position != len(body):
        raise InvalidInferRequest(f"a body must end with its last tensor, got {len(body) - position} bytes after it")
    return InferRequest(header, contents)


def encode_answer(head: dict[str, Any], tensors: Sequence[tuple[Tensor, bool]]) -> tuple[bytes, int | None]:
    """The body of an answer.

    Args:
        head: What stands before the outputs.
        tensors: The outputs, and whether each goes as bytes.

    Returns:
        The body, and the length of its JSON where tensors follow as bytes.
    """
    outputs: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for tensor, as_bytes in tensors:
        output = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.array.shape}
        if as_bytes:
            binary.append(tensor.to_bytes())
            outputs.append({**output, "parameters": {"binary_data_size": len(binary[-1])}})
        else:
            outputs.append({**output, "data": tensor.to_json()})
    json = to_json({**head, "outputs": outputs})
    return json + b"".join(binary), len(json) if binary else None


def _parse_json(content: bytes) -> InferJson:
    check_json_structure(content)
    try:
        return InferJson.model_validate_json(content)
    except ValidationError as error:
        findings = error.errors(include_url=False, include_context=False, include_input=False)
        if findings[0]["type"] == "json_invalid":
            raise InvalidJson(findings[0]["msg"]) from None
        raise invalid_head(findings[0]) from None


def invalid_head(finding: Any) -> InvalidInferRequest:
    """The error of what pydantic has found in a request; of a parameter it names those that are known."""
    if finding["type"] == "extra_forbidden":
        *where, name = finding["loc"]
        known: type[_Part] = OutputParameters if where[0] == "outputs" else RequestParameters
        what = "a parameter"
        if "wishes" in where:
            known, what = OwnParameters, f"a wish for element {where[-1]}"
        return InvalidInferRequest(f"{what} must be one of {list(known.model_fields)}, got {str(name)[:80]!r}")
    return InvalidInferRequest(invalid_request([finding]).message)
