"""The chunks of an HTTP body of unknown length (RFC 9112, 7.1), taken apart as they come.

`http.client` does so too, but waits for the next chunk where one has just ended; who wants the newest of
several pictures would wait so for ever, always between two of them.
"""

from __future__ import annotations

import http.client

__all__ = ["Chunks"]

_MAX_LINE = 2**12  # bytes of a chunk's length with its extensions


class Chunks:
    """Gives the content of a stream of chunks; never waits, for it is fed."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._left = 0  # bytes of the chunk that is being read
        self._ended_one = False  # whose line break has not come
        self.ended = False
        """Whether the last chunk was there."""

    def feed(self, data: bytes) -> bytes:
        """Take some bytes; the content that is in them, which may be none.

        Raises:
            http.client.HTTPException: they are no chunks.
        """
        self._held += data
        content = bytearray()
        while not self.ended and self._held:
            if self._left:
                content += self._held[: self._left]
                taken = min(self._left, len(self._held))
                del self._held[:taken]
                self._left -= taken
                self._ended_one = not self._left
            elif not self._begin():
                break
        return bytes(content)

    def _begin(self) -> bool:
        """Go past the line before the next chunk; False while it is not all there."""
        end = self._held.find(b"\n")
        if end < 0:
            if len(self._held) > _MAX_LINE:
                raise http.client.LineTooLong("length of a chunk")
            return False
        line = bytes(self._held[:end]).partition(b";")[0].strip()
        del self._held[: end + 1]
        if self._ended_one:
            self._ended_one = False
            if not line:
                return True
        try:
            self._left = int(line, 16)
        except ValueError:
            raise http.client.HTTPException("a chunk without a length") from None
        if self._left < 0:
            raise http.client.HTTPException("a chunk of a length below 0")
        self.ended = self._left == 0
        return True
