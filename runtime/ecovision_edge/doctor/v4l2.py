"""What a device of Video4Linux says of itself, asked by its ioctls; nothing is changed, no picture taken.

Sources: the kernel's userspace-api/media/v4l (VIDIOC_QUERYCAP, VIDIOC_ENUM_FMT, VIDIOC_ENUM_FRAMESIZES) and
`linux/videodev2.h`, whose structures are the same on 32 and 64 bits.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["Capture", "Ioctl", "Mode", "read_capture"]

Ioctl = Callable[[int, int, bytearray], int]
"""Asks a driver: a file, a request, and the structure, which is changed in its place. Raises OSError."""

QUERYCAP = 0x80685600  # _IOR('V', 0, struct v4l2_capability of 104 bytes)
ENUM_FMT = 0xC0405602  # _IOWR('V', 2, struct v4l2_fmtdesc of 64 bytes)
ENUM_FRAMESIZES = 0xC02C564A  # _IOWR('V', 74, struct v4l2_frmsizeenum of 44 bytes)

_CAPTURE, _CAPTURE_MPLANE, _M2M, _M2M_MPLANE, _DEVICE_CAPS = 1, 0x1000, 0x8000, 0x4000, 1 << 31
_MOST = 64  # formats of a device, and sizes of a format


class Mode(NamedTuple):
    """A format (`MJPG`) and the largest size that it has, 0 x 0 if the driver does not say."""

    fourcc: str
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.fourcc} to {self.width}x{self.height}" if self.width else self.fourcc


class Capture(NamedTuple):
    """A device that gives pictures: its driver, its name, where it is, and its modes."""

    driver: str
    card: str
    bus: str
    modes: tuple[Mode, ...]


def read_capture(device: Path, ioctl: Ioctl = fcntl.ioctl) -> Capture | None:
    """Ask a device; None if it gives no pictures: metadata, an output, a codec.

    Raises:
        OSError: it cannot be opened, or is no device of Video4Linux.
    """
    file = os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        told = bytearray(104)
        ioctl(file, QUERYCAP, told)
        driver, card, bus, _, every, own = struct.unpack_from("=16s32s32sIII", told)
        caps = own if every & _DEVICE_CAPS else every
        if not caps & (_CAPTURE | _CAPTURE_MPLANE) or caps & (_M2M | _M2M_MPLANE):
            return None
        kind = 1 if caps & _CAPTURE else 9  # V4L2_BUF_TYPE_VIDEO_CAPTURE, ..._MPLANE
        modes = tuple(_mode(file, pixels, ioctl) for pixels in _formats(file, kind, ioctl))
        return Capture(_text(driver), _text(card), _text(bus), modes)
    finally:
        os.close(file)


def _formats(file: int, kind: int, ioctl: Ioctl) -> Iterator[int]:
    for index in range(_MOST):
        told = bytearray(struct.pack("=II56x", index, kind))
        try:
            ioctl(file, ENUM_FMT, told)
        except OSError:  # there is none of this number
            return
        yield struct.unpack_from("=I", told, 44)[0]


def _mode(file: int, pixels: int, ioctl: Ioctl) -> Mode:
    """Return the largest size of a format."""
    best = (0, 0)
    for index in range(_MOST):
        told = bytearray(struct.pack("=II36x", index, pixels))
        try:
            ioctl(file, ENUM_FRAMESIZES, told)
        except OSError:
            break
        (kind,) = struct.unpack_from("=I", told, 8)
        # One size; or a range, which is minimum, maximum and step of the width, then of the height.
        size = struct.unpack_from("=II" if kind == 1 else "=4xI4x4xI", told, 12)
        best = max(best, size, key=lambda s: s[0] * s[1])
        if kind != 1:
            break
    name = struct.pack("<I", pixels & 0x7FFFFFFF).decode("ascii", "replace").strip()
    return Mode(name if name.isprintable() else hex(pixels), *best)


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("utf-8", "replace")
