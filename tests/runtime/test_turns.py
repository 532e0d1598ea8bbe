"""Facts about photographs at even turns, and what is counted of them."""

import numpy as np
import pytest

from ecovision_edge.errors import OptionError
from ecovision_edge.photographs.turns import TurnCounter, TurnFigure, TurnFigures, measure_turns, turned

RNG = np.random.default_rng(20261129)


def noise(height, width):
    return RNG.integers(0, 256, (height, width, 3), np.uint8)


def smooth(height, width):
    """A picture that interpolation hardly changes, unlike at every turn."""
    y, x = np.mgrid[0:height, 0:width]
    return np.dstack([x * 255 / width, y * 255 / height, (x + y) * 255 / (width + height)]).astype(np.uint8)


@pytest.mark.parametrize(
    ("turn", "turns", "quarters"), [(1, 4, 1), (2, 4, 2), (3, 4, 3), (1, 2, 2), (6, 8, 3)]
)
def test_a_quarter_turn_moves_pixels_and_computes_none(turn, turns, quarters):
    """As numpy turns it, counter-clockwise; OpenCV can take the result."""
    picture = noise(5, 8)
    view = turned(picture, turn, turns)
    assert np.array_equal(view, np.rot90(picture, quarters))
    assert view.flags.c_contiguous


def test_upright_is_the_picture_itself():
    """Not a copy, not an interpolation."""
    picture = noise(5, 8)
    assert turned(picture, 0, 7) is picture


@pytest.mark.parametrize("turn", [1, 3, 5, 7])
def test_between_quarter_turns_area_and_middle_stay(turn):
    """At an eighth turn the sides are alike; the middle pixel stays where it is, at the same scale."""
    picture = smooth(61, 101)
    view = turned(picture, turn, 8)
    assert abs(view.shape[0] * view.shape[1] - 61 * 101) < 101
    assert abs(view.shape[0] - view.shape[1]) <= 1
    middle = view[view.shape[0] // 2, view.shape[1] // 2].astype(int)
    assert np.abs(middle - picture[30, 50]).max() <= 3


def test_other_turns_go_the_same_way_round_as_quarter_turns():
    """Just before a quarter turn the view is nearly that of the quarter turn."""
    picture = smooth(80, 120)
    near, quarter = turned(picture, 89, 360), turned(picture, 1, 4)
    height, width = (min(a, b) for a, b in zip(near.shape[:2], quarter.shape[:2], strict=True))
    off = [(a - b) // 2 for a, b in zip(near.shape[:2], (height, width), strict=True)]
    inner = near[off[0] : off[0] + height, off[1] : off[1] + width].astype(int)
    assert np.abs(inner - quarter[:height, :width]).mean() < 5


def test_what_comes_in_at_the_edges_is_the_picture_mirrored():
    """No corner is black."""
    assert turned(np.full((40, 90, 3), 200, np.uint8), 1, 8).min() >= 199


@pytest.mark.parametrize("turns", [0, -1, 361])
def test_a_number_of_turns_that_is_none_is_refused(turns):
    """By its range."""
    with pytest.raises(OptionError, match=f"1 to 360, found {turns}"):
        TurnCounter(turns, lambda views: [])


def boxed(picture, bar):
    """With grey bars above and below."""
    return np.pad(picture, ((bar, bar), (0, 0), (0, 0)), constant_values=114)


def bright_side(views):
    """A model of four classes, the side on which the picture is brightest; bars confuse it."""
    answers = []
    for view in views:
        if (view[0] == 114).all() or (view[:, 0] == 114).all():
            answers.append(9)
            continue
        sides = [view[0], view[:, 0], view[-1], view[:, -1]]
        answers.append(int(np.argmax([side.mean() for side in sides])))
    return answers


def lit(side, height=30, width=40):
    """A picture that is bright on that side: 0 top, 1 left, 2 below, 3 right."""
    picture = np.full((height, width, 3), 60, np.uint8)
    band = [np.s_[:8], np.s_[:, :8], np.s_[-8:], np.s_[:, -8:]][side]
    picture[band] = 250
    return picture


def test_accuracy_is_counted_by_turn():
    """What knows an up and a down is right upright alone."""
    report = measure_turns(bright_side, [(lit(side), side) for side in range(4)])
    assert report.photographs == 4
    assert report.barred == 0
    assert report.stripped == report.published
    assert [f.degrees for f in report.stripped.by_turn] == [0, 90, 180, 270]
    assert [f.accuracy for f in report.stripped.by_turn] == [1, 0, 0, 0]
    assert report.stripped.mean == 0.25
    assert report.stripped.worst == TurnFigure(90, 0, 4)
    assert measure_turns(bright_side, [], 4) is None


def test_bars_are_reported_with_and_without():
    """Only photographs that have some are asked for twice."""
    asked = []

    def predict(views):
        asked.append(len(views))
        return bright_side(views)

    pictures = [(lit(0), 0), (boxed(lit(1), 20), 1)]
    report = measure_turns(predict, pictures, 2)
    assert asked == [2, 2, 2]
    assert (report.photographs, report.barred) == (2, 1)
    assert [f.correct for f in report.published.by_turn] == [1, 0]
    assert [f.correct for f in report.stripped.by_turn] == [2, 0]


def test_an_answer_that_is_known_is_not_asked_for_again():
    """To the photograph as it is."""
    counter = TurnCounter(1, lambda views: pytest.fail("asked"))
    counter.add(lit(0), 3, upright=3)
    assert counter.report().published.upright.correct == 1
    seen = []
    counter = TurnCounter(4, lambda views: seen.extend(views) or [0] * len(views))
    counter.add(lit(0), 3, upright=3)
    assert len(seen) == 3


def test_the_document_has_mean_worst_and_each_turn():
    """Accuracies 0 to 1, with Wilson's interval."""
    report = measure_turns(bright_side, [(lit(side), side) for side in range(4)], 4)
    value = report.to_json()
    assert list(value) == ["turns", "photographs", "with_grey_bars", "as_published", "bars_stripped"]
    assert value["turns"] == 4
    stripped = value["bars_stripped"]
    assert (stripped["mean"], stripped["worst"], stripped["worst_degrees"]) == (0.25, 0, 90)
    assert stripped["by_turn"][1]["correct"] == 0
    low, high = stripped["by_turn"][0]["accuracy_wilson_95"]
    assert 0 < low < high <= 1


def test_of_equal_turns_the_first_is_the_worst():
    """So that the same figures give the same words."""
    figures = TurnFigures(tuple(TurnFigure(90 * i, c, 4) for i, c in enumerate((4, 3, 3))))
    assert figures.worst.degrees == 90
    assert figures.upright.accuracy == 1
