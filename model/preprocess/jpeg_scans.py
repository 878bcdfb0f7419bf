"""How many scans a JPEG file has: each is a pass over all pixels, and may be nine bytes small."""

import re

_START_OF_SCAN = b"\xff\xda"
_END_OF_IMAGE = 0xD9
# Markers that have a segment, and the end. A decoder passes over all others, and goes on behind them at once.
_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")
_FIRST_SEGMENT = 2
# Tables stand between scans: a few to each.
_SEGMENTS_OF_A_SCAN = 10


def count_scans(content: bytes, limit: int) -> int:
    """No fewer scans than a file has, as a decoder comes across them; of more than `limit`, one more than that.

    Args:
        content: The file.
        limit: A number of scans. A file that may have more, and has ten times as many segments, is taken to have more.
    """
    most = content.count(_START_OF_SCAN)
    if most <= limit:
        return most
    # Not all of those need be scans: a telephone puts a film behind the picture, and any bytes may stand there.
    scans, position = 0, _FIRST_SEGMENT
    for _ in range(limit * _SEGMENTS_OF_A_SCAN):
        marker = _MARKER.search(content, position)
        if marker is None or marker[1][0] == _END_OF_IMAGE:
            return scans
        scans += marker[0] == _START_OF_SCAN
        if scans > limit:
            break
        position = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2], "big")
    return limit + 1
