"""What several frames of one item say together."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ecovision_edge.bundle.views import effective_count
from ecovision_edge.errors import OptionError

__all__ = ["LEAST", "Evidence"]

LEAST = 1e-6  # no single frame may rule a class out for good
_ROUNDING = 1e-3  # by which a probability in half precision may leave 0 to 1


class Evidence:
    """The probabilities of one item's frames, combined.

    If n frames were independent, their log-probabilities would add up: that is the log-likelihood of a
    sequential test (A. Wald, "Sequential tests of statistical hypotheses", Ann. Math. Stat. 16 (1945)
    117-186). Frames of an item that lies still are nearly copies of each other, and even other views of it
    are far from independent, so they count for fewer (`effective_count`): n frames in one view with the
    correlation r for n / (1 + (n - 1) r) of them, that is for at most 1 / r however many come. A stated error
    rate holds as far as the network's probabilities are calibrated and r is right; `ecovision-edge score`
    counts the errors that were really made.

    Args:
        classes: How many, at least 2.
        correlation: Of two frames of one item, 0 (independent) to 1 (copies); or one per view, as of a
            `ViewPlan`.
    """

    def __init__(self, classes: int, correlation: float | Sequence[float]) -> None:
        if classes < 2:
            raise OptionError("classes", expected="2 or more", found=classes)
        by_view = tuple(correlation) if isinstance(correlation, Sequence) else (correlation,)
        if not by_view or (wrong := [r for r in by_view if not 0 <= r <= 1]):
            raise OptionError("correlation", expected="0 to 1", found=wrong[0] if by_view else "none")
        self._correlation = by_view
        self._frames = [0] * len(by_view)
        self._sums = [[0.0] * classes for _ in by_view]
        self._votes: list[int] = []

    @property
    def frames(self) -> int:
        """How many were added."""
        return len(self._votes)

    def add(self, probabilities: Sequence[float], view: int = 0) -> None:
        """Add one frame's calibrated probabilities, one per class, 0 to 1.

        Args:
            probabilities: Of the frame.
            view: Number of the view that it was looked at in.

        Raises:
            OptionError: not one per class, or one is NaN, infinite or out of range; none of them counts then.
        """
        sums = self._sums[view]
        if len(probabilities) != len(sums):
            raise OptionError(
                "probabilities of a frame", expected=f"{len(sums)} of them", found=len(probabilities)
            )
        if wrong := [p for p in probabilities if not -_ROUNDING <= p <= 1 + _ROUNDING]:
            raise OptionError(
                "probabilities of a frame", expected="numbers from 0 to 1", found=repr(float(wrong[0]))
            )
        for i, p in enumerate(probabilities):
            sums[i] += math.log(max(p, LEAST))
        self._frames[view] += 1
        self._votes.append(max(range(len(probabilities)), key=probabilities.__getitem__))

    def posterior(self) -> list[float]:
        """Probabilities of the classes after all frames, which add up to 1; alike before the first one."""
        return self._probabilities(effective_count(self._frames, self._correlation))

    def typical(self) -> list[float]:
        """Say what a typical frame says: the geometric mean of the frames' probabilities, scaled to sum to 1.

        Each view counts alike, however many frames it has.
        """
        return self._probabilities(1.0)

    def _probabilities(self, count: float) -> list[float]:
        """Combine `count` independent frames, each of which says what a typical one says."""
        seen = [(n, sums) for n, sums in zip(self._frames, self._sums, strict=True) if n]
        if not seen:
            return [1 / len(self._sums[0])] * len(self._sums[0])
        logs = [count * sum(sums[i] / n for n, sums in seen) / len(seen) for i in range(len(self._sums[0]))]
        top = max(logs)
        weights = [math.exp(x - top) for x in logs]
        total = sum(weights)
        return [w / total for w in weights]

    def agreement(self, label: int, last: int) -> float:
        """Count the share of the last `last` frames, or of all if fewer, whose likeliest is `label`."""
        votes = self._votes[-last:]
        return votes.count(label) / len(votes) if votes else 0.0
