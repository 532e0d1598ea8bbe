"""Names of the streams of random numbers, so that no two of them are the same one."""

from __future__ import annotations

__all__ = ["ORDER", "PICTURES", "SIZES", "STATISTICS", "STEPS"]

# The first number of a numpy SeedSequence; then come the seed, the epoch, and what is drawn for.
ORDER, STEPS, PICTURES, SIZES, STATISTICS = 1, 2, 3, 4, 5
