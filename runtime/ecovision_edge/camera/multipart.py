"""Parts of a multipart answer (RFC 2046, 5.1) as cameras send it: its lengths and boundary may be wrong."""

from __future__ import annotations

import re

from ecovision_edge.errors import CaptureError
from ecovision_edge.photographs.jpeg import JPEG_START, is_cut_off, jpeg_end

__all__ = ["MAX_PART_BYTES", "Parts"]

MAX_PART_BYTES = 32 * 2**20
_MAX_HEADER_BYTES = 2**16
_MAX_LINE = 200  # a boundary has at most 70 characters

_FIRST_LINE = re.compile(rb"\s*(?:(--[^\r\n]*[^\r\n\s-])[^\r\n]*\r?\n|[^-\s]|-[^-])")
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_LENGTH = re.compile(rb"^content-length[ \t]*:[ \t]*(\d{1,10})[ \t\r]*$", re.IGNORECASE | re.MULTILINE)
_END = b"\xff\xd9"


class Parts:
    """Finds whole parts in a stream of bytes, each as soon as its last byte is there.

    A part ends after its `Content-Length`; where there is none, or it is wrong, at the end marker of its JPEG
    picture, or before the next boundary. The boundary is the stream's first line, or the one that is
    declared, with its two dashes or without: some cameras declare another one than they send.

    Args:
        boundary: Declared boundary, for a stream that begins with something else; None without one.
    """

    def __init__(self, boundary: str | None) -> None:
        self._declared = boundary
        self._held = bytearray()
        self._delimiter: re.Pattern[bytes] | None = None
        self._in_part = False
        self._length: int | None = None  # of the part that is being read

    def feed(self, data: bytes) -> list[bytes]:
        """Take some bytes; the bodies of the parts that are whole with them, in order.

        Raises:
            CaptureError: it is no multipart stream, or a part is longer than `MAX_PART_BYTES`.
        """
        self._held += data
        found: list[bytes] = []
        while (body := self._next()) is not None:
            found.append(body)
        if len(self._held) > (MAX_PART_BYTES if self._in_part else _MAX_HEADER_BYTES):
            limit = "end of a part" if self._in_part else "boundary of multipart"
            raise CaptureError(f"no {limit} within {len(self._held)} bytes")
        return found

    def _next(self) -> bytes | None:
        if not self._in_part and not self._begin():
            return None
        body = self._body()
        if body is not None:
            self._in_part = False
        return body

    def _begin(self) -> bool:
        """Go past the headers of the next part; False while they are not all there."""
        if self._delimiter is None and not self._learn():
            return False
        assert self._delimiter is not None
        start = self._delimiter.search(self._held)
        blank = None if start is None else _BLANK_LINE.search(self._held, start.end())
        if start is None or blank is None:
            return False
        length = _LENGTH.search(self._held, start.end(), blank.start())
        # A length of 0 is an empty part, or a camera that does not know it.
        self._in_part, self._length = True, int(length[1]) or None if length else None
        del self._held[: blank.end()]
        return True

    def _learn(self) -> bool:
        """Read the boundary; False while its line is not all there."""
        first = _FIRST_LINE.match(self._held)
        if first is None:
            return False
        lines = [first[1]] if first[1] is not None else []
        if self._declared:
            declared = self._declared.encode("latin-1", "replace")
            lines.append(b"--" + declared)
            bare = re.match(rb"\s*(" + re.escape(declared) + rb")[ \t]*(\r?\n)?", self._held)
            if bare is not None and bare[2] is not None:
                lines = [declared]
            elif first[1] is None and b"\n" not in self._held.lstrip() and len(self._held) < _MAX_LINE:
                return False
        if not lines:
            raise CaptureError("a multipart answer without a boundary")
        self._delimiter = re.compile(rb"(?:^|\n)(?:" + b"|".join(map(re.escape, lines)) + rb")")
        return True

    def _body(self) -> bytes | None:
        """Take out the part's body; None while it is not all there."""
        assert self._delimiter is not None
        length = self._length
        if length is not None:
            whole = jpeg_end(self._held) if self._held.startswith(JPEG_START) else None
            if whole is None and len(self._held) < length:
                return None
            # A whole picture may hold what looks like a boundary, a comment of it for one.
            if (early := self._delimiter.search(self._held, whole or 1, length)) is not None:
                self._length = None  # it is too large
                return self._take(early.start())
            if len(self._held) < length:
                return None
            after = self._held[length : length + 2]
            if not is_cut_off(self._held[:length]) or after.startswith((b"\n", b"\r\n", b"--")):
                return self._take(length)
            if len(after) < 2:
                return None
            self._length = None  # it is too small, or a picture would end there
        if (next_one := self._delimiter.search(self._held)) is not None:
            return self._take(next_one.start())
        if self._held.startswith(JPEG_START) and self._held[-4:].rstrip(b"\r\n").endswith(_END):
            end = jpeg_end(self._held)
            return None if end is None else self._take(end)
        return None

    def _take(self, end: int) -> bytes:
        body = bytes(self._held[:end])
        del self._held[:end]
        return body.rstrip(b"\r\n") if self._length is None else body
