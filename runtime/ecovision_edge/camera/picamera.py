"""Raspberry Pi cameras through picamera2 (The Picamera2 Library, Raspberry Pi Ltd).

A hanging `capture_array` (picamera2 issue 1004) is left to the watchdog of whoever reads.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from types import ModuleType
from typing import Protocol, TypeAlias

import cv2

from ecovision_edge.base.addresses import Options
from ecovision_edge.camera.opencv import take_size
from ecovision_edge.camera.source import BgrStream
from ecovision_edge.camera.transform import Transform
from ecovision_edge.errors import CaptureError, MissingDependencyError, SourceError, SourceOpenError
from ecovision_edge.preprocess.frames import Bgr

__all__ = ["Camera", "PiCameraSource", "PiCameraStream", "picamera_source", "require_picamera2"]

MAIN_SIZE = 1280, 720
LORES_SIZE = 640, 480

_log = logging.getLogger("ecovision_edge")

_Stream: TypeAlias = "dict[str, object]"


class Camera(Protocol):
    """What is used of `picamera2.Picamera2`."""

    def create_video_configuration(
        self, main: _Stream, lores: _Stream | None = None, *, controls: dict[str, object]
    ) -> dict[str, object]:
        """Return a configuration; unlike that for stills, it has buffers enough to keep up."""

    def configure(self, camera_config: dict[str, object]) -> object:
        """Use it; may change it."""

    def start(self) -> object:
        """Begin."""

    def capture_array(self, name: str) -> object:
        """Return the newest frame of a stream, as a copy."""

    def stop(self) -> object:
        """End."""

    def close(self) -> object:
        """Give the camera back."""


def require_picamera2() -> ModuleType:
    """Return the library, picamera2.

    Raises:
        MissingDependencyError: not installed, or not seen from this virtual environment.
    """
    try:
        import picamera2  # type: ignore[import-not-found,unused-ignore]
    except ImportError as e:
        raise MissingDependencyError(
            f"picamera2:// needs the library picamera2 ({e}); run: sudo apt-get install python3-picamera2, "
            "and use a venv made with: python3 -m venv --system-site-packages"
        ) from e
    module: ModuleType = picamera2
    return module


@dataclass(frozen=True, slots=True)
class PiCameraSource:
    """A camera of libcamera, by picamera2.

    Args:
        index: Its number, from 0.
        name: Name for messages.
        width, height: Size of the stream in pixels; even for `lores`.
        fps: Frames a second; None leaves it to the camera.
        stream: `main` gives BGR; `lores` gives YUV, for which the Pi does less work.
        transform: Applied to each frame.
    """

    index: int
    name: str
    width: int
    height: int
    fps: float | None = None
    stream: str = "main"
    transform: Transform = field(default_factory=Transform)
    live: bool = True
    interval: float | None = None

    def connect(self) -> PiCameraStream:
        """Start the camera.

        Raises:
            SourceOpenError: none of that number, busy, or it does not take the configuration.
            MissingDependencyError: picamera2 is not there any more.
        """
        library = require_picamera2()
        camera: Camera | None = None
        try:
            camera = library.Picamera2(self.index)
            camera.configure(self._configuration(camera))
            camera.start()
        except Exception as e:  # libcamera raises RuntimeError, IndexError, and what it likes
            if camera is not None:
                _close(camera, self.name)
            raise SourceOpenError(
                f"{self.name} cannot be opened",
                found=f"{type(e).__name__}: {e}",
                fix="see rpicam-hello --list-cameras; one program at a time can use a camera",
            ) from e
        return PiCameraStream(camera, self)

    def _configuration(self, camera: Camera) -> dict[str, object]:
        size = self.width, self.height
        controls: dict[str, object] = {} if self.fps is None else {"FrameRate": self.fps}
        # libcamera names formats by the order of bits in a little-endian word: "RGB888" is B, G, R in memory.
        main: _Stream = {"size": size, "format": "RGB888"}
        if self.stream == "main":
            return camera.create_video_configuration(main, controls=controls)
        # `lores` may not be larger than `main`; below HD picamera2 chooses BT.601, which OpenCV converts.
        return camera.create_video_configuration(
            main, lores={"size": size, "format": "YUV420"}, controls=controls
        )


class PiCameraStream(BgrStream):
    """A started camera."""

    def __init__(self, camera: Camera, source: PiCameraSource) -> None:
        self._camera: Camera | None = camera
        self._source = source

    def read(self) -> Bgr:
        """Return the next frame.

        Raises:
            CaptureError: there is none, or it is closed.
        """
        source = self._source
        if self._camera is None:
            raise CaptureError(f"{source.name} is closed")
        try:
            frame = self._camera.capture_array(source.stream)
            if source.stream == "lores":
                # Planes Y, U, V in one array whose rows may be padded on the right. The library's own example
                # says COLOR_YUV420p2RGB, which is YV12: U and V changed.
                frame = cv2.cvtColor(frame, cv2.COLOR_YUV2BGR_I420)[:, : source.width]  # type: ignore[call-overload]
        except Exception as e:  # the camera's thread may hand over anything
            raise CaptureError(f"{source.name} failed", found=f"{type(e).__name__}: {e}") from e
        return source.transform.finish(frame, source.name)

    def close(self) -> None:
        """Stop the camera and give it back. Idempotent."""
        camera, self._camera = self._camera, None
        if camera is not None:
            _close(camera, self._source.name)


def _close(camera: Camera, name: str) -> None:
    for step in (camera.stop, camera.close):
        try:
            step()
        except Exception as e:  # noqa: BLE001 - it is given up in any case; whoever closes wants no error
            _log.warning("%s did not close well: %s: %s", name, type(e).__name__, e)


def picamera_source(host: str, options: Options) -> PiCameraSource:
    """Make the source of `picamera2://1` with `width=`, `height=`, `fps=` and `stream=`.

    Raises:
        SourceError: an option is wrong.
        MissingDependencyError: picamera2 is not installed.
    """
    if host and not (host.isascii() and host.isdigit()):
        raise SourceError("camera of picamera2://", expected="a number, or nothing for 0", found=host)
    width, height, fps = take_size(options)
    stream = options.choice("stream", ("main", "lores")) or "main"
    transform = Transform.take(options)
    options.done()
    usual = MAIN_SIZE if stream == "main" else LORES_SIZE
    size = width or usual[0], height or usual[1]
    if stream == "lores" and (size[0] % 2 or size[1] % 2):
        raise options.error("width and height", "even numbers for stream=lores", f"{size[0]} x {size[1]}")
    require_picamera2()
    index = int(host or 0)
    return PiCameraSource(index, f"picamera2 {index}", *size, fps, stream, transform)
