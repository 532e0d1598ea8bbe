"""Cameras over HTTP: MJPEG and stills are read here, all other video by FFmpeg.

FFmpeg ends a stream over one damaged or empty picture, fills half a one with grey, and does not open a still.
Here each picture is a part of its own: a bad one is passed over, and those that grew old while nobody read
are skipped without being decoded.
"""

from __future__ import annotations

import http.client
import logging
import os
import ssl
import time
from dataclasses import dataclass, field

from ecovision_edge.base.addresses import FOREIGN_PREFIX, Options, split_foreign
from ecovision_edge.camera.fetch import Answer, get
from ecovision_edge.camera.multipart import MAX_PART_BYTES, Parts
from ecovision_edge.camera.network import (
    OPEN_TIMEOUT,
    READ_TIMEOUT,
    NetworkSource,
    no_answer,
    status_advice,
)
from ecovision_edge.camera.opencv import MAX_FPS
from ecovision_edge.camera.source import FrameStream, Picture, PictureStream
from ecovision_edge.camera.transform import Transform
from ecovision_edge.camera.uri import NetworkAddress, network_address
from ecovision_edge.errors import BadFrameError, CaptureError, ImageReadError, SourceOpenError
from ecovision_edge.photographs.images import decode_image
from ecovision_edge.photographs.jpeg import JPEG_START, is_cut_off, jpeg_end
from ecovision_edge.photographs.jpeg_picture import JpegPicture

__all__ = ["STILL_FPS", "HttpSource", "MjpegStream", "StillStream", "http_source"]

STILL_FPS = 2.0
"""How often a still is asked for where `fps=` does not say it: an item lies in a bin for seconds."""

_MOST_SKIPPED = 16 * 2**20  # bytes of older pictures before one is shown, of a server that never pauses
_SKIP_WITHIN = 0.2  # seconds: a line that is always busy, as of https, brings the end of no picture sooner
_UNTOLD = frozenset({"", "application/octet-stream", "binary/octet-stream"})  # kinds that say nothing
_NO_HTTP = (ValueError, http.client.HTTPException)
_FAILURES = (OSError, *_NO_HTTP)

_log = logging.getLogger("ecovision_edge")


@dataclass(frozen=True, slots=True)
class HttpSource:
    """A camera with an address of HTTP.

    Args:
        address: Where; its repr shows no credentials.
        open_timeout, read_timeout: Seconds, for the connection and for each frame.
        transform: Applied to each frame.
        interval: Seconds between frames that are asked for; None is each one of a stream, and of a still as
            `STILL_FPS` says.
    """

    address: NetworkAddress
    open_timeout: float = OPEN_TIMEOUT
    read_timeout: float = READ_TIMEOUT
    transform: Transform = field(default_factory=Transform)
    interval: float | None = None
    live: bool = True

    @property
    def name(self) -> str:
        """The address without user, password and query."""
        return self.address.shown

    @property
    def first_within(self) -> float:
        """Both time-outs together, seconds."""
        return self.open_timeout + self.read_timeout

    def connect(self) -> FrameStream:
        """Connect, and look at what kind of answer comes.

        Raises:
            SourceOpenError: no answer, a refusal, or no video; says which.
        """
        try:
            answer = get(self.address, self.open_timeout)
        except TimeoutError:
            raise SourceOpenError(
                f"{self.name} cannot be opened",
                found=f"no video within {self.open_timeout:g} s",
                fix=f"a slower camera needs a longer {FOREIGN_PREFIX}open_timeout=",
            ) from None
        except (ssl.SSLError, *_NO_HTTP) as e:  # FFmpeg may take what is nearly HTTP, and old TLS
            return self._by_ffmpeg(*no_answer(e))
        except OSError as e:  # its text may hold the address
            raise self._refused(*no_answer(e)) from None
        if answer.kind.startswith("multipart/") and answer.status == http.client.OK:
            return MjpegStream(self, answer)
        if answer.kind.startswith("image/") and answer.status == http.client.OK:
            return StillStream(self, answer)
        picture = self._untold_picture(answer)
        if picture is not None:
            return StillStream(self, answer, picture)
        answer.close()
        if answer.status != http.client.OK:
            raise self._refused(answer.words, status_advice(answer.status, self.address))
        return self._by_ffmpeg(f"{answer.words}, but no video", None)

    def _untold_picture(self, answer: Answer) -> bytes | None:
        """Return the picture of an answer that does not say that it is one; None if it is something else."""
        length = answer.headers.get("Content-Length", "")
        if answer.status != http.client.OK or answer.kind not in _UNTOLD or not length.isdecimal():
            return None
        if not len(JPEG_START) < int(length) <= MAX_PART_BYTES:
            return None
        deadline, body = time.monotonic() + self.read_timeout, b""
        try:
            while len(body) < len(JPEG_START) and (data := answer.read_some(deadline)):
                body += data
            if body.startswith(JPEG_START):
                body += _whole(answer, deadline)
                return body if jpeg_end(body) == len(body.rstrip(b"\0\r\n")) else None
        except _FAILURES:  # what then opens it says why it does not
            pass
        return None

    def _refused(self, found: str, fix: str | None) -> SourceOpenError:
        return SourceOpenError(f"{self.name} cannot be opened", found=found, fix=fix)

    def _by_ffmpeg(self, found: str, fix: str | None) -> FrameStream:
        """Open video of another kind; raises SourceOpenError with `found` if FFmpeg does not know it."""
        source = NetworkSource(self.address, "", self.open_timeout, self.read_timeout, self.transform)
        return source.open(lambda: (found, fix))


