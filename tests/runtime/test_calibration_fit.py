"""Facts about fitting a temperature and thresholds, and about what is measured."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge.bundle.views import UPRIGHT, effective_count
from ecovision_edge.calibration import CalibrationOptions, calibrate
from ecovision_edge.calibration.combined import Answers, fit_correlation
from ecovision_edge.calibration.fit import (
    error_is_proved,
    expected_calibration_error,
    fit_temperature,
    fit_thresholds,
    least_threshold,
    negative_log_likelihood,
    softmax,
    stratified_folds,
)
from ecovision_edge.calibration.rejection import auroc, false_positive_rate, rejection_scores
from ecovision_edge.calibration.text import calibration_lines
from ecovision_edge.decision.evidence import Evidence
from ecovision_edge.errors import DatasetError, OptionError

LABELS = ("a", "b", "c")


def drawn(n=3000, temperature=2.5, seed=1):
    """Logits whose softmax at `temperature` is the true chance of each class."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 3)) * 5
    chances = softmax(logits, temperature)
    truth = (rng.random((n, 1)) > chances.cumsum(axis=1)).sum(axis=1)
    return logits, np.minimum(truth, 2).astype(np.intp)


def test_the_temperature_that_made_the_data_is_found():
    """To a few percent of 3,000 drawn answers, whichever it was."""
    for temperature in (0.4, 1.0, 2.5, 6.0):
        assert fit_temperature(*drawn(temperature=temperature)) == pytest.approx(temperature, rel=0.1)


def test_no_other_temperature_is_likelier():
    """The likelihood falls on both sides."""
    logits, truth = drawn(200)
    best = fit_temperature(logits, truth)
    least = negative_log_likelihood(logits, truth, best)
    for other in (0.05, 0.5 * best, 0.999 * best, 1.001 * best, 2 * best, 20):
        assert negative_log_likelihood(logits, truth, other) >= least - 1e-12


def test_the_fit_is_the_same_every_time_and_scales_with_the_logits():
    """Logits of twice the size want twice the temperature."""
    logits, truth = drawn(500)
    assert fit_temperature(logits, truth) == fit_temperature(logits, truth)
    assert fit_temperature(2 * logits, truth) == pytest.approx(2 * fit_temperature(logits, truth), rel=1e-9)


def test_without_errors_there_is_no_temperature():
    """Nor where every answer is wrong, or all logits are equal."""
    logits = np.eye(3)[[0, 1, 2, 0]] * 4
    assert fit_temperature(logits, np.array([0, 1, 2, 0])) is None
    assert fit_temperature(logits, np.array([1, 2, 0, 1])) is None
    assert fit_temperature(np.zeros((4, 3)), np.array([0, 1, 2, 0])) is None


def test_the_likelihood_is_that_of_the_softmax():
    """Also of logits whose exponentials overflow."""
    logits, truth = drawn(50)
    by_hand = -np.log(softmax(logits, 2.0)[np.arange(50), truth]).mean()
    assert negative_log_likelihood(logits, truth, 2.0) == pytest.approx(by_hand)
    assert negative_log_likelihood(np.array([[1e4, 0.0]]), np.array([1])) == pytest.approx(1e4)


def test_the_calibration_error_is_the_mean_gap_of_the_bins():
    """By hand: a score on an edge is in the bin below it."""
    scores = np.array([0.95, 0.95, 0.95, 0.95, 1 / 3])
    right = np.array([True, True, True, False, False])
    assert expected_calibration_error(scores, right) == pytest.approx((4 * 0.2 + 1 / 3) / 5)
    assert expected_calibration_error(np.array([0.4, 0.35]), np.array([True, False])) == pytest.approx(0.125)
    assert expected_calibration_error(np.ones(3), np.ones(3, bool)) == 0


def test_it_is_the_error_that_eval_shows():
    """The benchmarks' own function, which writes its bins out, says the same."""
    metrics = pytest.importorskip("ecovision_edge_bench.evaluate.metrics", reason="needs the whole checkout")
    rng = np.random.default_rng(3)
    scores, right = rng.random(500), rng.random(500) < 0.7
    bins = metrics.reliability(scores, right)
    assert expected_calibration_error(scores, right) == pytest.approx(
        metrics.expected_calibration_error(bins), abs=1e-12
    )


