"""Raspberry Pi cameras through `rpicam-vid`, which Raspberry Pi OS brings along: no Python library is needed.

The program runs beside us and hands over JPEG pictures by a pipe. So a driver that hangs or dies takes
nothing of ours with it: the process is killed and started again.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from typing import IO

from ecovision_edge.base.addresses import Options
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.camera.opencv import take_size
from ecovision_edge.camera.source import PictureStream
from ecovision_edge.camera.transform import Transform
from ecovision_edge.errors import (
    BadFrameError,
    CaptureError,
    ImageReadError,
    MissingDependencyError,
    SourceError,
    SourceOpenError,
)
from ecovision_edge.photographs.jpeg_picture import JpegPicture

__all__ = ["JpegSplitter", "RpicamSource", "RpicamStream", "require_rpicam", "rpicam_source"]

PROGRAMS = "rpicam-vid", "libcamera-vid"  # the second is its name before Raspberry Pi OS bookworm
INSTALL = "on Raspberry Pi OS; run: sudo apt-get install rpicam-apps-lite"
SIZE = 640, 480
MAX_JPEG_BYTES = 32 * 2**20
FIRST_TIMEOUT, TIMEOUT = 15.0, 4.0
"""Seconds without a byte, before the first picture and after it; a camera program that hangs is killed."""

_CHUNK = 2**18
_START, _END = b"\xff\xd8", b"\xff\xd9"


class JpegSplitter:
    """Finds whole JPEG pictures in a stream of bytes.

    Inside a picture's data 0xff is followed by 0 or a restart marker (ITU-T T.81, B.1.1.5), so the end marker
    is the end; `rpicam-vid` embeds no thumbnail, which would have one of its own.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._searched = 0  # bytes of it in which there is no end

    def feed(self, data: bytes) -> bytes | None:
        """Take some bytes; the last whole picture in what there is now, or None. Older ones are passed over.

        Raises:
            CaptureError: what comes is no JPEG, or has no end.
        """
        self._held += data
        end = self._held.rfind(_END, self._searched)
        if end < 0:
            self._searched = max(0, len(self._held) - 1)  # the last byte may be half of one
            if len(self._held) > MAX_JPEG_BYTES or not self._held.startswith(_START[: len(self._held)]):
                raise CaptureError("the camera program gave what is no JPEG picture")
            return None
        start = self._held.rfind(_START, 0, end)
        if start < 0:
            raise CaptureError("the camera program gave what is no JPEG picture")
        picture = bytes(self._held[start : end + 2])
        del self._held[: end + 2]
        self._searched = max(0, len(self._held) - 1)
        return picture


@dataclass(frozen=True, slots=True)
class RpicamSource:
    """A camera of libcamera, by `rpicam-vid`.

    Args:
        index: Its number, from 0.
        name: Name for messages.
        width, height: Pixels.
        fps: Frames a second; None leaves it to the program, which takes 30.
        transform: Applied to each frame.
    """

    index: int
    name: str
    width: int
    height: int
    fps: float | None = None
    transform: Transform = field(default_factory=Transform)
    live: bool = True
    interval: float | None = None

    def command(self, program: str) -> list[str]:
        """Return the program's arguments."""
        size = ["--width", str(self.width), "--height", str(self.height)]
        pace = [] if self.fps is None else ["--framerate", f"{self.fps:g}"]
        quiet = ["--nopreview", "--verbose", "0"]
        endless = ["--timeout", "0", "--codec", "mjpeg", "--quality", "93", "--flush", "--output", "-"]
        return [program, "--camera", str(self.index), *size, *pace, *quiet, *endless]

    def connect(self) -> RpicamStream:
        """Start the program.

        Raises:
            SourceOpenError: it cannot be started.
            MissingDependencyError: it is not there any more.
        """
        program = require_rpicam()
        said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the stream
        try:
            process = subprocess.Popen(
                self.command(program),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
                env={**os.environ, "LIBCAMERA_LOG_LEVELS": "*:ERROR"},
            )
        except OSError as e:
            said.close()
            raise SourceOpenError(f"{self.name} cannot be opened", found=reason_of(e)) from e
        return RpicamStream(process, said, self)


class RpicamStream(PictureStream):
    """The program while it runs."""

    def __init__(self, process: subprocess.Popen[bytes], said: IO[bytes], source: RpicamSource) -> None:
        self._process: subprocess.Popen[bytes] | None = process
        self._said, self._source = said, source
        self._splitter = JpegSplitter()
        self._started = False

    def read_picture(self) -> JpegPicture:
        """Return the newest frame as it came.

        Raises:
            BadFrameError: a picture is broken.
            CaptureError: the program ended, with what it said last; or it is closed.
        """
        name, process = self._source.name, self._process
        if process is None:
            raise CaptureError(f"{name} is closed")
        assert process.stdout is not None
        picture: bytes | None = None
        while picture is None:
            timeout = TIMEOUT if self._started else FIRST_TIMEOUT
            if not select.select([process.stdout], [], [], timeout)[0]:
                raise CaptureError(f"{name} gave nothing for {timeout:g} s")
            data = os.read(process.stdout.fileno(), _CHUNK)
            if not data:
                raise CaptureError(
                    f"{name} ended",
                    found=self._last_words(process),
                    fix="see rpicam-hello --list-cameras; one program at a time can use a camera",
                )
            picture = self._splitter.feed(data)
        self._started = True
        try:
            return JpegPicture(picture, name, self._source.transform)
        except ImageReadError as e:
            raise BadFrameError(f"{name} gave a broken picture", found=str(e)) from e

    def close(self) -> None:
        """End the program. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdout is not None
        process.terminate()
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        self._said.close()

    def _last_words(self, process: subprocess.Popen[bytes]) -> str:
        try:
            status = process.wait(1)
        except subprocess.TimeoutExpired:
            return "it closed its output"
        self._said.seek(0)
        lines = self._said.read(2**16).decode("utf-8", "replace").strip().splitlines()
        return f"exit status {status}{': ' + lines[-1] if lines else ''}"


def require_rpicam() -> str:
    """Return the path of the program.

    Raises:
        MissingDependencyError: it is not installed.
    """
    for program in PROGRAMS:
        if found := shutil.which(program):
            return found
    raise MissingDependencyError("rpicam:// needs the program rpicam-vid", fix=INSTALL)


def rpicam_source(host: str, options: Options) -> RpicamSource:
    """Make the source of `rpicam://1` with `width=`, `height=` and `fps=`.

    Raises:
        SourceError: an option is wrong.
        MissingDependencyError: `rpicam-vid` is not installed.
    """
    if host and not (host.isascii() and host.isdigit()):
        raise SourceError("camera of rpicam://", expected="a number, or nothing for 0", found=host)
    width, height, fps = take_size(options)
    transform = Transform.take(options)
    options.done()
    require_rpicam()
    index = int(host or 0)
    return RpicamSource(index, f"rpicam {index}", width or SIZE[0], height or SIZE[1], fps, transform)
