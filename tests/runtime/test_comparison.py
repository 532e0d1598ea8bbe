"""Facts about two classifiers compared: what differs is found, and what it proves is counted by hand."""

import json
from fractions import Fraction
from math import comb

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge.comparison.answers import compare_frames, compare_labelled, every_label
from ecovision_edge.comparison.latency import compare_latency, median_interval
from ecovision_edge.comparison.mcnemar import drop_interval, mcnemar, photographs_needed
from ecovision_edge.comparison.outcomes import Decided, Outcome, count_outcomes
from ecovision_edge.photographs.labelled import LabelledImage, find_labelled
from ecovision_edge.prediction import Prediction, Timings

LABELS = ("glass", "metal", "paper")


class Planted:
    """Says what the brightness of a frame's first pixel was planted to mean; 8 levels apart."""

    def __init__(self, labels, said):
        self.labels = labels
        self._said = said
        self.shapes = []

    def classify(self, frame):
        self.shapes.append(frame.shape)
        label = self._said[int(frame[0, 0, 0] / 8 + 0.5)]
        index = self.labels.index(label)
        return Prediction(label, index, 0.75, 0.5, (), Timings(0, 0, 0))

    def reduction(self, height, width):
        return 1


def save(path, level, size=(16, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((*size, 3), level * 8, np.uint8))
    return path


@pytest.mark.parametrize(
    ("worse", "better", "two_sided", "one_sided"),
    [
        (0, 0, Fraction(1), Fraction(1)),
        (5, 0, Fraction(1, 16), Fraction(1, 32)),  # all five one way
        (0, 5, Fraction(1, 16), Fraction(1)),  # none or more of five: certain
        (5, 1, Fraction(7, 32), Fraction(7, 64)),  # (1 + 6) / 64
        (1, 5, Fraction(7, 32), Fraction(63, 64)),  # all but (1) / 64
        (8, 2, Fraction(7, 64), Fraction(7, 128)),  # (1 + 10 + 45) / 1024
    ],
)
def test_mcnemar_gives_the_hand_counted_p(worse, better, two_sided, one_sided):
    """Both tails of a fair coin, and the one of `worse` or more, counted by hand."""
    assert mcnemar(worse, better) == float(two_sided)
    assert mcnemar(worse, better, one_sided=True) == float(one_sided)


def test_mcnemar_takes_thousands_of_pairs_and_refuses_negative_ones():
    """Numbers that a float cannot hold on the way do not overflow."""
    assert mcnemar(2600, 2400, one_sided=True) == pytest.approx(mcnemar(2600, 2400) / 2, rel=1e-9)
    with pytest.raises(ValueError, match="0 or more"):
        mcnemar(-1, 0)


def test_two_that_never_differ_leave_a_drop_open():
    """z^2 / (n + z^2), which the score test has in closed form; no photographs say nothing."""
    z2 = 1.959963984540054**2
    for n in (1, 10, 1212):
        assert drop_interval(0, 0, n) == pytest.approx((-z2 / (n + z2), z2 / (n + z2)), abs=1e-12)
    assert drop_interval(0, 0, 0) == (-1, 1)


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(0, n))))
def test_the_interval_of_the_drop_holds_it_and_mirrors(case):
    """The drop is inside, the ends within -1 and 1; old and new exchanged give the mirror image."""
    total, a, b = case
    worse, better = min(a, b), max(a, b) - min(a, b)
    low, high = drop_interval(worse, better, total)
    assert -1 <= low <= (worse - better) / total <= high <= 1
    assert drop_interval(better, worse, total) == pytest.approx((-high, -low), abs=1e-9)


@pytest.mark.parametrize(("worse", "better", "total"), [(9, 3, 100), (4, 4, 50), (0, 7, 30), (1, 0, 20)])
def test_the_end_of_the_interval_is_where_the_score_test_turns(worse, better, total):
    """There the likeliest probabilities, found by trying a million, are 1.96 standard errors away."""
    high = drop_interval(worse, better, total)[1]
    q = np.linspace(max(0, -high) + 1e-9, (1 - high) / 2 - 1e-9, 1_000_001)
    likelihood = worse * np.log(q + high) + (total - worse - better) * np.log(1 - 2 * q - high)
    likelihood += better * np.log(q) if better else 0
    best = float(q[likelihood.argmax()])
    error = (total * (2 * best + high - high * high)) ** 0.5
    assert (worse - better - total * high) / error == pytest.approx(-1.96, abs=2e-3)


