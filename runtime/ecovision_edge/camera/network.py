"""Cameras on the network through OpenCV's FFmpeg: RTSP, and what `http` hands on to it.

Stale frames: FFmpeg hands frames over in order, and while nobody reads they wait in the socket. So after a
pause the stream throws away as many frames as came meanwhile (`Backlog`). A stream that takes longer to
decode than to play falls behind all the same: ask such a camera for its smaller stream.

Credentials: they are in no name, message or repr. OpenCV's log is silent while an address is opened, and
FFmpeg's is off altogether, unless OPENCV_FFMPEG_LOGLEVEL or OPENCV_FFMPEG_DEBUG turn it on: FFmpeg then shows
what it likes.

FFmpeg's options come by the environment of the process. So addresses are opened one at a time, and one that
hangs holds the others up for its `open_timeout`.
"""

from __future__ import annotations

import http.client
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import cv2

from ecovision_edge.base.addresses import FOREIGN_PREFIX, Options, split_foreign
from ecovision_edge.base.hosts import bracketed
from ecovision_edge.camera.opencv import CaptureStream
from ecovision_edge.camera.source import Image
from ecovision_edge.camera.transform import Transform
from ecovision_edge.camera.upright import set_upright
from ecovision_edge.camera.uri import NetworkAddress, network_address
from ecovision_edge.errors import BadFrameError, CaptureError, SourceOpenError

__all__ = [
    "OPEN_TIMEOUT",
    "READ_TIMEOUT",
    "TRIES",
    "Backlog",
    "NetworkSource",
    "network_source",
    "no_answer",
    "open_ffmpeg",
    "status_advice",
]

OPEN_TIMEOUT = 10.0
READ_TIMEOUT = 5.0
PROBE_TIMEOUT = 2.0
TRIES = 3
"""Reads of FFmpeg's that may fail in a row: the packet after one may be good, but at the end none is."""

_FFMPEG_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_FFMPEG_LEVEL = "OPENCV_FFMPEG_LOGLEVEL"
_SILENT = 0  # LOG_LEVEL_SILENT, which OpenCV 4 does not name in Python
_opening = threading.Lock()  # FFmpeg's options come by the environment, of which there is one


def open_ffmpeg(target: str, params: list[int], options: str | None = None) -> tuple[cv2.VideoCapture, float]:
    """Open a capture of FFmpeg's, which may fail, and time it in seconds; one at a time in this process.

    Args:
        target: Path or address.
        params: Pairs of cv2.CAP_PROP_* and value.
        options: `name;value|name;value` for FFmpeg, before those of OPENCV_FFMPEG_CAPTURE_OPTIONS.
    """
    with _opening:
        variables, users = {}, os.environ.get(_FFMPEG_OPTIONS)
        if options is not None:
            variables[_FFMPEG_OPTIONS] = f"{options}|{users}" if users else options
        if _FFMPEG_LEVEL not in os.environ and "OPENCV_FFMPEG_DEBUG" not in os.environ:
            variables[_FFMPEG_LEVEL] = "-8"  # AV_LOG_QUIET; read at the first opening in this process
        with _environment(variables), _silent():
            began = time.monotonic()
            return cv2.VideoCapture(target, cv2.CAP_FFMPEG, params), time.monotonic() - began


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set variables of this process, and put back what was there."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _silent() -> Iterator[None]:
    """Switch OpenCV's own log off; at its higher levels it shows whole addresses."""
    # OpenCV 4 has it at its top, OpenCV 5 in `utils`; it returns the level before.
    set_level: Callable[[int], int] = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    level = set_level(_SILENT)
    try:
        yield
    finally:
        set_level(level)


class Backlog:
    """How many frames wait while nobody reads. Pure: times come in as arguments, in seconds.

    Args:
        began: When the connection was begun: FFmpeg looks at a second or so of frames before it is open.
    """

    def __init__(self, began: float) -> None:
        self.interval = 1 / 30
        """Seconds between frames, learnt from reads that follow each other at once."""
        self._last = began

    def waiting(self, now: float) -> int:
        """Estimate how many frames came since the last one was read."""
        return int((now - self._last) / self.interval)

    def is_new(self, took: float) -> bool:
        """Return whether a frame that took so long was waited for, so that none is behind it."""
        return took > self.interval / 2

    def read(self, asked: float, now: float) -> None:
        """Note that a frame was asked for, and came."""
        if asked - self._last < self.interval / 4:
            gap = min(max(now - self._last, 1 / 120), 1.0)
            self.interval += 0.1 * (gap - self.interval)
        self._last = now


class _NetworkStream(CaptureStream):
    """A capture whose frames wait in a socket."""

    def __init__(
        self, capture: cv2.VideoCapture, name: str, transform: Transform, began: float, timeout: float
    ) -> None:
        super().__init__(capture, name, transform)
        self._backlog, self._timeout = Backlog(began), timeout
        self._turned = set_upright(capture)
        self._failed = 0  # grabs, one after the other

    def _next(self, capture: cv2.VideoCapture) -> Image | None:
        asked = time.monotonic()
        waits = 0
        for _ in range(self._backlog.waiting(asked) + 1):
            began = time.monotonic()
            if not capture.grab():
                raise self._no_frame(time.monotonic() - began)
            self._failed = 0
            # One may have been slow by chance, on a busy machine.
            waits += self._backlog.is_new(time.monotonic() - began)
            if waits == 2:
                break
        frame = self._turned(self._decoded(capture))
        self._backlog.read(asked, time.monotonic())
        return frame

    def _no_frame(self, took: float) -> CaptureError:
        """Return why there is none: silence, a packet FFmpeg fails on, or the end, where each try fails."""
        problem = f"{self._name} gave no frame"
        if took >= 0.9 * self._timeout:
            fix = (
                f"a slower camera needs a longer {FOREIGN_PREFIX}read_timeout= (and, of `run`, --stall-after)"
            )
            return CaptureError(problem, found=f"it was silent too long: {self._timeout:g} s", fix=fix)
        self._failed += 1
        if self._failed < TRIES:
            return BadFrameError(problem, found="a packet that FFmpeg cannot read")
        return CaptureError(problem, found="it ended, or FFmpeg can read no more of it")


