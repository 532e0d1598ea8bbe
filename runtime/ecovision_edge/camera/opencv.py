"""Cameras through `cv2.VideoCapture`: what they have in common, and GStreamer pipelines."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import cv2
import numpy as np

from ecovision_edge.base.addresses import Options
from ecovision_edge.camera.pipelines import elements
from ecovision_edge.camera.source import BgrStream, Image
from ecovision_edge.camera.transform import Transform
from ecovision_edge.errors import BadFrameError, CaptureError, MissingDependencyError, SourceOpenError
from ecovision_edge.preprocess.frames import Bgr

__all__ = ["CaptureStream", "GStreamerSource", "require_gstreamer", "take_size"]

MAX_SIDE = 16384
MAX_FPS = 1000


class CaptureStream(BgrStream):
    """A `FrameStream` of an opened `cv2.VideoCapture` that is live: no frame is a failure.

    Args:
        capture: Opened; closed by `close`.
        name: Name for messages.
        transform: Applied to each frame.
        on_first: Told width and height of the first frame, before it is transformed.
    """

    def __init__(
        self,
        capture: cv2.VideoCapture,
        name: str,
        transform: Transform,
        on_first: Callable[[int, int], None] | None = None,
    ) -> None:
        self._capture: cv2.VideoCapture | None = capture
        self._name, self._transform, self._on_first = name, transform, on_first

    def read(self) -> Bgr:
        """Return the next frame; wait for it as long as the driver does.

        Raises:
            BadFrameError: it cannot be decoded.
            CaptureError: there is none, or it is closed.
        """
        frame = self._frame()
        if isinstance(frame, np.ndarray) and frame.ndim > 1:
            self._tell_first(frame.shape[1], frame.shape[0])
        return self._transform.finish(frame, self._name)

    def _tell_first(self, width: int, height: int) -> None:
        told, self._on_first = self._on_first, None
        if told is not None:
            told(width, height)

    def _frame(self) -> Image:
        """Return the next frame as OpenCV gives it; raises as `read`."""
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
        return frame

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