def test_how_many_photographs_a_proof_needs():
    """As many leave no more open than was asked, one fewer would."""
    for margin in (0.2, 0.02, 0.01):
        n = photographs_needed(margin)
        assert drop_interval(0, 0, n)[1] <= margin < drop_interval(0, 0, n - 1)[1]


def test_planted_differences_are_counted_by_class(tmp_path):
    """Each photograph is where it belongs, though the new one has its labels in another order."""
    old = Planted(LABELS, {1: "glass", 2: "glass", 3: "metal", 4: "metal", 5: "paper", 6: "glass"})
    new = Planted(LABELS[::-1], {1: "glass", 2: "paper", 3: "metal", 4: "glass", 5: "paper", 6: "paper"})
    truth = {"glass": (1, 2), "metal": (3, 4), "paper": (5, 6)}
    for label, levels in truth.items():
        for level in levels:
            save(tmp_path / label / f"{level}.png", level)
    found = find_labelled(tmp_path, every_label(old, new))
    steps = []
    compared = compare_labelled(old, new, found.images, progressed=lambda: steps.append(1))
    table = {
        name: (c.photographs, c.old_right, c.new_right, c.worse, c.better)
        for name, c in compared.classes.items()
    }
    assert table == {"glass": (2, 2, 1, 1, 0), "metal": (2, 2, 1, 1, 0), "paper": (2, 1, 2, 0, 1)}
    assert (compared.total.worse, compared.total.better, compared.total.photographs) == (2, 1, 6)
    assert compared.total.p == 1.0
    assert compared.total.p_worse == 0.5
    assert [o.name for o in compared.outcomes if o.worse] == ["glass/2.png", "metal/4.png"]
    assert len(steps) == 6
    assert compared.added.photographs == 0


def test_a_lost_class_counts_and_a_new_one_stands_apart():
    """A label that the new one lacks was right and is wrong; one that only it knows makes up for nothing."""
    outcomes = [Outcome("a", "paper", "paper", "glass"), *[Outcome("b", "shoes", "glass", "shoes")] * 9]
    compared = count_outcomes(outcomes, ("glass", "paper"))
    assert list(compared.classes) == ["paper", "shoes"]
    assert (compared.total.photographs, compared.total.worse, compared.total.better) == (1, 1, 0)
    assert (compared.added.photographs, compared.added.better) == (9, 9)
    assert not compared.total.at_most(0.5)


def test_what_is_decided_is_counted_by_each_ones_thresholds(tmp_path):
    """A score at its label's threshold is enough; without thresholds all is decided."""
    save(tmp_path / "glass" / "1.png", 1)
    save(tmp_path / "metal" / "2.png", 2)
    both = Planted(LABELS, {1: "glass", 2: "glass"})  # sure to 0.75
    images = find_labelled(tmp_path, LABELS).images
    compared = compare_labelled(both, both, images, thresholds=((0.75, 0, 0), (0.76, 0, 0)))
    assert compared.old_decided == Decided(2, 1)
    assert compared.old_decided.error == 0.5
    assert compared.new_decided == Decided(0, 0)
    assert compared.new_decided.error == 0
    assert compare_labelled(both, both, images).new_decided == Decided(2, 1)


def test_one_photograph_proves_nothing():
    """Right both times, and a drop is still possible; so is it with none."""
    one = count_outcomes([Outcome("a", "glass", "glass", "glass")], LABELS).total
    assert not one.at_most(0.5)
    assert not count_outcomes([], LABELS).total.at_most(1.0)
    assert count_outcomes([Outcome("a", "glass", "glass", "glass")] * 400, LABELS).total.at_most(0.01)


def test_a_damaged_photograph_is_told_and_left_out(tmp_path):
    """The others count."""
    good, bad = save(tmp_path / "good.png", 1), tmp_path / "bad.jpg"
    bad.write_bytes(good.read_bytes()[:40])
    both = Planted(LABELS, {1: "glass"})
    images = [LabelledImage(bad, "bad.jpg", 0), LabelledImage(good, "good.png", 0)]
    compared = compare_labelled(both, both, images)
    assert [f.name for f in compared.failures] == ["bad.jpg"]
    assert "cannot decode" in compared.failures[0].reason
    assert compared.total.photographs == 1


