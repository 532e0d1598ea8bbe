"""What a source of frames is: a description that can be connected to, again and again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from ecovision_edge.errors import BadFrameError, ImageReadError
from ecovision_edge.observation import Observation, Picture, pixels_of
from ecovision_edge.preprocess.frames import Bgr

__all__ = [
    "BgrStream",
    "CapturedFrame",
    "FrameSource",
    "FrameStream",
    "Image",
    "Picture",
    "PictureStream",
    "SlowStart",
]

Image: TypeAlias = npt.NDArray[np.uint8]
"""`(height, width, 3) uint8 BGR`."""


@dataclass(frozen=True, slots=True)
class CapturedFrame:
    """A frame, and when it came.

    Args:
        picture: `(height, width, 3) uint8 BGR`, which nobody changes; or the JPEG that came in its place.
        sequence: Its number since the start, from 0, over all reconnects; gaps are frames that were dropped.
        captured_at: When the source handed it over, seconds of `time.monotonic()`. What a camera or a network
            held it back before that is not in it.
    """

    picture: Picture
    sequence: int
    captured_at: float

    @property
    def image(self) -> Bgr:
        """The pixels, all of them; a JPEG is decoded for it.

        Raises:
            ImageReadError: it cannot be decoded; `LatestFrame` gives none of those.
        """
        return pixels_of(self.picture)

    @property
    def observation(self) -> Observation:
        """What is known of it: the picture."""
        return Observation(self.picture)

    def age_ms(self, now: float) -> float:
        """Return the milliseconds from its capture to `now`, seconds of the same clock."""
        return (now - self.captured_at) * 1000


class FrameStream(Protocol):
    """One connection to a source. Used by one thread alone, the one that connected, `close` included."""

    def read(self) -> Image | None:
        """Return the next frame, in an array that nobody changes later; None at the end of a finite source.

        It may take as long as it likes: whoever calls it has a thread for that and a watchdog beside it.

        Raises:
            BadFrameError: this frame is of no use, and the next one may be; read on.
            CaptureError: there is no frame to be had; the connection is of no more use.
        """

    def close(self) -> None:
        """Give back the device, the socket or the file. Idempotent."""


class BgrStream(ABC):
    """A `FrameStream` that checks each frame itself (`Transform.finish`); those of others are checked."""

    @abstractmethod
    def read(self) -> Bgr | None:
        """Return the next frame; as `FrameStream.read`."""

    @abstractmethod
    def close(self) -> None:
        """Give back the device, the socket or the file. Idempotent."""


class PictureStream(BgrStream):
    """One whose frames come as JPEG, mostly: they need not be decoded before somebody looks at them."""

    @abstractmethod
    def read_picture(self) -> Picture | None:
        """Return the next frame as it came; otherwise as `FrameStream.read`."""

    def read(self) -> Bgr | None:
        """Return the next frame, decoded; as `FrameStream.read`."""
        picture = self.read_picture()
        try:
            return None if picture is None else pixels_of(picture)
        except ImageReadError as e:
            raise BadFrameError(e.message) from e


class FrameSource(Protocol):
    """Where frames come from: a camera, an address, files. It holds nothing open itself."""

    @property
    def name(self) -> str:
        """What logs and messages call it; without credentials."""

    @property
    def live(self) -> bool:
        """True for a camera, whose frames go stale; False for files, of which each frame counts."""

    @property
    def interval(self) -> float | None:
        """Seconds that the reader leaves between frames; None where the source has its own pace."""

    def connect(self) -> FrameStream:
        """Open it. It may be called again after the last connection failed, or while one still hangs.

        Raises:
            SourceOpenError: it cannot be opened now.
        """


@runtime_checkable
class SlowStart(Protocol):
    """A source that was told how long it may take to begin; the watchdog then waits no less."""

    @property
    def first_within(self) -> float:
        """Seconds up to the first frame."""
