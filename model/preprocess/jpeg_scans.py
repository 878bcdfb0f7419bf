"""How many scans a JPEG file has: each is a pass over all pixels, and may be nine bytes small."""

import re

_START_OF_SCAN = b"\xff\xda"
_END_OF_IMAGE = 0xD9
# What a decoder stops at: neither a byte that only looks like a marker, nor those that have no segment.
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")
# Tables stand between scans: a few to each.
_SEGMENTS_OF_A_SCAN = 10


def has_more_scans(content: bytes, first_scan: int, limit: int) -> bool:
    """Whether a file has more scans than that, as a decoder comes across them.

    Args:
        content: The file.
        first_scan: Where the data of its first scan begin.
        limit: A number of scans. A file that has ten times as many segments after its first scan is not read on, and
            has more.
    """
    if content.count(_START_OF_SCAN, first_scan) < limit:
        return False
    # Not all of those need be scans: a telephone puts a film behind the picture, and any bytes may stand there.
    scans, position = 1, first_scan
    for _ in range(limit * _SEGMENTS_OF_A_SCAN):
        marker = _MARKER.search(content, position)
        if marker is None or marker[1][0] == _END_OF_IMAGE:
            return False
        scans += marker[0] == _START_OF_SCAN
        if scans > limit:
            return True
        position = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2], "big")
    return True
