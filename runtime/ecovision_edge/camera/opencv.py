"""Cameras through `cv2.VideoCapture`: V4L2 devices and GStreamer pipelines."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import cv2

from ecovision_edge.base.addresses import Options
from ecovision_edge.camera.here import own_camera, video_devices
from ecovision_edge.camera.pipelines import elements
from ecovision_edge.camera.source import BgrStream, Image
from ecovision_edge.camera.transform import Transform
from ecovision_edge.errors import BadFrameError, CaptureError, MissingDependencyError, SourceOpenError
from ecovision_edge.preprocess.frames import Bgr

__all__ = ["CaptureStream", "GStreamerSource", "V4L2Source", "require_gstreamer", "take_size", "v4l2_source"]

MAX_SIDE = 16384
MAX_FPS = 1000

_log = logging.getLogger("ecovision_edge")


class CaptureStream(BgrStream):
    """A `FrameStream` of an opened `cv2.VideoCapture` that is live: no frame is a failure.

    Args:
        capture: Opened; closed by `close`.
        name: Name for messages.
        transform: Applied to each frame.
        on_first: Told the first frame, before it is transformed.
    """

    def __init__(
        self,
        capture: cv2.VideoCapture,
        name: str,
        transform: Transform,
        on_first: Callable[[Image], None] | None = None,
    ) -> None:
        self._capture: cv2.VideoCapture | None = capture
        self._name, self._transform, self._on_first = name, transform, on_first

    def read(self) -> Bgr:
        """Return the next frame; wait for it as long as the driver does.

        Raises:
            BadFrameError: it cannot be decoded.
            CaptureError: there is none, or it is closed.
        """
        if self._capture is None:
            raise CaptureError(f"{self._name} is closed")
        try:
            frame = self._next(self._capture)
        except cv2.error as e:
            raise CaptureError(f"{self._name} failed", found=f"OpenCV error {e.code}") from e
        if frame is None:
            raise CaptureError(
                f"{self._name} gave no frame", found="it was unplugged, ended, or was silent too long"
            )
        if self._on_first is not None:
            self._on_first(frame)
            self._on_first = None
        return self._transform.finish(frame, self._name)

    def close(self) -> None:
        """Release the capture. Idempotent."""
        capture, self._capture = self._capture, None
        if capture is not None:
            capture.release()

    def _next(self, capture: cv2.VideoCapture) -> Image | None:
        """Read OpenCV's next frame, in a new array each time; None if there is none."""
        return self._decoded(capture) if capture.grab() else None

    def _decoded(self, capture: cv2.VideoCapture) -> Image:
        """Decode the grabbed frame; if that fails, the frame is bad (JPEG over USB), not the device."""
        try:
            ok, frame = capture.retrieve()
        except cv2.error as e:
            raise BadFrameError(
                f"{self._name} gave a frame that OpenCV cannot decode", found=f"OpenCV error {e.code}"
            ) from e
        if not ok:
            raise BadFrameError(f"{self._name} gave a frame that OpenCV cannot decode")
        return frame  # type: ignore[return-value]  # `finish` checks what it really is


def take_size(options: Options) -> tuple[int | None, int | None, float | None]:
    """Take `width=`, `height=` and `fps=` out of the options; raises SourceError."""
    width = options.integer("width", 1, MAX_SIDE)
    height = options.integer("height", 1, MAX_SIDE)
    return width, height, options.number("fps", 0, MAX_FPS)


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
        return CaptureStream(capture, self.name, self.transform, self._compare)

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

    def _compare(self, frame: Image) -> None:
        """Say so where the camera gives another size than was asked for."""
        height, width = frame.shape[:2]
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


def require_gstreamer(name: str, pipeline: str) -> None:
    """Raise MissingDependencyError if OpenCV has no GStreamer, or GStreamer lacks an element."""
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise MissingDependencyError(
            f"{name} needs an OpenCV with GStreamer, and this one ({cv2.__version__}) was built without it; "
            "pip's has none, that of Debian and Raspberry Pi OS has (sudo apt-get install python3-opencv "
            "gstreamer1.0-plugins-base gstreamer1.0-libcamera), and so has a Jetson's own: use a venv made "
            "with --system-site-packages and without pip's opencv-python*"
        )
    # OpenCV may wait for ever for a pipeline of which an element is missing (seen with 4.6).
    inspect = shutil.which("gst-inspect-1.0")
    for element in elements(pipeline) if inspect else []:
        with suppress(subprocess.TimeoutExpired):
            found = subprocess.run([str(inspect), "--exists", element], timeout=10, check=False)
            if found.returncode:
                raise MissingDependencyError(
                    f"{name} needs the GStreamer element {element}, which is not installed: libcamerasrc is "
                    "in gstreamer1.0-libcamera, nvarguscamerasrc is a Jetson's, most are in "
                    "gstreamer1.0-plugins-base, -good or -bad"
                )


@dataclass(frozen=True, slots=True)
class GStreamerSource:
    """A GStreamer pipeline that ends in an appsink.

    Args:
        name: Name for messages.
        pipeline: What OpenCV is given; may hold credentials, so it is never shown.
        transform: Applied to each frame.
    """

    name: str
    pipeline: str = field(repr=False)
    transform: Transform = field(default_factory=Transform)
    live: bool = True
    interval: float | None = None

    def connect(self) -> CaptureStream:
        """Start the pipeline.

        Raises:
            SourceOpenError: it does not start.
        """
        capture = cv2.VideoCapture(self.pipeline, cv2.CAP_GSTREAMER)
        if not capture.isOpened():
            capture.release()
            raise SourceOpenError(
                f"{self.name} cannot be opened",
                found="GStreamer did not start the pipeline",
                fix="try it with gst-launch-1.0, which says what is wrong with it",
            )
        return CaptureStream(capture, self.name, self.transform)