@dataclass(frozen=True, slots=True)
class NetworkSource:
    """A camera with an address.

    Args:
        address: Where; its repr shows no credentials.
        transport: Transport of RTSP: `tcp` or `udp`.
        open_timeout, read_timeout: Seconds, for the connection and for each frame.
        transform: Applied to each frame.
    """

    address: NetworkAddress
    transport: str = "tcp"
    open_timeout: float = OPEN_TIMEOUT
    read_timeout: float = READ_TIMEOUT
    transform: Transform = field(default_factory=Transform)
    live: bool = True
    interval: float | None = None

    @property
    def name(self) -> str:
        """The address without user, password and query."""
        return self.address.shown

    @property
    def first_within(self) -> float:
        """Both time-outs together, seconds."""
        return self.open_timeout + self.read_timeout

    def connect(self) -> CaptureStream:
        """Connect, and wait for the stream's description.

        Raises:
            SourceOpenError: no answer, a refusal, or no video; says which.
        """
        return self.open(lambda: _reason(self.address, min(self.open_timeout, PROBE_TIMEOUT)))

    def open(self, reason: Callable[[], tuple[str, str | None]]) -> CaptureStream:
        """Open as `connect` does; `reason` gives cause and remedy of a failure that was not a time-out."""
        params = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            max(1, round(self.open_timeout * 1000)),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            max(1, round(self.read_timeout * 1000)),
        ]
        rtsp = self.address.scheme.startswith("rtsp")
        try:
            capture, took = open_ffmpeg(
                self.address.url(), params, f"rtsp_transport;{self.transport}" if rtsp else None
            )
        except cv2.error as e:  # its text has the address
            raise SourceOpenError(f"{self.name} cannot be opened", found=f"OpenCV error {e.code}") from None
        if capture.isOpened():
            began = time.monotonic() - took
            return _NetworkStream(capture, self.name, self.transform, began, self.read_timeout)
        capture.release()
        found = f"no video within {self.open_timeout:g} s"
        fix: str | None = f"a slower camera needs a longer {FOREIGN_PREFIX}open_timeout="
        if took < self.open_timeout:
            found, fix = reason()
        raise SourceOpenError(f"{self.name} cannot be opened", found=found, fix=fix)


def network_source(uri: str) -> NetworkSource:
    """Make the source of an address with our options, each after `ecovision.`; raises SourceError."""
    url, pairs = split_foreign(uri)
    address = network_address(url, os.environ)
    options = Options(address.shown, pairs, FOREIGN_PREFIX)
    transport = options.choice("transport", ("tcp", "udp")) if address.scheme == "rtsp" else None
    open_timeout = options.number("open_timeout", 0, 600)
    read_timeout = options.number("read_timeout", 0, 600)
    transform = Transform.take(options)
    options.done()
    return NetworkSource(
        address, transport or "tcp", open_timeout or OPEN_TIMEOUT, read_timeout or READ_TIMEOUT, transform
    )


def _reason(address: NetworkAddress, timeout: float) -> tuple[str, str | None]:
    """Return why it did not open, and what to do, by one request without credentials: OpenCV does not say."""
    try:
        if address.scheme != "rtsp":
            socket.create_connection((address.host, address.port), timeout).close()
            return "it answers, but gave no video", None
        status, words = _ask_rtsp(address, timeout)
    except (OSError, ValueError) as e:
        return no_answer(e)
    return f"{words}, but no video" if status == 200 else words, status_advice(status, address)


def no_answer(error: Exception) -> tuple[str, str | None]:
    """Return why a request failed, and what to do; an error's own text may hold the address."""
    if isinstance(error, socket.gaierror):
        return "no host of that name", None
    if isinstance(error, TimeoutError):
        return "no answer", None
    if isinstance(error, ConnectionRefusedError):
        return "connection refused", "nothing listens at that port: is the camera's server on?"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror, None
    return f"no sound answer ({type(error).__name__})", None


def status_advice(status: int, address: NetworkAddress) -> str | None:
    """Return what to do about a status of HTTP or RTSP."""
    if status == http.client.UNAUTHORIZED:
        return "check user and password" if address.has_password else "give user:password@ before the host"
    return "check the path: the camera's manual has it" if status == http.client.NOT_FOUND else None


def _ask_rtsp(address: NetworkAddress, timeout: float) -> tuple[int, str]:
    """Return the status of a DESCRIBE (RFC 2326, 10.2), and it in words."""
    url = f"rtsp://{bracketed(address.host)}:{address.port}{address.target()}"
    request = f"DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n"
    with socket.create_connection((address.host, address.port), timeout) as connection:
        connection.sendall(request.encode())
        with connection.makefile("rb") as answer:
            line = answer.readline(1000).decode("latin-1").split(None, 2)
    if len(line) < 2 or not line[0].startswith("RTSP/") or not line[1].isdigit():
        return 0, "no RTSP server there"
    return int(line[1]), f"RTSP {' '.join(line[1:]).strip()}"
