"""The few statistics that a claim about accuracy needs; plain Python."""

from __future__ import annotations

import math

__all__ = ["CONFIDENCE", "coin_tail", "mcnemar_p", "min_samples", "wilson_interval"]

CONFIDENCE = 0.99
"""Of a percentile that is claimed; MLPerf's."""

_Z95 = 1.959963984540054  # 97.5 % point of the normal distribution


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Compute Wilson's 95 % score interval of a proportion, both ends in 0 to 1; (0, 1) for no trials.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    J. Am. Stat. Assoc. 22 (1927) 209-212.
    """
    if trials == 0:
        return 0.0, 1.0
    p, z2 = successes / trials, _Z95**2
    centre = (p + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z95 * math.sqrt(p * (1 - p) / trials + z2 / (4 * trials**2)) / (1 + z2 / trials)
    # Of none and of all the ends are 0 and 1 exactly, which rounding would miss.
    return 0.0 if successes == 0 else centre - half, 1.0 if successes == trials else centre + half


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Compute McNemar's exact two-sided p: do two classifiers differ, given where just one is right?

    `only_first` and `only_second` count the samples that only the first, or only the second, got right.

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12 (1947) 153-157; exact form: binomial with p = 1/2.
    """
    return min(1.0, 2 * coin_tail(only_first + only_second, min(only_first, only_second)))


def coin_tail(tosses: int, most: int) -> float:
    """Compute the chance that a fair coin shows heads at most `most` times in `tosses`, 0 to 1.

    In exact integers: a float would overflow beyond about 1,000 tosses. None below 0 heads.
    """
    ways, tail = 1, 0
    for heads in range(min(most, tosses) + 1):
        tail += ways
        ways = ways * (tosses - heads) // (heads + 1)
    return float(tail / 2**tosses)


def min_samples(p: float, confidence: float = CONFIDENCE) -> int:
    """Return the fewest samples for percentile `p`, 0 to 100 exclusive, at `confidence`, 0 to 1 exclusive.

    The least n with P(X <= 1) <= 1 - confidence for X ~ Binomial(n, 1 - p / 100).

    Raises:
        ValueError: outside those ranges.
    """
    if not 0 < p < 100 or not 0 < confidence < 1:
        raise ValueError(f"expected 0 < p < 100 and 0 < confidence < 1, found {p} and {confidence}")
    keep = p / 100

    def enough(n: int) -> bool:
        # log of keep**(n - 1) * (keep + n * (1 - keep)), which is P(X = 0) + P(X = 1)
        return (n - 1) * math.log(keep) + math.log(keep + n * (1 - keep)) <= math.log1p(-confidence)

    high = 2
    while not enough(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
