"""When a decision is made."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from ecovision_edge.decision.presence_options import PresenceOptions
from ecovision_edge.errors import OptionError

__all__ = ["RANGES", "DeciderOptions", "GateKind", "Range"]

GateKind = Literal["picture", "trigger"]
"""What tells that there is an item: the picture, or `BinDecider.trigger`."""


@dataclass(frozen=True, slots=True)
class Range:
    """Finite numbers from `low` to `high`, without `low` itself where it is `above`."""

    low: float
    high: float = math.inf
    above: bool = False
    unit: str = ""

    def holds(self, value: float) -> bool:
        """Whether the value is in the range; NaN is not."""
        return self.low <= value <= self.high and value < math.inf and not (self.above and value == self.low)

    def __str__(self) -> str:
        """Write the range as messages state what they expect."""
        bounds = f"above {self.low:g}" if self.above else f"{self.low:g}"
        if self.high < math.inf:
            bounds += f", at most {self.high:g}" if self.above else f" to {self.high:g}"
        elif not self.above:
            bounds += " or more"
        return f"{self.unit}{' ' if self.above else ', '}{bounds}" if self.unit else bounds


_SHARE = Range(0, 1)
_SECONDS = Range(0, unit="seconds")
_SOME_SECONDS = Range(0, above=True, unit="seconds")
RANGES = {
    **dict.fromkeys(("agree", "correlation", "aspect"), _SHARE),
    "error": Range(0, 0.5, above=True),
    "margin": Range(0, 10),
    **dict.fromkeys(("settle", "settle_at_edge", "rearm", "cooldown"), _SECONDS),
    **dict.fromkeys(("settle_within", "decide_within", "tell_after"), _SOME_SECONDS),
}
"""What each number of `DeciderOptions` may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeciderOptions:
    """Times in seconds.

    Args:
        gate: What tells that an item came: `picture` (see `PresenceGate`), or `trigger`: a sensor or a
            button.
        settle: Time that an item has to be still before its frames count.
        settle_at_edge: The same for an item that reaches out of the view over a side or two: it may be a
            hand, or an item in one. Its time limit stays as it is.
        settle_within: Time of motion after which an item is looked at as it is: a bin must not wait for ever.
        decide_within: Time limit from the first frame of an item that counts; what is not sure by then is
            unknown.
        min_frames: Frames of an item before it may be decided, at least 1.
        agree: Share of the last `2 * min_frames` frames that have to name the label, 0 to 1.
        error: Maximum share of the decided items that may be wrong, 0 to 0.5, as far as the probabilities are
            right (see `Evidence`).
        correlation: The correlation of two frames of one item, 0 to 1; see `Evidence`.
        rearm: Time that the tray has to be empty before another item can come.
        cooldown: Time after an event in which nothing happens.
        tell_after: Time after which what blocks every decision is told as a fault: nothing lies still, so
            that the empty tray cannot be learnt; no frame comes; an item was put in place of one that was
            decided, without an empty tray between; and the like.
        question_after: Time after its decision after which an item that is still there is questioned. If
            nothing has come and gone yet since the empty tray was learnt, that is learnt again, for it may
            have been a wrong picture; else it is told as a fault.
        crop: Whether the part of the frame that the item covers is classified, or the whole frame. With
            `gate="trigger"` it is always the whole.
        straighten: Whether what lies aslant and fills a rectangle (a sheet, a box, a card) is cut out along
            its own sides and laid straight, in place of the upright box around it, of which a half may be
            tray. What fills none is not: items cut loose would lose 5 points (`score.lying`).
        margin: Added to that part on each side, of its own width and height. None is best for the reference
            model: of 200 items cut out of photographs and laid on a synthetic tray 85 % were right with 0,
            79 % with 0.1, 72 % with 0.35, 60 % by whole frames.
        aspect: The shorter side of that part is at least so much of the longer one, 0 to 1; 0.6 was a little
            better than none, and than 1. Where the contract says `shortest`, `SmartBin` takes 1.
        presence: The options of the gate `picture`.
    """

    gate: GateKind = "picture"
    settle: float = 0.3
    settle_at_edge: float = 1.5
    settle_within: float = 5.0
    decide_within: float = 2.0
    min_frames: int = 5
    agree: float = 0.8
    error: float = 0.1
    correlation: float = 0.5
    rearm: float = 0.5
    cooldown: float = 1.0
    tell_after: float = 10.0
    question_after: float = 60.0
    crop: bool = True
    straighten: bool = True
    margin: float = 0.0
    aspect: float = 0.6
    presence: PresenceOptions = field(default_factory=PresenceOptions)

    def __post_init__(self) -> None:
        """Refuse what is out of range.

        Raises:
            OptionError: the option, its range, and what was given.
        """
        if self.gate not in get_args(GateKind):
            raise OptionError("gate", expected=" or ".join(get_args(GateKind)), found=self.gate)
        if not isinstance(self.min_frames, int) or self.min_frames < 1:
            raise OptionError("min_frames", expected="1 or more", found=repr(self.min_frames))
        for name, range in RANGES.items():
            value = getattr(self, name)
            if not range.holds(value):
                raise OptionError(name, expected=range, found=repr(value))
        if self.settle_within < self.settle:
            raise OptionError(
                "settle_within", expected=f"at least settle, {self.settle:g} s", found=self.settle_within
            )
