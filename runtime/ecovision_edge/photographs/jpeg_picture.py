"""A picture that came as JPEG: decoded when somebody asks for it, no larger than is asked for."""

from __future__ import annotations

import threading
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ecovision_edge.errors import ImageReadError
from ecovision_edge.photographs.image_size import image_kind, image_size
from ecovision_edge.photographs.images import Reduce, check_pixels, decode_image
from ecovision_edge.photographs.jpeg import check_whole, has_tables

__all__ = ["Finish", "JpegPicture", "as_small_as_can_be"]

Image = npt.NDArray[np.uint8]

_MAX_SIDE = 32767  # pixels; no frame may be longer
_HEAD = 2**16  # bytes in which EXIF is to be found: it is the first segment, or the second
_EXIF = b"Exif\0\0"


def as_small_as_can_be(height: int, width: int) -> int:
    """Ask for any pixels: for those that are there, if there are some."""
    return 8


class Finish(Protocol):
    """What is done to each picture once it is decoded: turn, mirror, cut."""

    @property
    def changes(self) -> bool:
        """Whether anything is done at all."""

    @property
    def cuts(self) -> bool:
        """Whether some of the picture is cut away."""

    def apply(self, image: Image) -> Image:
        """Return `(height, width, 3) uint8 BGR` of another; of a reduced one the same, reduced."""

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width that a picture of this size then has."""


class JpegPicture:
    """One picture as a camera or a file gave it, `(height, width, 3) uint8 BGR` once decoded.

    It is decoded once for whoever is content with what is there, and again, finer, for who is not. Several
    threads may use it; nobody changes the pixels.

    Args:
        data: A whole JPEG picture.
        name: Name for messages.
        finish: Done to it once it is decoded; None: nothing.

    Raises:
        ImageReadError: no JPEG, half of one, or one that is too large.
    """

    __slots__ = ("_by", "_data", "_finish", "_lock", "_name", "_pixels", "_shape", "_stored")

    def __init__(self, data: bytes, name: str, finish: Finish | None = None) -> None:
        data = data[: check_whole(data, name)]  # what stands behind it, such as a time, shows nothing
        size = image_size(data) if image_kind(data) == "JPEG" else None
        if size is None:
            raise ImageReadError(
                f"cannot decode {name}",
                expected="a whole JPEG image",
                found=f"{len(data)} bytes of something else",
            )
        check_pixels(size, name)
        if max(size) > _MAX_SIDE:
            raise ImageReadError(
                f"{name} is too large",
                expected=f"at most {_MAX_SIDE} pixels a side",
                found=f"{size[0]} x {size[1]} pixels",
            )
        self._data, self._name = data, name
        self._finish = finish if finish is not None and finish.changes else None
        self._stored = size[1], size[0]
        self._lock = threading.Lock()
        self._pixels: Image | None = None
        self._by = 0
        self._shape: tuple[int, int] | None = None

    def __repr__(self) -> str:
        width, height = reversed(self._stored)
        return f"<JpegPicture {self._name}: {width}x{height}, {len(self._data)} bytes>"

    @property
    def data(self) -> bytes:
        """The bytes, as they came, up to the end of the picture."""
        return self._data

    @property
    def jpeg(self) -> bytes | None:
        """The bytes, where they show what the pixels show and any program can read them; else None."""
        return self._data if self._finish is None and has_tables(self._data) else None

    @property
    def cut(self) -> bool:
        """Whether the pixels are only a part of what the bytes show."""
        return self._finish is not None and self._finish.cuts

    @property
    def decoded(self) -> bool:
        """Whether there are pixels already, of whatever size."""
        return self._pixels is not None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the whole picture, pixels; decodes it, reduced, where it may lie on its side.

        Raises:
            ImageReadError: it cannot be decoded.
        """
        if self._shape is None and len(sizes := self._sizes()) == 1:
            return sizes[0]
        self.reduced(as_small_as_can_be)
        assert self._shape is not None
        return self._shape

    def whole(self) -> Image:
        """Return all of its pixels; raises ImageReadError."""
        return self.reduced(lambda height, width: 1)

    def reduced(self, reduce: Reduce) -> Image:
        """Return the picture, at most so many times smaller than the whole one.

        The sides are what the decoder makes of them: of odd ones it rounds up.

        Args:
            reduce: Asked how small it may be, given height and width of the whole picture.

        Raises:
            ImageReadError: it cannot be decoded.
        """
        with self._lock:
            by = min(reduce(*size) for size in self._sizes())
            if self._pixels is None or by < self._by:
                self._decode(by)
                assert self._pixels is not None
            return self._pixels

    def _sizes(self) -> tuple[tuple[int, int], ...]:
        """Return the size of the whole picture; both that it may have while nobody knows how it is turned."""
        if self._shape is not None:
            return (self._shape,)
        height, width = self._stored
        lying = ((height, width),)
        turned = ((width, height),) if height != width and _EXIF in self._data[:_HEAD] else ()
        return tuple(self._finished(*size) for size in (*lying, *turned))

    def _finished(self, height: int, width: int) -> tuple[int, int]:
        return (height, width) if self._finish is None else self._finish.size(height, width)

    def _decode(self, by: int) -> None:
        image = decode_image(self._data, self._name, lambda height, width: by)
        height, width = self._stored
        if self._shape is None:
            turned = (image.shape[0] > image.shape[1]) != (height > width) and image.shape[0] != image.shape[
                1
            ]
            self._shape = self._finished(*((width, height) if turned else (height, width)))
        self._pixels, self._by = image if self._finish is None else self._finish.apply(image), by
