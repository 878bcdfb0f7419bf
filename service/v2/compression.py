"""gzip and deflate: bodies that come compressed, answers that are wanted so."""

import zlib
from collections.abc import Mapping

from service.errors import BodyTooLarge, InvalidBody, UnsupportedMediaType

# What zlib calls the containers: a gzip member; a zlib stream, which HTTP calls deflate.
_CONTAINERS: Mapping[str, int] = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}

# The fastest: an answer is short, and its caller waits.
_LEVEL = 1


def decompressed(body: bytes, encoding: str, limit: int) -> bytes:
    """A body as it was before `Content-Encoding`; never more than `limit` bytes of it are unpacked.

    Raises:
        UnsupportedMediaType: neither gzip, deflate nor identity.
        BodyTooLarge: more than `limit` bytes.
        InvalidBody: not what the encoding says, or cut off, or followed by something else.
    """
    encoding = encoding.strip().lower()
    if encoding in {"", "identity"}:
        return body
    if encoding not in _CONTAINERS:
        raise UnsupportedMediaType(f"Content-Encoding must be gzip, deflate or identity, got {encoding[:80]!r}")
    unpacking = zlib.decompressobj(_CONTAINERS[encoding])
    try:
        content = unpacking.decompress(body, limit + 1)
    except zlib.error:
        raise InvalidBody(
            f"a body with Content-Encoding {encoding} must be {encoding}, it cannot be unpacked"
        ) from None
    if len(content) > limit:
        raise BodyTooLarge(f"a request's body must have at most {limit} bytes unpacked, got more", limit=limit)
    if not unpacking.eof or unpacking.unused_data:
        fault = "followed by more" if unpacking.eof else "cut off"
        raise InvalidBody(f"a body with Content-Encoding {encoding} must be one whole stream, got one that is {fault}")
    return content


def chosen_encoding(accept_encoding: str) -> str | None:
    """The encoding that a caller likes best, gzip before deflate; None where he did not ask for either."""
    weights = dict(_weight(part) for part in accept_encoding.lower().split(","))
    best = max(_CONTAINERS, key=lambda encoding: weights.get(encoding, 0.0))
    liked = weights.get(best, 0.0)
    return best if liked > 0 and liked >= weights.get("identity", 0.0) else None


def compressed(content: bytes, encoding: str) -> bytes:
    """An answer in one of the encodings."""
    packing = zlib.compressobj(_LEVEL, wbits=_CONTAINERS[encoding])
    return packing.compress(content) + packing.flush()


def _weight(part: str) -> tuple[str, float]:
    """`gzip;q=0.5` -> its name and its weight, 0 where that is no number."""
    name, _, parameter = part.partition(";")
    key, _, value = parameter.partition("=")
    try:
        return name.strip(), float(value) if key.strip() == "q" else 1.0
    except ValueError:
        return name.strip(), 0.0
