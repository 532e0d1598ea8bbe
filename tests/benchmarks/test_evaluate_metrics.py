"""Facts about the figures of an evaluation, on examples that can be checked by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge_bench.evaluate.metrics import (
    Confusion,
    expected_calibration_error,
    measure,
    most_confused,
    negative_log_likelihood,
    reliability,
)

TRUTH = np.array([0, 0, 0, 1, 1])
PREDICTED = np.array([0, 0, 1, 1, 0])
PROBABILITIES = np.array(
    [[0.9, 0.1, 0.0], [0.9, 0.05, 0.05], [0.3, 0.6, 0.1], [0.1, 0.8, 0.1], [0.5, 0.25, 0.25]], np.float32
)


@pytest.fixture
def metrics():
    """Five photographs: three of a, of which one is taken for b; two of b, one for a; none of c."""
    return measure(("a", "b", "c"), TRUTH, PREDICTED, PROBABILITIES)


def test_accuracy_counts_what_was_called_what_it_is(metrics):
    """3 of 5; Wilson's interval for that is known: 23.07 to 88.24 %."""
    assert (metrics.photographs, metrics.correct, metrics.incorrect) == (5, 3, 2)
    assert metrics.accuracy == 0.6
    assert metrics.interval == pytest.approx((0.2307, 0.8824), abs=5e-5)


def test_each_class_has_recall_precision_and_f1(metrics):
    """a: 2 of 3, called three times; b: 1 of 2, called twice."""
    a, b, _ = metrics.classes
    assert (a.correct, a.incorrect, a.predicted) == (2, 1, 3)
    assert (a.accuracy, a.precision, a.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert (b.correct, b.incorrect, b.predicted) == (1, 1, 2)
    assert (b.accuracy, b.precision, b.f1) == pytest.approx((1 / 2, 1 / 2, 1 / 2))


def test_a_class_without_photographs_is_left_out_of_macro_f1(metrics):
    """(2/3 + 1/2) / 2, not / 3; its own figures are none."""
    c = metrics.classes[2]
    assert metrics.absent == ("c",)
    assert (c.accuracy, c.precision, c.f1, c.interval) == (None, None, None, (0.0, 1.0))
    assert metrics.macro_f1 == pytest.approx(7 / 12)


def test_a_class_that_is_never_called_has_f1_zero():
    """And no precision; it counts in macro F1: (2/3 + 0) / 2."""
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2]], np.float32)
    metrics = measure(("a", "b"), np.array([0, 1]), np.array([0, 0]), probabilities)
    assert metrics.classes[1].precision is None
    assert metrics.classes[1].f1 == 0
    assert metrics.macro_f1 == pytest.approx(1 / 3)


def test_a_class_called_without_photographs_costs_the_truth():
    """What was taken for c is an error of a, and c stays out of macro F1."""
    probabilities = np.array([[0.9, 0.0, 0.1], [0.1, 0.0, 0.9]], np.float32)
    metrics = measure(("a", "b", "c"), np.array([0, 0]), np.array([0, 2]), probabilities)
    assert metrics.classes[2].precision == 0
    assert metrics.macro_f1 == metrics.classes[0].f1 == pytest.approx(2 / 3)
    assert metrics.absent == ("b", "c")


def test_rows_of_the_confusion_matrix_are_truths(metrics):
    """Columns are predictions."""
    assert metrics.confusion.tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]


def test_confusions_come_most_frequent_first_then_in_the_order_of_the_labels():
    """The diagonal is no confusion."""
    truth, predicted = np.array([1, 1, 1, 0, 0, 2]), np.array([2, 2, 1, 2, 1, 0])
    metrics = measure(("a", "b", "c"), truth, predicted, np.full((6, 3), 1 / 3, np.float32))
    assert metrics.confusions == (
        Confusion("b", "c", 2),
        Confusion("a", "b", 1),
        Confusion("a", "c", 1),
        Confusion("c", "a", 1),
    )


def test_calibration_error_is_the_mean_gap_of_the_bins(metrics):
    """Scores .9 .9 right, .6 wrong, .8 right, .5 wrong, each in its own bin: (2(.1) + .6 + .2 + .5) / 5."""
    assert metrics.ece == pytest.approx(0.3)
    assert metrics.mean_confidence == pytest.approx(0.74)
    filled = [(b.count, b.correct) for b in metrics.reliability if b.count]
    assert filled == [(1, 0), (1, 0), (1, 1), (2, 2)]


