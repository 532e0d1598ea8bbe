"""Where a JPEG picture ends: decoders fill what is missing of one that was cut off, and say nothing."""

from __future__ import annotations

import re

from ecovision_edge.errors import ImageReadError

__all__ = ["JPEG_START", "check_whole", "has_tables", "is_cut_off", "jpeg_end", "jpeg_scans"]

JPEG_START = b"\xff\xd8"

_SOI, _EOI = 0xD8, 0xD9
_DHT, _SOS = 0xC4, 0xDA
_FIRST_SEGMENT = 0xC0  # from here on markers have a length (ITU-T T.81, table B.1); those below are reserved
# In the data 0xff is followed by 0 or a restart marker (T.81, B.1.1.5); fill bytes may stand before a marker.
# The first byte stands alone: `re` then leaps to it, and takes a tenth of the time that `\xff+` takes.
_MARKER = re.compile(rb"\xff\xff*([^\x00\xff\xd0-\xd7])")


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


def check_whole(data: bytes, name: str) -> int:
    """Refuse half a JPEG: OpenCV before 4.12 would fill what is missing with grey.

    Returns:
        The index behind the end of the picture; of another format, of the bytes.

    Raises:
        ImageReadError: the bytes begin as a JPEG picture and hold no end of it.
    """
    end = jpeg_end(data) if data[:2] == JPEG_START else len(data)
    if end is None:
        raise ImageReadError(
            f"cannot decode {name}",
            expected="a whole JPEG image",
            found=f"the first {len(data)} bytes of one: its end is missing",
        )
    return end


def jpeg_scans(data: bytes) -> int:
    """Return the index of the first scan of a JPEG picture: from there on is what it shows; 0 without one."""
    return _head(data)[0]


def has_tables(data: bytes) -> bool:
    """Return whether the picture brings its Huffman tables: those of USB cameras often leave them out."""
    return _head(data)[1]


def _head(data: bytes) -> tuple[int, bool]:
    """Step over the segments before the first scan: where that begins, and whether tables came before it."""
    at, tables = len(JPEG_START), False
    while (match := _MARKER.search(data, at)) is not None:
        marker, at = match[1][0], match.end()
        if marker == _SOS:
            return match.start(), tables
        if marker in (_SOI, _EOI):
            break
        tables = tables or marker == _DHT
        if marker >= _FIRST_SEGMENT:
            at += int.from_bytes(data[at : at + 2], "big")
    return 0, tables
