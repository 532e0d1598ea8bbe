"""What several frames of one item say together."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ecovision_edge.errors import OptionError

__all__ = ["Evidence"]

_LEAST = 1e-6  # no single frame may rule a class out for good
_ROUNDING = 1e-3  # by which a probability in half precision may leave 0 to 1


class Evidence:
    """The probabilities of one item's frames, combined.

    If n frames were independent, their log-probabilities would add up: that is the log-likelihood of a
    sequential test (A. Wald, "Sequential tests of statistical hypotheses", Ann. Math. Stat. 16 (1945)
    117-186). Frames of an item that lies still are nearly copies of each other, so they count for fewer: with
    correlation r for n / (1 + (n - 1) r) of them (the effective sample size of n equally correlated ones),
    that is for at most 1 / r however many come. A stated error rate holds as far as the network's
    probabilities are calibrated and r is right; `ecovision-edge score` counts the errors that were really
    made.

    Args:
        classes: How many, at least 2.
        correlation: Of two frames of one item, 0 (independent) to 1 (copies).
    """

    def __init__(self, classes: int, correlation: float) -> None:
        if classes < 2:
            raise OptionError("classes", expected="2 or more", found=classes)
        if not 0 <= correlation <= 1:
            raise OptionError("correlation", expected="0 to 1", found=correlation)
        self._correlation = correlation
        self._sums = [0.0] * classes
        self._votes: list[int] = []

    @property
    def frames(self) -> int:
        """How many were added."""
        return len(self._votes)

    def add(self, probabilities: Sequence[float]) -> None:
        """Add one frame's calibrated probabilities, one a class, 0 to 1.

        Raises:
            OptionError: not one a class, or one is NaN, infinite or out of range; none of them counts then.
        """
        if len(probabilities) != len(self._sums):
            raise OptionError(
                "probabilities of a frame", expected=f"{len(self._sums)} of them", found=len(probabilities)
            )
        if wrong := [p for p in probabilities if not -_ROUNDING <= p <= 1 + _ROUNDING]:
            raise OptionError(
                "probabilities of a frame", expected="numbers from 0 to 1", found=repr(float(wrong[0]))
            )
        for i, p in enumerate(probabilities):
            self._sums[i] += math.log(max(p, _LEAST))
        self._votes.append(max(range(len(probabilities)), key=probabilities.__getitem__))

    def posterior(self) -> list[float]:
        """Probabilities of the classes after all frames, which add up to 1; alike before the first one."""
        n = len(self._votes)
        counts = n / (1 + (n - 1) * self._correlation) if n else 0.0
        logs = [s / n * counts if n else 0.0 for s in self._sums]
        top = max(logs)
        weights = [math.exp(x - top) for x in logs]
        total = sum(weights)
        return [w / total for w in weights]

    def typical(self) -> list[float]:
        """What a typical frame says: the geometric mean of the frames' probabilities, made to add up to 1."""
        n = len(self._votes)
        if n == 0:
            return self.posterior()
        weights = [math.exp(s / n) for s in self._sums]
        total = sum(weights)
        return [w / total for w in weights]

    def agreement(self, label: int, last: int) -> float:
        """The share of the last `last` frames, or of all if there are fewer, whose likeliest is `label`."""
        votes = self._votes[-last:]
        return votes.count(label) / len(votes) if votes else 0.0
