"""One connection to a source, in a thread of its own that may hang without anyone else doing so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from ecovision_edge.base.threads import Worker
from ecovision_edge.camera.source import BgrStream, FrameSource, FrameStream, Picture, PictureStream
from ecovision_edge.errors import BadFrameError, CaptureError, EcovisionError, FrameError, ImageReadError
from ecovision_edge.photographs.jpeg_picture import JpegPicture
from ecovision_edge.preprocess.frames import Bgr, as_bgr

__all__ = ["Connection", "ConnectionOwner"]

BAD_PAUSE = 0.01
"""Seconds after a bad frame of a live source that has no pace of its own: a driver may fail in no time."""


class ConnectionOwner(Protocol):
    """What a connection tells, and whom."""

    def check(self, picture: JpegPicture) -> None:
        """Decode a picture that is not to be delivered undecoded; raises ImageReadError."""

    def deliver(self, connection: Connection, picture: Picture, now: float) -> None:
        """Take a frame that came at `now`, seconds of `time.monotonic()`."""

    def pass_over(self, connection: Connection, error: EcovisionError) -> None:
        """Hear of a frame that is of no use, and why."""

    def resume(self, connection: Connection) -> None:
        """Hear that the source is asked for a frame."""

    def pause(self, connection: Connection, until: float) -> None:
        """Hear that the source is left alone until then, on the same clock."""

    def lost(self, connection: Connection, error: EcovisionError | None) -> None:
        """Hear that the connection is over: why, or None at the end of the files."""


class Connection:
    """Opens a source, reads it until told otherwise, and closes it, all in one daemon thread."""

    def __init__(self, owner: ConnectionOwner, source: FrameSource, number: int) -> None:
        """Connect to `source` when started; `number` is for the thread's name."""
        self._owner, self._source = owner, source
        self.given_up = threading.Event()
        self._worker = Worker(self._run, f"ecovision-capture-{number}")

    def start(self) -> None:
        """Start the thread."""
        self._worker.start()

    @property
    def alive(self) -> bool:
        """Whether its thread is still there."""
        return self._worker.alive

    def join(self, seconds: float) -> None:
        """Wait for the thread, `seconds` at most."""
        self._worker.join(seconds)

    def _run(self) -> None:
        error: EcovisionError | None = None
        try:
            stream = self._source.connect()
            try:
                self._read_all(stream)
            finally:
                stream.close()
        except EcovisionError as e:
            error = e
        except Exception as e:  # noqa: BLE001 - a driver may raise anything; it is told, typed
            error = CaptureError(f"{self._source.name} failed", found=f"{type(e).__name__}: {e}")
            error.__cause__ = e
        self._owner.lost(self, error)

    def _read_all(self, stream: FrameStream) -> None:
        read = _reader(stream)
        interval, due = self._source.interval, time.monotonic()
        while not self.given_up.is_set():
            self._owner.resume(self)
            try:
                picture = read()
                if isinstance(picture, JpegPicture):
                    self._owner.check(picture)
            except (BadFrameError, FrameError, ImageReadError) as e:
                self._owner.pass_over(self, e)
                if self._source.live:  # no pause for the watchdog: its time for a good frame runs on
                    self.given_up.wait(min(interval or BAD_PAUSE, 1.0))
                continue
            now = time.monotonic()
            if picture is None:
                if self._source.live:
                    raise CaptureError("the source ended, though it is live")
                return
            self._owner.deliver(self, picture, now)
            if interval is not None:
                due = max(due + interval, now)  # what was missed is not made up for
                self._owner.pause(self, due)
                self.given_up.wait(due - time.monotonic())


def _reader(stream: FrameStream) -> Callable[[], Picture | None]:
    """Return what reads the next frame: as it came, or checked once, by the stream or else here."""
    if isinstance(stream, PictureStream):
        return stream.read_picture
    if isinstance(stream, BgrStream):
        return stream.read

    def read() -> Bgr | None:
        image = stream.read()
        return None if image is None else as_bgr(image)

    return read
