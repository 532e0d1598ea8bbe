"""How a camera loop runs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ecovision_edge.camera.watch import WatchOptions
from ecovision_edge.errors import OptionError

__all__ = ["LoopOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopOptions:
    """Pace and limits of a loop. Times in seconds.

    Args:
        every: Minimum time between two frames that are looked at; None is as fast as they come. Of files it
            is the pace, and no frame is left out.
        max_frames: Number of frames looked at after which to end; None for no such end.
        duration: Time after which to end; None for no such end.
        max_age: A camera's frame older than this is passed over, and a newer one awaited; None takes any.
        watch: The limits of the watchdog over the source.
    """

    every: float | None = None
    max_frames: int | None = None
    duration: float | None = None
    max_age: float | None = 1.0
    watch: WatchOptions = field(default_factory=WatchOptions)

    def __post_init__(self) -> None:
        """Refuse what is out of range.

        Raises:
            OptionError: the name of the option, its range, and what was given.
        """
        for name in ("every", "duration", "max_age"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise OptionError(name, expected="seconds above 0", found=repr(value))
        if self.max_frames is not None and (not isinstance(self.max_frames, int) or self.max_frames < 1):
            raise OptionError("max_frames", expected="1 or more", found=repr(self.max_frames))
