"""Percentiles are printed only where the number of samples supports them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge_bench.measure.percentiles import min_samples, percentile, percentile_name, supported


@pytest.mark.parametrize(("p", "samples"), [(90, 64), (95, 130), (99, 662), (99.9, 6636)])
def test_the_rule_gives_the_numbers_of_mlperf(p: float, samples: int) -> None:
    """At 99 % confidence, as the rules of MLPerf Inference table them."""
    assert min_samples(p) == samples


@given(st.floats(1, 99.9), st.floats(0.5, 0.999))
def test_it_is_the_least_number_that_is_enough(p: float, confidence: float) -> None:
    """With it at most one slower sample is too unlikely, with one less it is not."""
    n = min_samples(p, confidence)
    keep = p / 100

    def chance(count: int) -> float:
        return keep**count + count * (1 - keep) * keep ** (count - 1)

    assert chance(n) <= (1 - confidence) * (1 + 1e-9)
    assert n == 2 or chance(n - 1) > (1 - confidence) * (1 - 1e-9)


def test_a_percentile_without_its_samples_is_not_supported() -> None:
    """One sample short of each."""
    assert supported(10) == ()
    assert supported(11) == supported(63) == (50,)
    assert supported(64) == supported(129) == (50, 90)
    assert supported(662)[-1] == 99
    assert supported(6635)[-1] == 99
    assert supported(6636)[-1] == 99.9


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200), st.floats(0, 100))
def test_nearest_rank_is_a_value_that_enough_do_not_exceed(values: list[float], p: float) -> None:
    """At least p per cent of all values are no larger, and no smaller value has that."""
    found = percentile(values, p)
    array = np.array(values)
    assert found in values
    assert (array <= found).sum() >= math.floor(p * len(values) / 100)
    assert (array < found).sum() < max(1, p * len(values) / 100 + 1e-6)


def test_ranks_are_not_moved_by_binary_fractions() -> None:
    """p99.9 of 1000 values is the 999th, p50 of 1 to 10 the 5th."""
    assert percentile(range(1, 1001), 99.9) == 999
    assert percentile(range(1, 11), 50) == 5
    assert percentile([7.0], 99) == 7
    assert percentile_name(99.9) == "p99.9"


@pytest.mark.parametrize(("p", "confidence"), [(0, 0.99), (100, 0.99), (50, 0), (50, 1)])
def test_what_has_no_answer_is_refused(p: float, confidence: float) -> None:
    """No number of samples supports p100."""
    with pytest.raises(ValueError, match="expected"):
        min_samples(p, confidence)
    with pytest.raises(ValueError, match="expected"):
        percentile([], 50)
