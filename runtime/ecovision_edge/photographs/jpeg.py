"""Where a JPEG picture ends: decoders fill what is missing of one that was cut off, and say nothing."""

from __future__ import annotations

import re

__all__ = ["JPEG_START", "is_cut_off", "jpeg_end"]

JPEG_START = b"\xff\xd8"

_SOI, _EOI = 0xD8, 0xD9
_FIRST_SEGMENT = 0xC0  # from here on markers have a length (ITU-T T.81, table B.1); those below are reserved
# In the data 0xff is followed by 0 or a restart marker (T.81, B.1.1.5); fill bytes may stand before a marker.
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")


def jpeg_end(data: bytes | bytearray, start: int = 0) -> int | None:
    """Return the index behind the end of the JPEG picture that starts at `start`; None if it has no end.

    Segments are stepped over by their lengths, so the end of an embedded thumbnail is not taken for it.
    """
    at = start + len(JPEG_START)
    while (match := _MARKER.search(data, at)) is not None:
        marker, at = match[1][0], match.end()
        if marker == _EOI:
            return at
        if marker == _SOI:  # another picture, before this one ended
            return None
        if marker >= _FIRST_SEGMENT:
            at += int.from_bytes(data[at : at + 2], "big")
            if at > len(data):
                return None
    return None


def is_cut_off(data: bytes | bytearray) -> bool:
    """Return whether the bytes begin as a JPEG picture and hold no end of it."""
    return data[:2] == JPEG_START and jpeg_end(data) is None
