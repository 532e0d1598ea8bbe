"""Percentiles of millions of times in a few kilobytes."""

from __future__ import annotations

import math

from ecovision_edge.base.stats import min_samples

__all__ = ["Percentiles"]

_LEAST = 1e-6  # one microsecond in seconds; what is shorter counts as that
_GROWTH = 1.02  # from one bucket to the next: the middle of a bucket is off by 1 % at most
_LOG = math.log(_GROWTH)
_BUCKETS = 1 + math.ceil(math.log(1e5 / _LEAST) / _LOG)  # up to a day


class Percentiles:
    """Counts times in buckets that grow by 2 %: memory never grows, and percentiles are right to 1 %."""

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self._count = 0
        self._most = 0.0

    def add(self, seconds: float) -> None:
        """Count one time, in seconds; what is below a microsecond counts as one."""
        bucket = int(math.log(seconds / _LEAST) / _LOG) if seconds > _LEAST else 0
        self._counts[min(bucket, _BUCKETS - 1)] += 1
        self._count += 1
        self._most = max(self._most, seconds)

    def __len__(self) -> int:
        return self._count

    @property
    def most(self) -> float:
        """The longest time so far, seconds, exactly; 0 if there is none."""
        return self._most

    def percentile(self, percent: int) -> float | None:
        """Return the time, in seconds, that `percent` of all do not exceed; right to 1 %.

        None where too few were counted for the claim: p90 needs 64 and p99 662 samples (MLPerf's rule).
        """
        # The median is no claim about a tail.
        if self._count < (min_samples(percent) if percent > 50 else 1):
            return None
        rank, seen = math.ceil(self._count * percent / 100), 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if seen >= rank:
                return float(min(_LEAST * _GROWTH ** (bucket + 0.5), self._most))
        return self._most
