"""A tensor of the Open Inference Protocol, and its data as JSON and as bytes."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from service.errors import InvalidInferRequest

_DATATYPES: Mapping[str, str] = {"int64": "INT64", "float32": "FP32", "object": "BYTES"}
# Before each element of a BYTES tensor stands its length.
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Tensor:
    """An output.

    Attributes:
        name: What the protocol calls it.
        array: int64, float32, or object whose elements are UTF-8 as `bytes`.
    """

    name: str
    array: npt.NDArray[Any]

    @property
    def datatype(self) -> str:
        """The protocol's name for the type of the elements."""
        return _DATATYPES[self.array.dtype.name]

    def to_json(self) -> list[Any]:
        """The elements, flat and row by row."""
        elements = self.array.ravel().tolist()
        return [element.decode() for element in elements] if self.datatype == "BYTES" else elements

    def to_bytes(self) -> bytes:
        """The elements as the binary extension lays them out: little-endian, row by row, BYTES with their lengths."""
        if self.datatype == "BYTES":
            return b"".join(_LENGTH.pack(len(element)) + element for element in self.array.ravel())
        return self.array.astype(self.array.dtype.newbyteorder("<"), copy=False).tobytes()


def split_elements(content: bytes, count: int, name: str) -> list[bytes]:
    """The elements of a BYTES tensor, of which there must be as many as its shape says.

    Raises:
        InvalidInferRequest: an element goes over the end, or the last one ends before it.
    """
    elements: list[bytes] = []
    position = 0
    for index in range(count):
        start = position + _LENGTH.size
        # A length that is itself cut off counts as one of 0.
        length = _LENGTH.unpack_from(content, position)[0] if start <= len(content) else 0
        position = start + length
        if position > len(content):
            raise InvalidInferRequest(
                f"element {index} of input {name!r} must end within the tensor's {len(content)} bytes, "
                f"by its length it ends at {position}"
            )
        elements.append(content[start:position])
    if position < len(content):
        raise InvalidInferRequest(
            f"input {name!r} must hold {count} elements by its shape, got {len(content) - position} bytes after them"
        )
    return elements