class _HttpStream(PictureStream):
    """What streams and stills have in common."""

    def __init__(self, source: HttpSource, answer: Answer) -> None:
        """Take an answer, which is closed with it."""
        self._source = source
        self._answer: Answer | None = answer

    def close(self) -> None:
        """Close the connection. Idempotent."""
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.close()

    def _opened(self) -> Answer:
        if self._answer is None:
            raise CaptureError(f"{self._source.name} is closed")
        return self._answer

    def _picture(self, data: bytes) -> Picture:
        """Return a picture as it came; decoded, where it is no JPEG."""
        name = self._source.name
        if not data:
            raise BadFrameError(f"{name} gave an empty picture")
        try:
            if data.startswith(JPEG_START):
                return JpegPicture(data, f"a picture of {name}", self._source.transform)
            return self._source.transform.finish(decode_image(data, f"a picture of {name}"), name)
        except ImageReadError as e:
            raise BadFrameError(e.message) from e

    def _no_frame(self, error: Exception | None) -> CaptureError:
        """Return why there is none: the connection's error, or None at its end."""
        problem, seconds = f"{self._source.name} gave no frame", self._source.read_timeout
        if isinstance(error, TimeoutError):
            fix = (
                f"a slower camera needs a longer {FOREIGN_PREFIX}read_timeout= (and, of `run`, --stall-after)"
            )
            return CaptureError(
                problem, found=f"it was silent too long: no whole picture within {seconds:g} s", fix=fix
            )
        return CaptureError(problem, found="it ended" if error is None else no_answer(error)[0])


class MjpegStream(_HttpStream):
    """A multipart answer, a picture in each part."""

    def __init__(self, source: HttpSource, answer: Answer) -> None:
        """Take an answer, which is closed with it."""
        super().__init__(source, answer)
        self._parts = Parts(answer.boundary)
        self._newest: bytes | None = None  # that has not been given
        self._skipped_bad = 0  # of those before it, to be told

    def read_picture(self) -> Picture:
        """Return the newest picture that has come; wait for one.

        Raises:
            BadFrameError: it is empty, cut off, or cannot be decoded.
            CaptureError: none came in time, the stream ended, or it is closed.
        """
        answer, began = self._opened(), time.monotonic()
        deadline, skip_until = began + self._source.read_timeout, began + _SKIP_WITHIN
        taken = 0
        while self._newest is None or (
            taken < _MOST_SKIPPED and time.monotonic() < skip_until and answer.more_waits()
        ):
            try:
                data = answer.read_some(deadline)
            except _FAILURES as e:
                raise self._no_frame(e) from None
            if data is None:
                raise self._no_frame(None)
            taken += len(data)
            for part in self._parts.feed(data):
                if self._newest is not None and (not self._newest or is_cut_off(self._newest)):
                    self._skipped_bad += 1
                self._newest = part
        if self._skipped_bad:
            self._skipped_bad -= 1
            raise BadFrameError(f"{self._source.name} gave an empty picture, or half of one")
        newest, self._newest = self._newest, None
        return self._picture(newest)


class StillStream(_HttpStream):
    """A still, asked for again and again."""

    def __init__(self, source: HttpSource, answer: Answer, picture: bytes | None = None) -> None:
        """Take the first answer, and its picture if that was read."""
        super().__init__(source, answer)
        self._unread, self._first = True, picture
        self._due = time.monotonic()
        # With `fps=` the reader keeps to the pace.
        self._interval = 1 / STILL_FPS if source.interval is None else 0.0
        if source.interval is None:
            _log.info(
                "%s is a still picture; it is asked for %g times a second (%sfps=)",
                source.name,
                STILL_FPS,
                FOREIGN_PREFIX,
            )

    def read_picture(self) -> Picture:
        """Return the picture of now.

        Raises:
            BadFrameError: it is empty, cut off, or cannot be decoded.
            CaptureError: none came in time, or something else; or it is closed.
        """
        answer, source = self._opened(), self._source
        time.sleep(max(0.0, self._due - time.monotonic()))
        self._due = max(self._due + self._interval, time.monotonic())
        deadline = time.monotonic() + source.read_timeout
        try:
            if not self._unread:
                answer.close()
                self._answer = answer = get(source.address, source.read_timeout)
            self._unread = False
            picture, self._first = self._first, None
            if picture is not None:
                return self._picture(picture)
            if answer.status != http.client.OK:
                raise CaptureError(f"{source.name} gave no frame", found=answer.words)
            return self._picture(_whole(answer, deadline))
        except _FAILURES as e:
            if isinstance(e, CaptureError):
                raise
            raise self._no_frame(e) from None


def _whole(answer: Answer, deadline: float) -> bytes:
    """Return the body, or the first JPEG picture of one that goes on; raises as `Answer.read_some`."""
    body = bytearray()
    while (data := answer.read_some(deadline)) is not None:
        body += data
        if len(body) > MAX_PART_BYTES:
            raise CaptureError(f"a still of more than {MAX_PART_BYTES} bytes")
        if "Content-Length" not in answer.headers and (end := jpeg_end(body)) is not None:
            return bytes(body[:end])
    return bytes(body)


def http_source(uri: str) -> HttpSource:
    """Make the source of an address with our options, each after `ecovision.`; raises SourceError."""
    url, pairs = split_foreign(uri)
    address = network_address(url, os.environ)
    options = Options(address.shown, pairs, FOREIGN_PREFIX)
    open_timeout = options.number("open_timeout", 0, 600)
    read_timeout = options.number("read_timeout", 0, 600)
    fps = options.number("fps", 0, MAX_FPS)
    transform = Transform.take(options)
    options.done()
    return HttpSource(
        address,
        open_timeout or OPEN_TIMEOUT,
        read_timeout or READ_TIMEOUT,
        transform,
        None if fps is None else 1 / fps,
    )