def test_frames_on_which_they_disagree_are_found(tmp_path):
    """In order, with what both say; the interval is Wilson's."""
    pictures = [save(tmp_path / f"{i:09}.png", i) for i in (1, 2, 3)]
    old = Planted(LABELS, {1: "glass", 2: "metal", 3: "paper"})
    new = Planted(("paper", "tin", "glass"), {1: "glass", 2: "tin", 3: "paper"})
    compared = compare_frames(old, new, pictures)
    assert (compared.compared, compared.agreed, compared.agreement) == (3, 2, 2 / 3)
    [found] = compared.disagreements
    assert (found.path, found.old, found.new, found.sureness) == (pictures[1], "metal", "tin", 0.75)
    assert compared.interval[0] < 2 / 3 < compared.interval[1]


def test_frames_of_a_recording_are_looked_at_as_they_were(tmp_path, sidecar):
    """The part that was classified; an empty tray is skipped, a torn sidecar told."""
    part, empty, torn = (save(tmp_path / f"{i:09}.png", i, (40, 60)) for i in (1, 2, 3))
    sidecar(part, box=[10, 20, 30, 36])
    sidecar(empty, tray="empty")
    torn.with_suffix(".json").write_bytes(b"{")
    both = Planted(LABELS, {1: "glass"})
    compared = compare_frames(both, both, [part, empty, torn])
    assert both.shapes == [(16, 20, 3)] * 2
    assert (compared.compared, compared.skipped, len(compared.failures)) == (1, 1, 1)
    assert "000000003" in compared.failures[0].reason


@pytest.fixture
def sidecar():
    """Writes what a recording says of a picture."""

    def write(picture, box=None, tray=None):
        said = {
            "schema": "ecovision-edge/recorded-frame",
            "schema_version": 2 if tray else 1,
            "image": picture.name,
            "index": 0,
            "sequence": 0,
            "time": "2026-11-30T05:00:00+00:00",
            "captured_at": 1.0,
            "age_ms": 1.0,
            "dropped": 0,
            "label": None if tray else "glass",
            "score": None if tray else 0.75,
            "margin": None if tray else 0.5,
            "probabilities": None if tray else {"glass": 0.75, "metal": 0.25},
            "timings_ms": None if tray else {"prepare": 1, "infer": 1, "post": 1},
            **({"box": box} if box else {}),
            **({"tray": tray} if tray else {}),
        }
        picture.with_suffix(".json").write_text(json.dumps(said))

    return write


def test_nothing_agrees_with_nothing():
    """Without frames the agreement is 0, not 1: a gate that asks for 0.9 stays shut."""
    compared = compare_frames(Planted(LABELS, {}), Planted(LABELS, {}), [])
    assert (compared.agreement, compared.interval) == (0.0, (0.0, 1.0))


class Ticking:
    """A clock that each classifier moves on by what it is planted to take."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Slow(Planted):
    def __init__(self, clock, seconds):
        super().__init__(LABELS, {0: "glass"})
        self._clock, self._seconds = clock, list(seconds)

    def classify(self, frame):
        self._clock.now += self._seconds.pop(0) if len(self._seconds) > 1 else self._seconds[0]
        return super().classify(frame)


def test_latency_is_compared_round_by_round():
    """The medians, their ratio and its interval; a first slow frame, and a burst, move none of them."""
    clock = Ticking()
    old = Slow(clock, [9, *[0.002] * 30, *[1] * 5, 0.002])
    new = Slow(clock, [9, 0.003])
    latency = compare_latency(old, new, [np.zeros((8, 8, 3), np.uint8)], 61, clock=clock)
    assert (latency.old_ms, latency.new_ms) == pytest.approx((2, 3))
    assert (latency.ratio, latency.low, latency.high) == pytest.approx((1.5, 1.5, 1.5))
    with pytest.raises(ValueError, match="at least one frame"):
        compare_latency(old, new, [])


@pytest.mark.parametrize("count", [1, 2, 5, 6, 20, 61, 600])
def test_the_places_around_a_median_enclose_it_in_95_of_100_cases(count):
    """Both tails of a fair coin, counted; of fewer than six values all there are."""
    low, high = median_interval(count)
    assert high == count - 1 - low
    tails = Fraction(2 * sum(comb(count, i) for i in range(low + 1)), 2**count)
    wider = Fraction(2 * sum(comb(count, i) for i in range(low + 2)), 2**count)
    assert tails <= Fraction(1, 20) or count < 6
    assert wider > Fraction(1, 20)
