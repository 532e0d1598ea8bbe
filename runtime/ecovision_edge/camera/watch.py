"""When a source has stopped giving frames, and when to try it again: pure, times come in as arguments."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, fields

import numpy as np

from ecovision_edge.base.backoff import Backoff
from ecovision_edge.camera.source import Picture
from ecovision_edge.errors import CaptureError, OptionError, SourceOpenError
from ecovision_edge.observation import pixels_of
from ecovision_edge.photographs.jpeg import jpeg_scans
from ecovision_edge.photographs.jpeg_picture import JpegPicture, as_small_as_can_be

__all__ = ["SamePicture", "WatchOptions", "Watchdog"]

_SAMPLED = 16  # every 16th pixel of every 16th row: 1,200 of 640x480, some microseconds
_SAMPLED_BYTES = 64  # of a JPEG


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """How long to wait for a source, and how often to try again. Times in seconds.

    Args:
        open_timeout: Time for connecting, up to the first frame; above 0.
        stall_after: Time without a frame after which a live source is reconnected; above 0.
        frozen_after: The same where each frame is the same picture: an unplugged camera often goes on giving
            its last one. A real sensor's noise makes no two alike; None for drawn or still pictures.
        max_reconnects: Tries one after the other before giving up; None is for ever, 0 is no other try.
        first_delay: Time before the first try; each next one waits twice as long, up to `most_delay`, less
            up to half of it by chance.
        most_delay: Maximum time between two tries; at least `first_delay`.
        steady_after: Time with frames after which the count of tries begins again; the delay does so with the
            first frame.
    """

    open_timeout: float = 20.0
    stall_after: float = 5.0
    frozen_after: float | None = 10.0
    max_reconnects: int | None = None
    first_delay: float = 0.5
    most_delay: float = 30.0
    steady_after: float = 30.0

    def __post_init__(self) -> None:
        """Refuse what is out of range.

        Raises:
            OptionError: the name of the option, its range, and what was given.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "max_reconnects":
                if value is not None and (not isinstance(value, int) or value < 0):
                    raise OptionError(
                        "max_reconnects", expected="0 or more, or None for ever", found=repr(value)
                    )
            elif not (field.name == "frozen_after" and value is None) and not 0 < value < math.inf:
                raise OptionError(field.name, expected="seconds above 0", found=repr(value))
        if self.most_delay < self.first_delay:
            raise OptionError(
                "most_delay", expected=f"at least first_delay, {self.first_delay:g} s", found=self.most_delay
            )


class SamePicture:
    """Tells for how long a source has given one and the same picture.

    Pictures are compared by a checksum of some pixels, and by one of all where those are the same: cheap
    while a camera is well, and no false alarm over something small that moves. Of a JPEG it is the bytes of
    its scans: what stands before them, such as a time, shows nothing. Of one that is cut the pixels count.
    """

    def __init__(self) -> None:
        self._sample: tuple[int, ...] | None = None
        self._whole: int | None = None
        self._since = 0.0

    def look(self, picture: Picture, now: float) -> float:
        """Return the seconds from the first of a run of equal pictures to this one; 0 for a new picture."""
        if isinstance(picture, JpegPicture) and not picture.cut:
            scans = memoryview(picture.data)[jpeg_scans(picture.data) :]
            sample: tuple[int, ...] = len(scans), zlib.crc32(scans[::_SAMPLED_BYTES].tobytes())
        else:
            image = pixels_of(picture, as_small_as_can_be)
            sample = *image.shape, zlib.crc32(image[::_SAMPLED, ::_SAMPLED].tobytes())
            scans = np.ascontiguousarray(image).data  # a source of one's own may give part of a picture
        if sample != self._sample:
            self._sample, self._whole, self._since = sample, None, now
            return 0.0
        # The run is dated from its second picture: the first was not kept to be compared with.
        whole = zlib.crc32(scans)
        if whole != self._whole:
            self._whole, self._since = whole, now
            return 0.0
        return now - self._since


class Watchdog:
    """What happens to a source, and what follows from it. Knows no thread and no clock.

    Watches one connection: `connecting`, then `frame` for each frame; at `deadline` ask `overdue`. When it is
    lost, `failed` says how long to wait before the next one.
    """

    def __init__(self, options: WatchOptions, *, live: bool, backoff: Backoff | None = None) -> None:
        """Watch one source; of one that is not live neither stalls nor still pictures count."""
        self._options = options
        self._live = live
        self._backoff = backoff or Backoff(options.first_delay, options.most_delay)
        self._picture = SamePicture()
        self._connecting = False
        self._waiting_since: float | None = None
        self._steady_since: float | None = None
        self._frozen = False
        self._same = 0.0
        self._tries = 0
        self._bad, self._last_bad = 0, ""

    @property
    def tries(self) -> int:
        """Connections tried one after the other since frames came steadily."""
        return self._tries

    def connecting(self, now: float) -> None:
        """Hear that a connection is being made."""
        self._connecting, self._waiting_since, self._steady_since, self._bad = True, now, None, 0

    def frame(self, picture: Picture, now: float) -> bool:
        """Take a frame; False if it has been the same picture for so long that nobody should look at it."""
        after = self._options.frozen_after
        if self._live and after is not None:
            same = self._same = self._picture.look(picture, now)
            # Once frozen, only another picture helps: a new connection may give the old one again.
            self._frozen = same >= after or (self._frozen and same > 0)
            if self._frozen:
                return False
        self._connecting, self._waiting_since, self._bad = False, now, 0
        if self._steady_since is None:
            self._steady_since = now
            self._backoff.reset()  # this connection works: the next one need not wait long
        elif self._tries and now - self._steady_since >= self._options.steady_after:
            self._tries = 0
        return True

    def bad_frame(self, reason: str) -> None:
        """Take a frame that is of no use: it is not what is waited for, but it is told with `overdue`."""
        self._bad, self._last_bad = self._bad + 1, reason

    def pause(self, until: float | None = None) -> None:
        """Wait for nothing until then: the reader holds the source up, for its pace or its consumer."""
        self._waiting_since = until

    def resume(self, now: float) -> bool:
        """Hear that a frame is asked for at `now`; True if that ends a pause of unknown length."""
        if self._waiting_since is not None:
            return False
        self._waiting_since = now
        return True

    @property
    def deadline(self) -> float | None:
        """When `overdue` should be asked next; None while nothing is waited for."""
        if self._waiting_since is None:
            return None
        return self._waiting_since + self._patience

    @property
    def _patience(self) -> float:
        if self._connecting:
            return self._options.open_timeout
        return 0.0 if self._frozen else self._options.stall_after

    def overdue(self, now: float) -> CaptureError | SourceOpenError | None:
        """Return why the connection is of no more use, if it is so."""
        if self._waiting_since is None or now < self._waiting_since + self._patience:
            return None
        waited = now - self._waiting_since
        if self._frozen:
            return CaptureError(f"the picture is frozen: the same one for {self._same:.1f} s")
        bad = f"{self._bad} that came were of no use, the last: {self._last_bad}" if self._bad else None
        if self._connecting:
            return SourceOpenError(f"no first frame within {waited:.1f} s", found=bad)
        slow = "a source that is slower than that needs a longer stall_after (of `run`: --stall-after)"
        return CaptureError(f"no frame for {waited:.1f} s", found=bad, fix=None if bad else slow)

    def failed(self) -> float | None:
        """Count a lost connection: the seconds to wait before the next one, or None to give up."""
        self._waiting_since = self._steady_since = None
        if self._options.max_reconnects is not None and self._tries >= self._options.max_reconnects:
            return None
        self._tries += 1
        return self._backoff.next()
