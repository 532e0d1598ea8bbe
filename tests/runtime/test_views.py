"""Facts about views: ways to look at the same part of a frame, and what several say together."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge.base.fields import Fields
from ecovision_edge.bundle.views import (
    ANY_ORIENTATION,
    MAX_VIEWS,
    PLAIN,
    UPRIGHT,
    RegionView,
    ViewPlan,
    effective_count,
    parse_views,
)
from ecovision_edge.errors import ContractError
from ecovision_edge.preprocess.region import Region

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
VIEWS = st.builds(RegionView, st.integers(0, 3), st.booleans(), st.floats(0.25, 2))
SHARES = st.floats(0, 1)


@given(VIEWS)
def test_a_view_comes_back_from_its_text(view):
    """Whatever its scale; it is printable and has no comma, which `--views` has between."""
    assert RegionView.parse(str(view)) == view
    assert str(view).isprintable()
    assert "," not in str(view)


def test_the_texts_of_views_are_what_one_would_write():
    """Of the views that bins use."""
    assert [str(v) for v in UPRIGHT] == ["plain", "x0.85", "mirrored", "mirrored+x0.85"]
    assert [str(v) for v in ANY_ORIENTATION] == ["plain", "90+mirrored", "180", "270+mirrored"]


@pytest.mark.parametrize(
    "text",
    [
        *("", "+", "plain+mirrored", "mirrored+", "mirrored+90", "45", "x", "x0.1", "x3", "x-1", "0.85"),
        *("Plain", "mirroredx0.85", "mirrored\n", "x1e9", "\ud800"),
    ],
)
def test_what_is_no_view_is_refused(text):
    """With what views look like, or what the scale may be."""
    with pytest.raises(ContractError, match=r"expected .*(plain, or|0.25 to 2)") as caught:
        RegionView.parse(text)
    assert caught.value.message.isprintable()


def test_views_of_an_option_are_a_plan():
    """`auto` has quarter turns only for a model that was trained for them; plain is the first."""
    assert parse_views("none", any_orientation=True) == (PLAIN,)
    assert parse_views("auto", any_orientation=False) == UPRIGHT
    assert parse_views("auto", any_orientation=True) == ANY_ORIENTATION
    assert not any(view.quarters for view in UPRIGHT)
    assert parse_views("plain, 180+x0.9", any_orientation=False) == (PLAIN, RegionView(2, scale=0.9))
    for text in ("mirrored", "plain,plain", "mirrored,plain", "plain,,180"):
        with pytest.raises(ContractError):
            parse_views(text, any_orientation=False)


def test_a_region_is_cut_as_its_view_says():
    """Turned counter-clockwise, then mirrored; the rectangle of its place stays the same."""
    part = PICTURE[5:35, 10:30]
    for quarters, mirrored in itertools.product(range(4), (False, True)):
        region = Region(10, 5, 30, 35, RegionView(quarters, mirrored))
        expected = np.rot90(part, quarters)
        assert np.array_equal(region.cut(PICTURE), expected[:, ::-1] if mirrored else expected)
        assert region.place == Region(10, 5, 30, 35)
        assert region.to_json() == [10, 5, 30, 35]


def test_a_tighter_cut_is_the_middle_and_a_wider_one_ends_with_the_frame():
    """By the same number of pixels at both ends."""
    assert np.array_equal(Region(10, 10, 30, 30, RegionView(scale=0.8)).cut(PICTURE), PICTURE[12:28, 12:28])
    assert np.array_equal(Region(10, 10, 30, 30, RegionView(scale=1.5)).cut(PICTURE), PICTURE[5:35, 5:35])
    assert np.array_equal(Region(0, 0, 60, 40, RegionView(scale=1.5)).cut(PICTURE), PICTURE)
    assert np.array_equal(Region(4, 3, 5, 4, RegionView(scale=0.25)).cut(PICTURE), PICTURE[3:4, 4:5])


@given(st.integers(0, 59), st.integers(0, 39), st.integers(1, 60), st.integers(1, 40), VIEWS)
def test_whatever_the_view_there_is_something_to_see(left, top, width, height, view):
    """At least a pixel, and no more than the frame has."""
    region = Region(left, top, min(60, left + width), min(40, top + height), view)
    shape = region.cut(PICTURE).shape
    high, wide = shape[:2] if view.quarters % 2 == 0 else shape[1::-1]
    assert 1 <= wide <= 60
    assert 1 <= high <= 40


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6), st.data())
def test_frames_are_worth_what_they_are_correlated(frames, data):
    """At least the least of views alike, at most all frames; one more view is worth no less than none."""
    same = data.draw(SHARES)
    correlation = [same, *data.draw(st.lists(SHARES, min_size=len(frames) - 1, max_size=len(frames) - 1))]
    count = effective_count(frames, correlation)
    if not sum(frames):
        assert count == 0
        return
    assert 1 - 1e-9 <= count <= sum(frames) + 1e-9


def test_the_effective_count_by_hand():
    """One view: n / (1 + (n - 1) r). Copies of views: as of the views. Independent views add up."""
    assert effective_count([5], [0.5]) == pytest.approx(5 / 3)
    assert effective_count([100, 100, 100], [1.0, 0.0, 0.0]) == pytest.approx(3)
    assert effective_count([1, 1], [1.0, 0.6]) == pytest.approx(2 / 1.6)
    assert effective_count([7, 3], [1.0, 1.0]) == pytest.approx(1)
    assert effective_count([0, 4], [1.0, 0.2]) == pytest.approx(1)


PLAN = ViewPlan(UPRIGHT, (1.0, 0.9, 0.8, 0.95), (0.5, 0.6))


def test_a_plan_comes_back_from_json():
    """With thresholds or without."""
    for plan in (PLAN, ViewPlan((PLAIN,), (0.5,))):
        value = json.loads(json.dumps(plan.to_json()))
        assert ViewPlan.from_fields(Fields.of(value, "views"), 2) == plan


@pytest.mark.parametrize(
    "make",
    [
        lambda: ViewPlan((), ()),
        lambda: ViewPlan((RegionView(mirrored=True),), (1.0,)),
        lambda: ViewPlan((PLAIN, PLAIN), (1.0, 1.0)),
        lambda: ViewPlan((PLAIN, *(RegionView(scale=1 + n / 20) for n in range(1, MAX_VIEWS + 1))), (1.0,)),
        lambda: ViewPlan(UPRIGHT, (1.0,)),
        lambda: ViewPlan(UPRIGHT, (1.0, 0.5, 1.1, 0.5)),
        lambda: ViewPlan(UPRIGHT, (1.0, 0.5, float("nan"), 0.5)),
        lambda: ViewPlan((PLAIN,), (1.0,), (float("nan"),)),
        lambda: RegionView(quarters=4),
        lambda: RegionView(scale=float("nan")),
        lambda: ViewPlan.from_fields(Fields.of({**PLAN.to_json(), "thresholds": [0.5]}, "views"), 2),
        lambda: ViewPlan.from_fields(Fields.of({**PLAN.to_json(), "views": ["plain", 1]}, "views"), 2),
        lambda: ViewPlan.from_fields(Fields.of({**PLAN.to_json(), "more": 1}, "views"), 2),
    ],
)
def test_what_is_no_plan_is_refused(make):
    """A ContractError that says what was expected."""
    with pytest.raises(ContractError, match="expected"):
        make()
