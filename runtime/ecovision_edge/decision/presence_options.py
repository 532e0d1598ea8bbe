"""How much has to differ from the empty tray."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from ecovision_edge.errors import OptionError

__all__ = ["PresenceOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PresenceOptions:
    """How much has to differ, and how long the empty tray is looked at. Shares are of the view, 0 to 1.

    Args:
        learn: Seconds without motion that the empty tray is learnt from.
        enter: From this share on, something is there.
        leave: Below this share, it is gone; less than `enter`, so that it does not flicker.
        contrast: Levels of 255 that a cell has to differ by, at least.
        noise: Standard deviations of a cell's own noise that it has to differ by, at least.
        motion: From this share of cells that change on, something moves.
        adapt: Seconds in which the picture of the empty tray follows slow changes of light.
        cover: From this share on, of all cells or of those along the sides, the view is another one.
        relearn: Seconds of a covered view without motion after which it is taken for the empty tray.
    """

    learn: float = 0.8
    enter: float = 0.008
    leave: float = 0.004
    contrast: float = 14.0
    noise: float = 6.0
    motion: float = 0.01
    adapt: float = 20.0
    cover: float = 0.9
    relearn: float = 30.0

    def __post_init__(self) -> None:
        """Refuse what is out of range.

        Raises:
            OptionError: the option, its range, and what was given.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            most = 1.0 if field.name in ("enter", "leave", "motion", "cover") else math.inf
            if not (0 < value <= most and math.isfinite(value)):
                expected = "above 0, at most 1" if most == 1 else "above 0"
                raise OptionError(field.name, expected=expected, found=repr(value))
        if not self.leave <= self.enter < self.cover:
            raise OptionError(
                "shares of presence",
                expected="leave <= enter < cover",
                found=f"{self.leave:g}, {self.enter:g}, {self.cover:g}",
            )
