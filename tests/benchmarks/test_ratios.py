"""Ratios with intervals that hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from ecovision_edge_bench.measure.ratios import MIN_ROUNDS, Ratio, paired_ratio, round_medians, unpaired_ratio


def rounds(values: np.ndarray) -> dict[int, float]:
    """Numbered from 0."""
    return dict(enumerate(values.tolist()))


def test_medians_are_of_each_round() -> None:
    """Rounds of any lengths."""
    assert round_medians([1, 2, 9, 5], [0, 0, 0, 3]) == {0: 2.0, 3: 5.0}


def test_drift_that_falls_on_both_takes_nothing_from_a_paired_ratio() -> None:
    """The machine gets three times slower during the run; the ratio stays exact, its interval a point."""
    drift = np.linspace(1, 3, 40)
    ratio = paired_ratio(rounds(5 * drift), rounds(4 * drift))
    assert ratio.value == pytest.approx(1.25)
    assert ratio.low == pytest.approx(1.25)
    assert ratio.high == pytest.approx(1.25)
    assert ratio.differs
    assert not unpaired_ratio(rounds(5 * drift), rounds(5 * drift[::-1])).differs


@pytest.mark.slow
def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Of 200 runs with a true ratio of 1.1, the 95 % interval has it in at least 180."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        base = rng.lognormal(0, 0.1, 40)
        other = 1.1 * rng.lognormal(0, 0.1, 40)
        ratio = paired_ratio(rounds(other), rounds(base))
        assert ratio.low is not None
        assert ratio.high is not None
        covered += ratio.low <= 1.1 <= ratio.high
    assert covered >= 180


def test_the_seed_of_the_bootstrap_hardly_matters() -> None:
    """The same seed gives the same interval; another moves its ends by less than a hundredth."""
    rng = np.random.default_rng(2)
    a, b = rounds(rng.lognormal(0, 0.1, 301)), rounds(rng.lognormal(0, 0.1, 301))
    one, other = paired_ratio(a, b, 3), paired_ratio(a, b, 4)
    assert one == paired_ratio(a, b, 3)
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=0.01)


def test_a_handful_of_rounds_has_no_interval() -> None:
    """And so differs from nothing."""
    few = rounds(np.ones(MIN_ROUNDS - 1))
    for ratio in (paired_ratio(few, few), unpaired_ratio(few, few)):
        assert (ratio.low, ratio.high, ratio.differs) == (None, None, False)
    assert str(Ratio(1.5, None, None)) == "1.500"
    assert str(Ratio(1.5, 1.4, 1.6)) == "1.500 [1.400, 1.600]"


def test_no_round_in_common_is_an_error() -> None:
    """A ratio of nothing does not exist."""
    with pytest.raises(ValueError, match="in common"):
        paired_ratio({0: 1.0}, {1: 1.0})
    with pytest.raises(ValueError, match="both sides"):
        unpaired_ratio({}, {1: 1.0})
