"""Percentiles, and how many samples one has to have before it may be printed.

The rule is MLPerf's (MLCommons, "MLPerf Inference Rules", appendix "Early Stopping Criterion"): a percentile
may be claimed at 99 % confidence when so many samples are there that, were the true share of slower ones any
larger than 1 - percentile, at most one slower sample would have been seen with a probability of 1 % or less.
It is computed here, from the binomial distribution, and not looked up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.stats import min_samples

__all__ = ["PERCENTILES", "min_samples", "percentile", "percentile_name", "supported"]

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
"""Those that are reported, where the number of samples supports them."""


def supported(count: int, percentiles: Sequence[float] = PERCENTILES) -> tuple[float, ...]:
    """Select the percentiles that `count` samples support."""
    return tuple(p for p in percentiles if count >= min_samples(p))


def percentile(values: npt.ArrayLike, p: float) -> float:
    """Nearest-rank percentile: the least value that at least `p` per cent of all values do not exceed.

    Raises:
        ValueError: no values, or `p` outside 0 to 100.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    if len(ordered) == 0 or not 0 <= p <= 100:
        raise ValueError(f"expected values and 0 <= p <= 100, found {len(ordered)} values and {p}")
    # Not p / 100 * n: 99.9 / 100 * 1000 is 999.0000000000001 in binary, and would give rank 1000.
    rank = math.ceil(round(p * len(ordered) / 100, 9))
    return float(ordered[max(1, rank) - 1])


def percentile_name(p: float) -> str:
    """`p50`, `p99.9`."""
    return f"p{p:g}"
