"""Cameras of the kernel's Video4Linux, by OpenCV. Those that give JPEG (`MJPG`) hand it over undecoded.

OpenCV then gives the driver's buffer as one row of bytes, in some versions with what was left in it from a
longer picture before.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from ecovision_edge.base.addresses import Options
from ecovision_edge.camera.here import own_camera, video_devices
from ecovision_edge.camera.opencv import CaptureStream, take_size
from ecovision_edge.camera.source import Image, Picture, PictureStream
from ecovision_edge.camera.transform import Transform
from ecovision_edge.errors import BadFrameError, ImageReadError, SourceOpenError
from ecovision_edge.photographs.image_size import image_size
from ecovision_edge.photographs.jpeg import JPEG_START, is_cut_off
from ecovision_edge.photographs.jpeg_picture import JpegPicture
from ecovision_edge.preprocess.frames import Bgr

__all__ = ["UndecodedStream", "V4L2Source", "v4l2_source"]

_log = logging.getLogger("ecovision_edge")

_CUT_OFF = 3  # first frames without their end, and the camera gives none: OpenCV before 4.12 decodes them
_FORMATS = frozenset(cv2.VideoWriter.fourcc(*name) for name in ("MJPG", "JPEG"))


class UndecodedStream(CaptureStream, PictureStream):
    """A capture that was told not to decode. Where its first frame is no JPEG, OpenCV decodes as ever.

    So it does where the first frames all lack their end.
    """

    _undecoded: bool | None = None  # until the first whole frame
    _cut_off = 0

    def read(self) -> Bgr:
        """Return the next frame, decoded; raises as `CaptureStream.read`."""
        frame = PictureStream.read(self)
        assert frame is not None
        return frame

    def read_picture(self) -> Picture:
        """Return the next frame as it came; raises as `CaptureStream.read`."""
        if self._undecoded is False:
            return super().read()
        frame = self._frame()
        data = _bytes(frame)
        if self._undecoded is None and is_cut_off(data):
            self._cut_off += 1
        if self._undecoded is None and (not data.startswith(JPEG_START) or self._cut_off == _CUT_OFF):
            self._undecoded = False
            assert self._capture is not None
            self._capture.set(cv2.CAP_PROP_CONVERT_RGB, 1)
            return super().read()
        if not data.startswith(JPEG_START):
            raise BadFrameError(f"{self._name} gave a frame that is no JPEG", found=f"{len(data)} bytes")
        try:
            picture = JpegPicture(data, f"a frame of {self._name}", self._transform)
        except ImageReadError as e:
            raise BadFrameError(e.message) from e
        self._undecoded = True
        if self._on_first is not None and (size := image_size(data)) is not None:
            self._tell_first(*size)
        return picture


def _bytes(frame: Image) -> bytes:
    """Return a driver's buffer, one row or column of bytes; nothing if it is a picture of pixels."""
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8:
        return b""
    return frame.tobytes() if frame.size == max(frame.shape, default=0) else b""


def _gives_jpeg(capture: cv2.VideoCapture) -> bool:
    """Have an opened capture give its JPEG as it comes; False if it has none, or OpenCV does not."""
    is_jpeg = int(capture.get(cv2.CAP_PROP_FOURCC)) in _FORMATS
    return is_jpeg and bool(capture.set(cv2.CAP_PROP_CONVERT_RGB, 0))


@dataclass(frozen=True, slots=True)
class V4L2Source:
    """A camera of the kernel's Video4Linux: USB cameras, mostly.

    Args:
        device: `/dev/video0`, or a link to one, as in /dev/v4l/by-id.
        name: Name for messages.
        width, height, fps, fourcc: Asked of the camera; it may give something else, which is logged.
        transform: Applied to each frame.
    """

    device: str
    name: str
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    fourcc: str | None = None
    transform: Transform = field(default_factory=Transform)
    live: bool = True
    interval: float | None = None

    def connect(self) -> CaptureStream:
        """Open the device.

        Raises:
            SourceOpenError: missing, not allowed, busy, or no camera.
        """
        self._check()
        capture = cv2.VideoCapture(self.device, cv2.CAP_V4L2)
        if not capture.isOpened():
            capture.release()
            raise SourceOpenError(
                f"{self.name} cannot be opened",
                found=f"{self.device} is there, but gives no video",
                fix=f"{own_camera() or 'it may be no camera but its metadata'}; or another program uses it",
            )
        # The format first: it decides which sizes and rates there are.
        if self.fourcc is not None:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*self.fourcc))
        for key, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, self.width),
            (cv2.CAP_PROP_FRAME_HEIGHT, self.height),
            (cv2.CAP_PROP_FPS, self.fps),
            (cv2.CAP_PROP_BUFFERSIZE, 1),  # four frames otherwise, each of which grows old
        ):
            if value is not None:
                capture.set(key, value)
        kind = UndecodedStream if _gives_jpeg(capture) else CaptureStream
        return kind(capture, self.name, self.transform, self._compare)

    def _check(self) -> None:
        problem = f"{self.name} cannot be opened"
        if not Path(self.device).exists():
            there = video_devices()
            raise SourceOpenError(
                problem,
                expected=self.device,
                found=", ".join(there) or "no /dev/video* at all",
                fix=f"{own_camera() or ('give one of those' if there else 'plug one in')}; demo: needs none",
            )
        if not os.access(self.device, os.R_OK | os.W_OK):
            raise SourceOpenError(
                problem,
                found=f"no permission for {self.device}",
                fix='join its group and log in again: sudo usermod -aG video "$USER"',
            )

    def _compare(self, width: int, height: int) -> None:
        """Say so where the camera gives another size than was asked for."""
        asked = self.width or width, self.height or height
        if asked != (width, height):
            _log.warning("%s: asked for %dx%d, it gives %dx%d", self.name, *asked, width, height)


def v4l2_source(device: str, options: Options) -> V4L2Source:
    """Make the source of `0` or `/dev/video0` with `width=`, `height=`, `fps=`, `fourcc=`, or SourceError."""
    width, height, fps = take_size(options)
    fourcc = options.text("fourcc")
    if fourcc is not None and not re.fullmatch(r"[ -~]{4}", fourcc):
        raise options.error("fourcc", "four characters, such as MJPG or YUYV", fourcc or "nothing")
    transform = Transform.take(options)
    options.done()
    path, name = (f"/dev/video{int(device)}", f"camera {int(device)}") if device.isdigit() else (device,) * 2
    return V4L2Source(path, name, width, height, fps, fourcc, transform)