def test_the_proof_is_clopper_and_pearsons():
    """5 % at 95 %: 59 without an error, 93 with one, 124 with two; 20 % of 10 at 80 % by hand."""
    for wrong, enough in ((0, 59), (1, 93), (2, 124)):
        assert error_is_proved(wrong, enough, 0.05, 0.95)
        assert not error_is_proved(wrong, enough - 1, 0.05, 0.95)
    assert not error_is_proved(0, 0, 0.5, 0.5)
    assert error_is_proved(0, 8, 0.2, 0.8)  # 0.8 ** 8 = 0.168
    assert not error_is_proved(0, 7, 0.2, 0.8)  # 0.210
    assert error_is_proved(400, 10_000, 0.05, 0.95)
    assert not error_is_proved(500, 10_000, 0.05, 0.95)


@given(
    st.lists(st.tuples(st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9, 1.0]), st.booleans()), max_size=40),
    st.floats(0.01, 0.5),
)
def test_the_least_threshold_is_the_least_that_holds(answers, most):
    """Of all scores that were seen; equal scores are taken together."""
    scores = np.array([s for s, _ in answers])
    wrong = np.array([w for _, w in answers], bool)
    holds = [t for t in set(scores) if wrong[scores >= t].sum() <= most * (scores >= t).sum()]
    assert least_threshold(scores, wrong, most, None) == (min(holds) if holds else None)
    proved = [
        t
        for t in holds
        if error_is_proved(int(wrong[scores >= t].sum()), int((scores >= t).sum()), most, 0.6)
    ]
    assert least_threshold(scores, wrong, most, 0.6) == (min(proved) if proved else None)


def test_a_class_of_few_photographs_takes_the_threshold_of_all():
    """Or a higher one where its own errors stand above that; or none at all."""
    many = np.linspace(0.5, 0.999, 200)
    scores = np.concatenate([many, [0.6, 0.7, 0.8], [0.55, 0.9, 0.95], [0.97]])
    predicted = np.repeat([0, 1, 2, 3], [200, 3, 3, 1])
    wrong = np.zeros(207, bool)
    wrong[[0, 1, 203, 206]] = True  # the two least sure of class 0; one of class 2; the only one of class 3
    a, b, c, d, e = fit_thresholds(scores, predicted, wrong, 5, 0.05, 0.95)
    assert a.basis == "own"
    assert a.value == 0.5
    pooled = least_threshold(scores, wrong, 0.05, 0.95)
    assert (b.basis, b.value) == ("pooled", pooled)
    assert (c.basis, c.value) == ("pooled", 0.9)
    assert (d.basis, d.value) == ("never", 1.0)
    assert (e.basis, e.value) == ("pooled", pooled)


def test_without_any_proof_no_prediction_counts():
    """Ten photographs prove nothing of 5 %."""
    found = fit_thresholds(np.full(10, 0.99), np.zeros(10, np.intp), np.zeros(10, bool), 1, 0.05, 0.95)
    assert [(t.value, t.basis) for t in found] == [(1.0, "never")]


def test_folds_are_runs_of_neighbours_of_equal_size_in_each_class():
    """Neighbours share a fold; no class is in one fold alone."""
    groups = np.repeat([0, 1, -1], [10, 5, 3])
    folds = stratified_folds(groups, 5)
    assert folds.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 0, 1, 2, 3, 4, 0, 1, 3]
    assert stratified_folds(groups[::-1], 5).tolist()[:3] == [0, 1, 3]


def test_the_area_under_the_curve_counts_pairs():
    """A tie is half a pair."""
    assert auroc(np.array([2.0, 3.0]), np.array([1.0])) == 1
    assert auroc(np.array([1.0]), np.array([2.0, 3.0])) == 0
    assert auroc(np.array([1.0, 2.0]), np.array([1.0, 2.0])) == 0.5
    assert auroc(np.array([2.0]), np.array([1.0, 2.0])) == 0.75


def test_the_false_positive_rate_is_that_where_95_percent_pass():
    """19 of 20 known ones pass at 1 or above."""
    known = np.arange(20.0)
    assert false_positive_rate(known, np.array([0.5, 1.0, 7.0, -1.0])) == 0.5
    assert false_positive_rate(np.ones(3), np.zeros(2)) == 0


def test_rejection_scores_are_higher_for_what_is_surer():
    """Energy is the logarithm of the sum of exponentials, at the temperature."""
    logits = np.array([[10.0, 0.0, 0.0], [1.0, 0.9, 0.8]])
    scores = rejection_scores(logits, 2.0)
    assert list(scores) == ["probability", "margin", "energy"]
    assert all(s[0] > s[1] for s in scores.values())
    assert scores["energy"][0] == pytest.approx(math.log(math.exp(5) + 2))
    assert scores["margin"][1] == pytest.approx(np.diff(np.sort(softmax(logits, 2.0)[1]))[-1])


