"""The structure of an inference request, looked at before a parser makes objects of it.

A part of a message may take two bytes on the wire and a hundred in memory: 64 MiB of empty inputs become 3 GB. The walk
reads tags and lengths alone, and ends where there are too many. What is malformed it leaves to the parser.
"""

from collections.abc import Mapping
from typing import Any

from service.errors import BodyTooLarge

_VARINT, _FIXED_64, _LENGTH, _FIXED_32 = 0, 1, 2, 5
_PACKED = "numbers, one a byte or more"
# Numbers of the fields to look into: `inputs` with `shape` and `contents`, `outputs`.
_INSIDE: Mapping[int, Any] = {5: {3: _PACKED, 5: {}}, 6: {}}


def check_structure(content: bytes, max_parts: int) -> None:
    """Refuse an inference request of a great many parts: fields, and numbers of a shape.

    Raises:
        BodyTooLarge: more than `max_parts`.
    """
    if len(content) <= max_parts:  # every part takes a byte at least
        return
    try:
        left = _parts_left(content, 0, len(content), _INSIDE, max_parts)
    except IndexError:  # cut off, or no number
        return
    if left < 0:
        raise BodyTooLarge(f"a message must have at most {max_parts} parts, got more", limit=max_parts)


def _parts_left(content: bytes, start: int, end: int, inside: Mapping[int, Any], left: int) -> int:
    """What is left of a number of parts after a message; below 0 where there are more."""
    while start < end and left >= 0:
        tag, start = _varint(content, start)
        number, kind = tag >> 3, tag & 7
        left -= 1
        if kind == _VARINT:
            _, start = _varint(content, start)
        elif kind == _FIXED_64:
            start += 8
        elif kind == _FIXED_32:
            start += 4
        elif kind == _LENGTH:
            length, start = _varint(content, start)
            parts = inside.get(number)
            if parts is _PACKED:
                left -= length
            elif parts is not None:
                left = _parts_left(content, start, min(start + length, end), parts, left)
            start += length
    return left


def _varint(content: bytes, start: int) -> tuple[int, int]:
    """A number, of at most ten bytes, and where it ends; IndexError where it does not."""
    value = 0
    for place in range(10):
        byte = content[start + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, start + place + 1
    raise IndexError