def test_gaps_within_a_bin_cancel():
    """.91 right and .93 wrong in one bin: accuracy .5, confidence .92, error .42."""
    bins = reliability(np.array([0.91, 0.93]), np.array([True, False]))
    assert expected_calibration_error(bins) == pytest.approx(0.42)
    assert bins[13].accuracy == 0.5
    assert bins[13].confidence == pytest.approx(0.92)


def test_a_score_on_an_edge_is_in_the_bin_below():
    """((m - 1) / M, m / M], as Guo et al. have it; 0 and 1 are in the first and the last."""
    bins = reliability(np.array([0.0, 0.25, 0.5, 1.0]), np.array([True] * 4), bins=4)
    assert [b.count for b in bins] == [2, 1, 0, 1]
    assert [(b.low, b.high) for b in bins] == [(0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1)]


def test_an_empty_bin_has_no_means():
    """None, where 0 would be a claim."""
    empty = reliability(np.array([1.0]), np.array([True]))[0]
    assert (empty.count, empty.accuracy, empty.confidence) == (0, None, None)


def test_likelihood_is_of_the_truth_in_nats(metrics):
    """-(ln .9 + ln .9 + ln .3 + ln .8 + ln .25) / 5."""
    by_hand = -(2 * math.log(0.9) + math.log(0.3) + math.log(0.8) + math.log(0.25)) / 5
    assert metrics.nll == pytest.approx(by_hand)


def test_a_probability_of_zero_is_no_infinity():
    """It counts as the least normal float32, 2 ** -126."""
    nll = negative_log_likelihood(np.array([[1.0, 0.0]], np.float32), np.array([1]))
    assert nll == pytest.approx(126 * math.log(2))


def test_the_most_confused_classes_err_as_truth_or_as_prediction():
    """b takes part in 3 errors, c in 2, a in 1, d in none; the answer is in the order of the labels."""
    confusion = np.array([[9, 1, 0, 0], [0, 9, 2, 0], [0, 0, 9, 0], [0, 0, 0, 9]])
    assert most_confused(confusion, 2) == [1, 2]
    assert most_confused(confusion, 3) == [0, 1, 2]
    assert most_confused(confusion, 30) == [0, 1, 2, 3]


ANSWERS = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.floats(1 / 64, 1, width=32), min_size=4, max_size=4)), min_size=1
)


def of(answers):
    """Figures of photographs given as truth and unscaled probabilities."""
    raw = np.array([row for _, row in answers], np.float32)
    probabilities = raw / raw.sum(1, keepdims=True)
    truth = np.array([t for t, _ in answers])
    return measure(("a", "b", "c", "d"), truth, probabilities.argmax(1), probabilities), probabilities


@given(ANSWERS)
def test_all_figures_are_of_the_same_photographs(answers):
    """Classes, matrix, bins and confusions each add up to the whole, and shares are shares."""
    metrics, _ = of(answers)
    n = len(answers)
    assert metrics.photographs == metrics.confusion.sum() == sum(b.count for b in metrics.reliability) == n
    assert sum(c.predicted for c in metrics.classes) == n
    assert metrics.correct == np.trace(metrics.confusion) == sum(b.correct for b in metrics.reliability)
    assert metrics.incorrect == sum(c.count for c in metrics.confusions)
    assert 0 <= metrics.macro_f1 <= 1
    assert metrics.nll >= 0
    low, high = metrics.interval
    assert low - 1e-12 <= metrics.accuracy <= high + 1e-12


@given(ANSWERS)
def test_each_score_is_in_a_bin_that_holds_it(answers):
    """The mean of a bin lies within it, and the gap of means is the least the calibration error can be."""
    metrics, probabilities = of(answers)
    for b in metrics.reliability:
        if b.confidence is not None:
            assert b.low - 1e-12 <= b.confidence <= b.high + 1e-12
    assert metrics.mean_confidence == pytest.approx(float(probabilities.max(1).mean()), abs=1e-6)
    assert abs(metrics.accuracy - metrics.mean_confidence) - 1e-12 <= metrics.ece <= 1


@given(ANSWERS, st.randoms(use_true_random=False))
def test_the_order_of_photographs_does_not_matter(answers, random):
    """Up to the rounding of sums."""
    before, _ = of(answers)
    shuffled = list(answers)
    random.shuffle(shuffled)
    after, _ = of(shuffled)
    assert np.array_equal(before.confusion, after.confusion)
    assert (before.ece, before.nll) == pytest.approx((after.ece, after.nll))
