"""Facts about the statistics; the reference values are from the literature, or counted by hand."""

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge.base.stats import mcnemar_p, wilson_interval

# R. G. Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17 (1998)
# 857-872, table I, method 3.
NEWCOMBE = [
    (81, 263, 0.2553, 0.3662),
    (15, 148, 0.0624, 0.1605),
    (0, 20, 0.0000, 0.1611),
    (1, 29, 0.0061, 0.1718),
]


@pytest.mark.parametrize(("successes", "trials", "low", "high"), NEWCOMBE)
def test_wilson_gives_the_published_intervals(successes, trials, low, high):
    """Newcombe's table, to its four digits."""
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5.1e-5)


def test_no_trials_say_nothing():
    """0 of 0 is anything from 0 to 1."""
    assert wilson_interval(0, 0) == (0.0, 1.0)


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_proportion_and_mirrors(case):
    """The interval is in [0, 1], holds k/n, and that of the failures is its mirror image."""
    k, n = case
    low, high = wilson_interval(k, n)
    assert 0 <= low <= k / n + 1e-12
    assert k / n - 1e-12 <= high <= 1
    assert wilson_interval(n - k, n) == pytest.approx((1 - high, 1 - low), abs=1e-9)


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [
        (0, 0, Fraction(1)),
        (1, 0, Fraction(1)),  # 2 * (1/2)
        (0, 5, Fraction(1, 16)),  # 2 * (1/2)^5
        (1, 5, Fraction(7, 32)),  # 2 * (1 + 6) / 64
        (2, 8, Fraction(7, 64)),  # 2 * (1 + 10 + 45) / 1024
        (5, 5, Fraction(1)),  # capped: 2 * P(k <= 5) is above 1
    ],
)
def test_mcnemar_gives_the_hand_counted_p(first, second, p):
    """Both tails of a fair coin, counted by hand."""
    assert mcnemar_p(first, second) == float(p)


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_binomial_test(first, second):
    """The sum over all outcomes at least as uneven, in exact fractions; the order does not matter."""
    n = first + second
    uneven = abs(first - second)
    exact = sum(Fraction(comb(n, i), 2**n) for i in range(n + 1) if abs(n - 2 * i) >= uneven)
    assert mcnemar_p(first, second) == mcnemar_p(second, first) == pytest.approx(float(exact), rel=1e-12)


@pytest.mark.slow
def test_mcnemar_takes_thousands_of_pairs():
    """Numbers that a float cannot hold on the way do not overflow."""
    assert mcnemar_p(3000, 3000) == 1.0
    assert mcnemar_p(0, 5000) == 0.0
    assert 0 < mcnemar_p(2400, 2600) < 0.01
