"""How large an image file says it is, read as its decoder reads it, before a pixel is decoded.

OpenCV has no call for it. The format goes by the first bytes, as OpenCV itself goes by them, so that what is
measured here is what is decoded there; what is not known here is not to be decoded. Where a file says several
sizes (the tiles of a TIFF, the tracks of an AVIF) the largest counts: that is the memory it takes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable

__all__ = ["MAX_IMAGE_PIXELS", "image_kind", "image_size"]

MAX_IMAGE_PIXELS = 120_000_000
"""More than the 108 megapixels of most large telephones; decoded they take 360 MB, for a while twice that.

A PNG of 100 kB can say that it has 900 megapixels, and takes 5 GB while it is decoded.
"""

Size = tuple[int, int]

_KINDS = {
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "BMP": re.compile(rb"BM"),
    "GIF": re.compile(rb"GIF8[79]a"),
    "WebP": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
    "TIFF": re.compile(rb"II[*+]\0|MM\0[*+]"),
    "AVIF": re.compile(rb".{4}ftyp", re.DOTALL),
    "PNM": re.compile(rb"P[1-6]\s"),
}
_PNM = re.compile(rb"P[1-6]" + rb"(?:\s|#[^\n]*\n)+([0-9]{1,9})" * 2 + rb"\s")
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # starts of a JPEG's frame
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers of a JPEG that have no length
_TIFF_SIZES = {256: 0, 257: 1, 322: 2, 323: 3}  # width and height of the image, then of a tile
_TIFF_FORMS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 16: "Q", 17: "q"}  # whole numbers, by type
_TIFF_MOST_ENTRIES = 4096  # what libtiff takes, too
_AVIF_BOXES = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"moov": 0, b"trak": 0}  # with boxes after so many bytes
_AVIF_MOST_BOXES = 10_000


def image_kind(data: bytes) -> str | None:
    """Return `JPEG`, `PNG`, `BMP`, `WebP`, `TIFF`, `GIF`, `AVIF` or `PNM` by its first bytes; else None."""
    return next((kind for kind, pattern in _KINDS.items() if pattern.match(data)), None)


def image_size(data: bytes) -> Size | None:
    """Read width and height in pixels from the head of a file; of the largest part that is decoded.

    Returns:
        None if `image_kind` knows it not, or it ends before it says its size.
    """
    kind = image_kind(data)
    try:
        return None if kind is None else _READERS[kind](data)
    except (struct.error, IndexError):  # it ends too early
        return None


def _unpack(form: str, data: bytes, at: int) -> Size:
    width, height = struct.unpack_from(form, data, at)
    return int(width), int(height)


def _largest(sizes: Iterable[Size]) -> Size | None:
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def _gif(data: bytes) -> Size:
    return _unpack("<HH", data, 6)


def _pnm(data: bytes) -> Size | None:
    match = _PNM.match(data[:4096])
    return (int(match[1]), int(match[2])) if match else None


def _png(data: bytes) -> Size | None:
    return _unpack(">II", data, 16) if data[8:16] == b"\0\0\0\x0dIHDR" else None


def _jpeg(data: bytes) -> Size | None:
    """Read as libjpeg does, passing over what stands between segments; the frame precedes the first scan."""
    at = 2
    while True:
        at = data.find(b"\xff", at)
        if at < 0:
            return None
        while data[at] == 0xFF:
            at += 1
        marker, at = data[at], at + 1
        if marker in _SOF:
            height, width = _unpack(">HH", data, at + 3)
            return width, height
        if marker in (0xD9, 0xDA):  # the end, or a scan
            return None
        if marker and marker not in _ALONE:
            at += int(struct.unpack_from(">H", data, at)[0])


def _bmp(data: bytes) -> Size:
    """Read the size; a negative height is a picture from the top down."""
    (head,) = struct.unpack_from("<I", data, 14)
    width, height = _unpack("<HH" if head == 12 else "<ii", data, 18)
    return abs(width), abs(height)


def _webp(data: bytes) -> Size | None:
    kind = data[12:16]
    if kind == b"VP8X":
        wide, high = data[24:27], data[27:30]
        if len(high) < 3:
            return None
        return int.from_bytes(wide, "little") + 1, int.from_bytes(high, "little") + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = _unpack("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _tiff(data: bytes) -> Size | None:
    """Read the size of the first picture, the one that is decoded; a tile may be larger than its picture."""
    order, big = "<" if data[:1] == b"I" else ">", data[2:4] in (b"+\0", b"\0+")
    (at,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, 8 if big else 4)
    count_form, entry_bytes = ("Q", 20) if big else ("H", 12)
    (count,) = struct.unpack_from(f"{order}{count_form}", data, at)
    if count > _TIFF_MOST_ENTRIES:
        return None
    at += struct.calcsize(count_form)
    sides = [0, 0, 0, 0]
    for entry in range(at, at + count * entry_bytes, entry_bytes):
        tag, kind = struct.unpack_from(f"{order}HH", data, entry)
        if tag not in _TIFF_SIZES:
            continue
        form = _TIFF_FORMS.get(kind)
        if form is None or (struct.calcsize(form) > 4 and not big):
            return None
        (value,) = struct.unpack_from(f"{order}{form}", data, entry + (12 if big else 8))
        sides[_TIFF_SIZES[tag]] = max(sides[_TIFF_SIZES[tag]], int(value))
    return _largest([(sides[0], sides[1]), (sides[2], sides[3])]) if sides[0] and sides[1] else None


def _avif(data: bytes) -> Size | None:
    """Find the largest size among all pictures and tracks."""
    sizes: list[Size] = []
    spans = [(0, len(data))]  # that hold boxes
    for _ in range(_AVIF_MOST_BOXES):
        if not spans:
            return _largest(sizes)
        at, end = spans.pop()
        if at + 8 > end:
            continue
        length, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if length == 1:
            length, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        stop = end if length == 0 else min(end, at + length)
        inner = at + head
        if stop < inner:
            continue
        spans.append((stop, end))
        if kind in _AVIF_BOXES:
            spans.append((inner + _AVIF_BOXES[kind], stop))
        elif kind == b"ispe":
            sizes.append(_unpack(">II", data, inner + 4))
        elif kind == b"tkhd" and stop - 8 >= inner:  # 16.16, at its end
            width, height = _unpack(">II", data, stop - 8)
            sizes.append((width >> 16, height >> 16))
    return None


_READERS: dict[str, Callable[[bytes], Size | None]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "BMP": _bmp,
    "GIF": _gif,
    "WebP": _webp,
    "TIFF": _tiff,
    "AVIF": _avif,
    "PNM": _pnm,
}