def test_calibration_helps_on_photographs_that_it_has_not_seen():
    """Held-out calibration error and likelihood, of answers that were too sure by a factor of 2.5."""
    logits, truth = drawn(2000)
    result = calibrate(LABELS, logits, truth)
    assert result.fitted
    assert result.temperature == pytest.approx(2.5, rel=0.1)
    assert result.ece_after < 0.03
    assert result.ece_before > 0.1
    assert result.nll_after < result.nll_before
    assert result.rejection == ()
    assert "own" in {c.threshold.basis for c in result.classes}
    assert result.fitted_coverage.risk < 0.06
    assert sum(c.kept for c in result.classes) == result.fitted_coverage.kept
    assert sum(c.predicted for c in result.classes) == result.photographs == 2000
    coverages = [c.coverage for c in result.curve]
    assert coverages == sorted(coverages, reverse=True)
    ((risk, found),) = result.at_risk
    assert risk == 0.05
    assert found.risk <= 0.05


def test_held_out_figures_are_of_folds_that_set_nothing():
    """Each fold by hand: fitted to the others, applied to it."""
    logits, truth = drawn(300)
    result = calibrate(LABELS, logits, truth, options=CalibrationOptions(folds=3, max_error=0.2))
    folds, nats, kept = stratified_folds(truth, 3), 0.0, 0
    for fold in range(3):
        mine = folds == fold
        temperature = float(f"{fit_temperature(logits[~mine], truth[~mine]):.6g}")
        nats += negative_log_likelihood(logits[mine], truth[mine], temperature) * mine.sum()
        p = softmax(logits[~mine], temperature)
        wrong = p.argmax(1) != truth[~mine]
        limits = fit_thresholds(p.max(1), p.argmax(1), wrong, 3, 0.2, 0.95)
        q = softmax(logits[mine], temperature)
        kept += int((q.max(1) >= np.array([t.value for t in limits])[q.argmax(1)]).sum())
    assert result.nll_after == pytest.approx(nats / 300)
    assert result.fitted_coverage.kept == kept


def test_photographs_of_no_class_raise_the_thresholds():
    """They count as errors of whatever they were called; three scores are compared."""
    logits, truth = drawn(1500)
    strange = np.random.default_rng(5).normal(size=(300, 3)) * 2
    without = calibrate(LABELS, logits, truth)
    result = calibrate(LABELS, logits, truth, unknown=strange)
    assert result.temperature == without.temperature  # they have no truth to be likely
    assert all(a >= b for a, b in zip(result.thresholds, without.thresholds, strict=True))
    assert [r.score for r in result.rejection] == ["probability", "margin", "energy"]
    assert all(0.5 < r.auroc <= 1 and 0 <= r.fpr < 1 for r in result.rejection)
    assert result.unknown == 300
    text = "\n".join(calibration_lines(result, 1.0))
    assert "FPR at 95 % TPR" in text
    assert " of 300" in text


def test_where_nothing_sets_a_temperature_it_stays():
    """The one that was there; and the text says so."""
    logits = np.eye(3)[np.repeat([0, 1, 2], 30)] * 4
    result = calibrate(LABELS, logits, np.repeat([0, 1, 2], 30), present=1.7)
    assert (result.temperature, result.fitted) == (1.7, False)
    assert "kept: these photographs set none" in calibration_lines(result, 1.7)[0]
    assert {c.threshold.basis for c in result.classes} == {"pooled"}  # 30 of a class do not prove 5 %
    assert result.fitted_coverage.coverage == 1
    assert result.to_json()["temperature_fitted"] is False


def test_a_risk_that_nothing_has_is_no_coverage():
    """Every answer wrong: nothing can be kept at no risk."""
    logits = np.eye(3)[np.repeat([0, 1, 2], 30)] * 4
    result = calibrate(LABELS, logits, np.repeat([1, 2, 0], 30), options=CalibrationOptions(risks=(0.0,)))
    assert result.at_risk[0][1].kept == 0
    assert result.at_risk[0][1].risk is None
    assert "no threshold has it" in "\n".join(calibration_lines(result, 1.0))


