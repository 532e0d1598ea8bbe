"""Views: in which ways the same part of a frame is shown to the network, and what several say together."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ecovision_edge.base.fields import Fields, JsonValue
from ecovision_edge.base.names import quoted
from ecovision_edge.base.records import dataclass
from ecovision_edge.errors import ContractError

__all__ = [
    "ANY_ORIENTATION",
    "MAX_VIEWS",
    "PLAIN",
    "UPRIGHT",
    "RegionView",
    "ViewPlan",
    "effective_count",
    "parse_views",
]

MAX_VIEWS = 16
SMALLEST, LARGEST = 0.25, 2.0
_TEXT = re.compile(r"(?:(90|180|270)(?:\+|$))?(?:(mirrored)(?:\+|$))?(?:x(\d+(?:\.\d+)?))?")


@dataclass(frozen=True, slots=True)
class RegionView:
    """One way to look at a part of a frame. As text: `plain`, `mirrored`, `90+mirrored`, `180+x0.85`.

    Args:
        quarters: Quarter turns counter-clockwise, 0 to 3.
        mirrored: Left and right are then exchanged.
        scale: Scale of the sides of the part, about its middle: below 1 a tighter cut, above 1 a wider one;
            0.25 to 2.
    """

    quarters: int = 0
    mirrored: bool = False
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is no view.

        Raises:
            ContractError: out of range.
        """
        if self.quarters not in range(4):
            raise ContractError("quarter turns of a view", expected="0 to 3", found=self.quarters)
        if not SMALLEST <= self.scale <= LARGEST:
            expected = f"{SMALLEST:g} to {LARGEST:g}"
            raise ContractError("scale of a view", expected=expected, found=self.scale)

    def __str__(self) -> str:
        parts = [str(90 * self.quarters)] if self.quarters else []
        parts += ["mirrored"] if self.mirrored else []
        parts += [f"x{self.scale!r}"] if self.scale != 1 else []
        return "+".join(parts) or "plain"

    @classmethod
    def parse(cls, text: str, where: str = "a view") -> RegionView:
        """Read what `str` gives.

        Raises:
            ContractError: it is something else; `where` says of what.
        """
        if text == "plain":
            return PLAIN
        found = _TEXT.fullmatch(text)
        if found is None or not text or text.endswith("+"):
            expected = "plain, or some of 90, 180 or 270, mirrored, and x0.25 to x2, joined by +"
            raise ContractError(where, expected=expected, found=quoted(text))
        turn, mirrored, scale = found.groups()
        return cls(int(turn or 0) // 90, mirrored is not None, float(scale or 1))


PLAIN = RegionView()
"""The part as it is."""

UPRIGHT = (PLAIN, RegionView(scale=0.85), RegionView(mirrored=True), RegionView(mirrored=True, scale=0.85))
"""For a model that was trained on upright things. Wider cuts decided less than none, here and below."""

ANY_ORIENTATION = (PLAIN, RegionView(1, mirrored=True), RegionView(2), RegionView(3, mirrored=True))
"""For a model that was trained on things in any orientation; a tighter cut besides decided no more."""


def parse_views(text: str, *, any_orientation: bool) -> tuple[RegionView, ...]:
    """Read views as an option names them.

    Args:
        text: `auto`, `none`, or views with commas between.
        any_orientation: Whether `auto` has quarter turns, for a model of any orientation.

    Raises:
        ContractError: no such view, one of them twice, or the first one is not plain.
    """
    if text == "none":
        return (PLAIN,)
    if text == "auto":
        return ANY_ORIENTATION if any_orientation else UPRIGHT
    views = tuple(RegionView.parse(part.strip(), "--views") for part in text.split(","))
    return ViewPlan(views, (1.0,) * len(views)).views


@dataclass(frozen=True, slots=True)
class ViewPlan:
    """The views that the frames of one item are looked at in, in turn, and what they are worth together.

    Args:
        views: At least one, the first one plain, none twice.
        correlation: One per view, 0 (independent) to 1 (copies): of the first, that of two frames in the same
            view; of any other, that of it with those before it. See `effective_count`.
        thresholds: The least combined probability, one per class, below which an item is unknown; None: none
            were fitted.
    """

    views: tuple[RegionView, ...]
    correlation: tuple[float, ...]
    thresholds: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse what is no plan.

        Raises:
            ContractError: says what.
        """
        if not 1 <= len(self.views) <= MAX_VIEWS:
            raise ContractError("views", expected=f"1 to {MAX_VIEWS} views", found=len(self.views))
        if self.views[0] != PLAIN or len(set(self.views)) != len(self.views):
            found = ", ".join(map(str, self.views))
            raise ContractError("views", expected="plain first, and each view once", found=found)
        if len(self.correlation) != len(self.views) or not all(0 <= r <= 1 for r in self.correlation):
            expected = f"{len(self.views)} numbers from 0 to 1, one per view"
            raise ContractError("views.correlation", expected=expected, found=self.correlation)
        if self.thresholds is not None and not all(0 <= t <= 1 for t in self.thresholds):
            raise ContractError(
                "views.thresholds", expected="numbers from 0 to 1, one per label", found=self.thresholds
            )

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values, with the views as texts."""
        return {
            "views": [str(view) for view in self.views],
            "correlation": list(self.correlation),
            "thresholds": None if self.thresholds is None else list(self.thresholds),
        }

    @classmethod
    def from_fields(cls, f: Fields, labels: int) -> ViewPlan:
        """Read what `to_json` gave, of a model with so many labels.

        Raises:
            ContractError: it is something else.
        """
        texts = f.items("views", most=MAX_VIEWS)
        views = tuple(
            RegionView.parse(text if isinstance(text, str) else ascii(text), f.at("views")) for text in texts
        )
        plan = cls(
            views,
            f.numbers("correlation", len(views), 0, 1),
            f.numbers("thresholds", labels, 0, 1) if f.has("thresholds") else None,
        )
        f.done()
        return plan


def effective_count(frames: Sequence[int], correlation: Sequence[float]) -> float:
    """Return how many independent frames say as much as these.

    Each view says the mean of its frames, and all of them together the mean of the views. If a frame's error
    has the variance 1, that mean has the variance `1 / n`, and n is what is returned. For n frames in one
    view with the correlation r it is n / (1 + (n - 1) r), the effective sample size of n equally correlated
    ones.

    Args:
        frames: How many, one number per view.
        correlation: Correlation as in a `ViewPlan`.

    Returns:
        0 without frames.
    """
    same, variance, views = correlation[0], 0.0, 0
    for n, with_earlier in zip(frames, correlation, strict=True):
        if n:
            variance += (1 + (n - 1) * same) / n + 2 * views * with_earlier
            views += 1
    return views**2 / variance if views else 0.0
