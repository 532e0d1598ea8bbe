"""What the live page takes and gives at most."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from ecovision_edge.errors import OptionError

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a `PageServer`; the defaults suit a small computer and a few phones.

    Args:
        fps: Pictures a second in a stream, at most.
        long_side: Pixels of a picture's long side, at most 16384; larger frames are made smaller.
        quality: Quality of the JPEGs, 1 to 100.
        events_per_s: Results a second that a page is told of, at most.
        heartbeat_s: Between signs of life where there is nothing to tell.
        stale_s: How old the last frame may be before the source counts as stalled. A source that gives a
            frame every ten seconds needs more than that.
        slow_s: How long a client may take nothing of what is ready for it.
        idle_s: How long a connection may be without a request.
        connections: Open at once, of all kinds. For another one the one that is idle for longest is closed;
            where all are being answered it is itself.

    Raises:
        OptionError: one of them is outside its range.
    """

    fps: float = 15.0
    long_side: int = 960
    quality: int = 80
    events_per_s: float = 10.0
    heartbeat_s: float = 5.0
    stale_s: float = 5.0
    slow_s: float = 10.0
    idle_s: float = 30.0
    connections: int = 128

    def __post_init__(self) -> None:
        highest = {"quality": 100, "long_side": 16384}  # of a JPEG: 65535, with room for a very long frame
        for field in fields(self):
            value = getattr(self, field.name)
            most = highest.get(field.name, math.inf)
            if not (0 < value <= most and math.isfinite(value)):
                expected = "more than 0" if most == math.inf else f"1 to {most:g}"
                raise OptionError(f"limit {field.name} of the page", expected=expected, found=value)