def test_too_few_photographs_are_refused():
    """Four of five folds have to prove 5 %, which takes 59; else no prediction could ever count."""
    logits, truth = drawn(73)
    with pytest.raises(DatasetError, match=r"expected at least 74 photographs, .*found 73; take more"):
        calibrate(LABELS, logits, truth)
    for options in (CalibrationOptions(folds=2), CalibrationOptions(0.2, 0.8), CalibrationOptions(0.9, 0.5)):
        groups = np.zeros(options.least, np.intp)
        for fold in range(options.folds):
            others = int((stratified_folds(groups, options.folds) != fold).sum())
            assert error_is_proved(0, others, options.max_error, options.confidence)


@pytest.mark.parametrize(
    "options",
    [
        *[{"max_error": 0}, {"max_error": 1.0}, {"max_error": math.nan}, {"confidence": 0.4}],
        *[{"confidence": 1.0}, {"folds": 1}, {"folds": 21}, {"risks": (1.5,)}],
    ],
)
def test_options_outside_their_range_are_refused(options):
    """With the range."""
    with pytest.raises(OptionError, match="expected"):
        CalibrationOptions(**options)


# Several views.


def views_of_one(shared, n=4000, views=3, seed=2):
    """Logits of views whose errors have the correlation `shared`, calibrated one by one; and the truth.

    Of a logit that is 2 at the truth and 0 elsewhere, with an error of variance 2: for such a normal one the
    likelihood ratio is its exponential, so the softmax at temperature 1 is the true chance.
    """
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    common, own = rng.normal(size=(n, 1, 3)), rng.normal(size=(n, views, 3))
    logits = 2.0 * np.eye(3)[truth][:, None] + 2**0.5 * (shared**0.5 * common + (1 - shared) ** 0.5 * own)
    return logits, truth.astype(np.intp)


@pytest.mark.parametrize("shared", [0.0, 0.5, 0.9])
def test_the_correlation_that_made_the_views_is_found(shared):
    """That of each view with those before it; copies are found too, and worth one."""
    logits, truth = views_of_one(shared)
    same, *found = fit_correlation(Answers(logits, truth), 1.0)
    assert same == 1
    assert found == pytest.approx([shared, shared], abs=0.12)
    copies = Answers(np.repeat(logits[:, :1], 3, axis=1), truth)
    assert effective_count([1, 1, 1], fit_correlation(copies, 1.0)) == pytest.approx(1, abs=0.05)


@pytest.mark.slow
def test_views_together_decide_more_and_their_probabilities_are_right():
    """Held out: likelier, and more is decided at the same errors; the plan is what a bin counts by."""
    logits, truth = views_of_one(0.5)
    result = calibrate(LABELS, logits, truth, views=UPRIGHT[:3])
    views = result.views
    one, _, three = views.combinations
    assert one.effective == 1
    assert one.nll == pytest.approx(result.nll_after, abs=1e-3)
    assert three.effective == pytest.approx(1.5, abs=0.15)
    assert three.nll < one.nll
    assert three.ece < 0.03
    assert three.at_risk[0][1] > one.at_risk[0][1] + 0.05
    assert views.kept > result.fitted_coverage.kept
    assert views.wrong_kept / views.kept < 0.06
    evidence = Evidence(3, views.plan.correlation)
    for number, row in enumerate(softmax(logits[0], result.temperature)):
        evidence.add(row.tolist(), number)
    together = softmax(np.log(softmax(logits[0], result.temperature)).mean(axis=0) * three.effective)
    assert evidence.posterior() == pytest.approx(together)
    text = "\n".join(calibration_lines(result, 1.0))
    assert "mirrored" in text
    assert f"By all 3 views {views.kept} of 4000 are decided" in text


def test_one_view_is_calibrated_as_ever():
    """Whether the logits name the view or not; there is no plan then."""
    logits, truth = drawn(300)
    assert calibrate(LABELS, logits[:, None], truth) == calibrate(LABELS, logits, truth)
    assert calibrate(LABELS, logits, truth).views is None


@pytest.mark.slow
def test_of_photographs_of_no_class_the_thresholds_of_views_know_too():
    """They count as errors of whatever they were called."""
    logits, truth = views_of_one(0.5)
    strange = np.random.default_rng(5).normal(size=(600, 3, 3)) * 1.5
    without = calibrate(LABELS, logits, truth, views=UPRIGHT[:3]).views
    views = calibrate(LABELS, logits, truth, unknown=strange, views=UPRIGHT[:3]).views
    assert views.plan.correlation == without.plan.correlation
    assert all(a >= b for a, b in zip(views.plan.thresholds, without.plan.thresholds, strict=True))
    assert 0 < views.unknown_kept < 200
