"""JPEGs of the newest frame: encoded once for all viewers, in a thread, and only while there are any."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass

import cv2
import numpy as np

from ecovision_edge.base.reasons import reason_of
from ecovision_edge.camera.source import Image
from ecovision_edge.errors import ImageReadError
from ecovision_edge.observation import Picture as Frame
from ecovision_edge.observation import pixels_of, size_of
from ecovision_edge.photographs.jpeg_picture import JpegPicture
from ecovision_edge.preprocess.frames import Bgr
from ecovision_edge.web._pulse import Pulse
from ecovision_edge.web.board import Board, Status, View
from ecovision_edge.web.limits import Limits

__all__ = ["Picture", "Pictures"]

_log = logging.getLogger(__name__)
_EMPTY = Bgr(np.zeros((360, 640, 3), np.uint8))


@dataclass(frozen=True, slots=True)
class Picture:
    """One encoded frame.

    Args:
        number: Rises with each picture of the stream.
        jpeg: The encoded bytes.
        live: Whether it may be taken for the present; else it is greyed, with the state written on it.
        sequence: Number of the frame; -1 before the first.
        captured_at: Time of the frame's capture, seconds of `time.monotonic()`.
    """

    number: int
    jpeg: bytes
    live: bool
    sequence: int
    captured_at: float


class Pictures:
    """The stream's pictures; for the event loop's thread alone."""

    def __init__(self, board: Board, pulse: Pulse, limits: Limits, executor: Executor) -> None:
        """`executor` has the thread that encodes."""
        self._board, self._pulse, self._limits, self._executor = board, pulse, limits, executor
        self._newest: Picture | None = None
        self._number = 0
        self._kept: tuple[object, str, Picture] | None = None
        self._encoding = asyncio.Lock()
        self._fresh = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self.viewers = 0
        """Streams that are open."""

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Make pictures while at least one viewer is in here."""
        self.viewers += 1
        if self._task is None or self._task.done():
            self._newest = None
            self._task = asyncio.get_running_loop().create_task(self._make())
        try:
            yield
        finally:
            self.viewers -= 1
            if self.viewers == 0 and self._task is not None:
                self._task.cancel()
                self._task = None
                self._newest = None  # who comes next must not see it

    async def after(self, number: int) -> Picture:
        """Wait for a picture that is not `number`, and return the newest; while `watching`."""
        async with self._fresh:
            await self._fresh.wait_for(lambda: self._newest is not None and self._newest.number != number)
            assert self._newest is not None
            return self._newest

    async def now(self) -> tuple[Status, Picture | None]:
        """Return the state, and the newest frame if it may be taken for the present."""
        view, now = self._board.view(), time.monotonic()
        status = view.status(now, self._limits.stale_s)
        return status, await self._picture(view, status) if status.live else None

    async def _make(self) -> None:
        loop = asyncio.get_running_loop()
        shown: tuple[int, object] | None = None
        while True:
            started, view = loop.time(), self._board.view()
            status = view.status(time.monotonic(), self._limits.stale_s)
            index = -1 if view.result is None else view.result.index
            key = index, None if status.live else status.state
            if key != shown:
                shown = key
                if (picture := await self._picture(view, status)) is not None:
                    async with self._fresh:
                        self._newest = picture
                        self._fresh.notify_all()
                await asyncio.sleep(max(0.0, started + 1 / self._limits.fps - loop.time()))
            # A frame grows stale without a word from the board.
            await self._pulse.newer(view.version, min(0.5, self._limits.stale_s / 4))

    async def _picture(self, view: View, status: Status) -> Picture | None:
        shown: Frame = _EMPTY
        sequence, captured_at = -1, time.monotonic()
        if view.result is not None:
            frame = view.result.frame
            shown, sequence, captured_at = frame.picture, frame.sequence, frame.captured_at
        caption = "" if status.live else status.state.value
        limits = self._limits
        async with self._encoding:  # who asks meanwhile for the same gets the same
            if self._kept is not None and self._kept[0] is view.result and self._kept[1] == caption:
                return self._kept[2]
            try:
                jpeg = await asyncio.get_running_loop().run_in_executor(
                    self._executor, _encode, shown, limits.long_side, limits.quality, caption
                )
            except (
                cv2.error,
                ImageReadError,
                ValueError,
                TypeError,
            ) as e:  # not a picture; the next one may be
                self._newest = None
                _log.warning("frame %d cannot be encoded: %s", sequence, reason_of(e))
                return None
            self._number += 1
            picture = Picture(self._number, jpeg, status.live, sequence, captured_at)
            self._kept = view.result, caption, picture
            return picture


def _encode(picture: Frame, long_side: int, quality: int, caption: str) -> bytes:
    """Encode a picture as JPEG, its long side at most `long_side`; greyed where it has a caption.

    One that came as such a JPEG is given as it came.
    """
    as_it_came = picture.jpeg if isinstance(picture, JpegPicture) and not caption else None
    if as_it_came is not None and max(size_of(picture)) <= long_side:
        return as_it_came
    image: Image = pixels_of(picture, lambda height, width: _reduction(max(height, width), long_side))
    height, width = image.shape[:2]
    scale = min(1.0, long_side / max(height, width, 1))
    small = image
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    if caption:
        small = _greyed(small, caption)
    done, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError("OpenCV gives no JPEG")
    return data.tobytes()


def _reduction(side: int, wanted: int) -> int:
    """Return how many times smaller a picture may be decoded that is to have a side of `wanted` pixels."""
    return next((by for by in (8, 4, 2) if side // by >= wanted), 1)


def _greyed(image: Image, caption: str) -> Image:
    """Make a picture dark, without colour, and put its caption on it: nobody takes it for the present."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) // 3
    out = np.asarray(cv2.cvtColor(np.asarray(grey, np.uint8), cv2.COLOR_GRAY2BGR), np.uint8)
    scale = out.shape[1] / 640
    (width, height), _ = cv2.getTextSize(caption, cv2.FONT_HERSHEY_SIMPLEX, scale, 2)
    place = max(0, (out.shape[1] - width) // 2), (out.shape[0] + height) // 2
    cv2.putText(out, caption, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 2, cv2.LINE_AA)
    return out
