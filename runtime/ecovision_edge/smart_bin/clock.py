"""The clock that a bin decides by."""

from __future__ import annotations

import time
from typing import Protocol, runtime_checkable

from ecovision_edge.camera.source import CapturedFrame, FrameSource

__all__ = ["FILES_FPS", "BinClock"]

FILES_FPS = 15.0
"""Frames per second of files that name no rate."""


@runtime_checkable
class _Paced(Protocol):
    """A source whose files have a rate of frames."""

    @property
    def fps(self) -> float: ...


class BinClock:
    """Tells the time of frames: of a camera when they were captured, of files by their number.

    Args:
        source: Where the frames come from.
    """

    def __init__(self, source: FrameSource) -> None:
        self._period: float | None = None
        if not source.live:
            rate = source.fps if isinstance(source, _Paced) else FILES_FPS
            self._period = source.interval or 1 / rate

    @property
    def runs(self) -> bool:
        """Whether time passes without frames; in files it does not: a slow disk is no pause of the tray."""
        return self._period is None

    def now(self) -> float:
        """Read the clock, in seconds; in files 0, which a decider takes for its latest time."""
        return time.monotonic() if self._period is None else 0.0

    def time_of(self, frame: CapturedFrame) -> float:
        """Return when a camera captured the frame, or when that of a file would have been captured."""
        return frame.captured_at if self._period is None else frame.sequence * self._period
