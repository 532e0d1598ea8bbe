"""Which part of a frame is classified: where the item is."""

from __future__ import annotations

from dataclasses import replace

from ecovision_edge.bundle.views import PLAIN, RegionView
from ecovision_edge.observation import Box, Look, View
from ecovision_edge.preprocess.region import Region, TurnedBox

__all__ = ["Regions"]

STEADY_DEGREES = 15.0  # of a long item; its upright box may stay the same as it is turned
LONG = 1.2  # times its other side: what is shorter lies one way as well as another
STEADY = 0.02  # of the view: an item whose outline trembles by a cell or so is still looked at as before
LEAST = 0.2  # of the frame's shorter side: less is a blur when it is made as large as the network's input
WHOLE = 0.9  # of the frame's area: from there on it is looked at whole


class Regions:
    """From boxes of one item to regions of its frames; the region of an item that lies still stays the same.

    Args:
        margin: Added on each side, of the box's own width and height.
        aspect: The shorter side is at least this part of the longer one, 0 to 1: a network's input is square.
        crop: Whether the box is cut out at all; else the whole frame is classified.
        straighten: Whether what lies aslant is cut out straight.
    """

    def __init__(self, margin: float, aspect: float, *, crop: bool = True, straighten: bool = True) -> None:
        self._margin, self._aspect, self._crop, self._straighten = margin, aspect, crop, straighten
        self._box: Box | None = None
        self._turned: TurnedBox | None = None

    def region(self, look: Look | None, size: tuple[int, int], view: RegionView) -> Region | None:
        """Return which part of a frame to classify in `view`, given what a gate said of the frame.

        `size` is the frame's height and width in pixels.

        None is the whole frame, as it is: no item was seen, or it fills the frame and the view is plain.
        Without a gate an item is taken to fill the frame.
        """
        if look is not None and look.view is not View.ITEM:
            self.forget()
            return None
        height, width = size
        if look is not None and look.box is not None and self._crop:
            place = self.of(look.box, width, height, look.turned)
            if place is not None:
                return replace(place, view=view)
        return None if view == PLAIN else Region(0, 0, width, height, view)

    def expected(self, height: int, width: int) -> Region | None:
        """Return the part of a frame of that size that is classified if the item still lies as it did."""
        return None if self._box is None else self.of(self._box, width, height, self._turned)

    def forget(self) -> None:
        """The next box is another item's."""
        self._box = None

    def of(self, box: Box, width: int, height: int, turned: TurnedBox | None = None) -> Region | None:
        """The region of a frame of that size in pixels; None is the whole frame."""
        held = self._box
        moved = held is None or max(abs(a - b) for a, b in zip(held, box, strict=True)) > STEADY
        if held is None or moved or _lies_otherwise(self._turned, turned):
            held = self._box = box
            self._turned = turned if self._straighten else None
        left, right = held[0] * width, held[2] * width
        top, bottom = held[1] * height, held[3] * height
        least = LEAST * min(width, height)
        wide, high = self._grown(right - left, bottom - top, least)
        x0, x1 = _around((left + right) / 2, wide, width)
        y0, y1 = _around((top + bottom) / 2, high, height)
        found = None if self._turned is None else self._turned.scaled(width)
        area = (x1 - x0) * (y1 - y0) if found is None else found.width * found.height
        if area >= WHOLE * width * height:
            return None
        return Region(x0, y0, x1, y1, turned=None if found is None else self._laid(found, least))

    def _grown(self, wide: float, high: float, least: float) -> tuple[float, float]:
        """Return the sides with their margins, none too short."""
        grown = 1 + 2 * self._margin
        wide, high = max(wide * grown, least), max(high * grown, least)
        return max(wide, high * self._aspect), max(high, wide * self._aspect)

    def _laid(self, box: TurnedBox, least: float) -> TurnedBox:
        """Return a turned box in pixels with its sides grown."""
        wide, high = self._grown(box.width, box.height, least)
        return replace(box, width=wide, height=high)


def _lies_otherwise(held: TurnedBox | None, now: TurnedBox | None) -> bool:
    """Return whether a long item lies another way than it did, in pixels or shares alike."""
    if held is None or now is None:
        return False  # its outline may tremble about what is called aslant
    if min(max(t.width, t.height) / min(t.width, t.height) for t in (held, now)) < LONG:
        return False
    ways = [t.degrees + 90 * (t.height > t.width) for t in (held, now)]
    return abs((ways[0] - ways[1] + 90) % 180 - 90) > STEADY_DEGREES


def _around(middle: float, length: float, most: int) -> tuple[int, int]:
    """Begin and end of so many pixels around the middle, moved inwards where they would go beyond a side."""
    pixels = min(most, max(1, round(length)))
    begin = min(max(0, round(middle - pixels / 2)), most - pixels)
    return begin, begin + pixels
