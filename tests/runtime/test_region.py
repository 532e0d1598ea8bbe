"""Facts about `Region` and the regions of an item: what of a frame is classified."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge.bundle.views import RegionView
from ecovision_edge.decision.regions import LEAST, STEADY, WHOLE, Regions
from ecovision_edge.errors import FrameValueError, OptionError
from ecovision_edge.preprocess.region import Region, TurnedBox

SIDES = st.integers(16, 2000)


@st.composite
def boxes(draw):
    """Left, top, right, bottom as shares of a view."""
    left, right = sorted(draw(st.tuples(st.floats(0, 0.99), st.floats(0, 0.99))))
    top, bottom = sorted(draw(st.tuples(st.floats(0, 0.99), st.floats(0, 0.99))))
    return left, top, right + 0.01, bottom + 0.01


def test_a_region_is_cut_out_without_a_copy():
    """Rows from top to bottom, columns from left to right."""
    image = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    part = Region(2, 1, 6, 4).cut(image)
    assert np.array_equal(part, image[1:4, 2:6])
    assert np.shares_memory(part, image)
    assert Region(2, 1, 6, 4).to_json() == [2, 1, 6, 4]


@pytest.mark.parametrize("sides", [(3, 0, 3, 5), (0, 5, 4, 5), (-1, 0, 4, 4), (0, -1, 4, 4), (4, 0, 3, 5)])
def test_what_is_no_rectangle_is_refused(sides):
    """With what it was."""
    with pytest.raises(OptionError, match=r"region of a frame.*found"):
        Region(*sides)


@given(boxes(), SIDES, SIDES, st.floats(0, 1), st.floats(0, 1))
def test_a_region_lies_in_its_frame_and_covers_its_box(box, width, height, margin, aspect):
    """It is neither too small nor too narrow, but where the frame itself is."""
    region = Regions(margin, aspect).of(box, width, height)
    if region is None:
        return
    wide, high = region.right - region.left, region.bottom - region.top
    assert region.right <= width
    assert region.bottom <= height
    assert region.left - 1 <= box[0] * width
    assert region.right + 1 >= min(box[2] * width, width)
    assert region.top - 1 <= box[1] * height
    assert region.bottom + 1 >= min(box[3] * height, height)
    assert wide + 1 >= LEAST * min(width, height)
    assert wide * high < WHOLE * width * height
    assert wide + 1 >= aspect * high or wide == width
    assert high + 1 >= aspect * wide or high == height


@given(boxes(), st.lists(st.tuples(*[st.floats(-STEADY / 2, STEADY / 2)] * 4), max_size=20))
def test_an_outline_that_trembles_keeps_its_region(box, shakes):
    """By a cell or so: the same item, the same part of the frame."""
    regions = Regions(0.0, 0.6)
    first = regions.of(box, 640, 480)
    for shake in shakes:
        assert regions.of(tuple(a + b for a, b in zip(box, shake, strict=True)), 640, 480) == first


def test_another_box_has_another_region():
    """Something was put beside it; or it is another item."""
    regions = Regions(0.0, 0.6)
    first = regions.of((0.4, 0.4, 0.6, 0.6), 640, 480)
    assert first == Region(256, 192, 384, 288)
    assert regions.of((0.4, 0.4, 0.8, 0.6), 640, 480) == Region(256, 163, 512, 317)
    regions.of((0.4, 0.4, 0.6, 0.6), 640, 480)
    assert regions.of((0.41, 0.4, 0.6, 0.6), 640, 480) == first
    regions.forget()
    assert regions.of((0.41, 0.4, 0.6, 0.6), 640, 480) != first


def test_what_fills_the_frame_is_looked_at_whole():
    """Or nearly."""
    assert Regions(0.0, 0.6).of((0.0, 0.0, 1.0, 1.0), 640, 480) is None
    assert Regions(0.0, 0.6).of((0.02, 0.02, 0.98, 0.98), 640, 480) is None
    assert Regions(0.5, 0.6).of((0.2, 0.2, 0.8, 0.8), 640, 480) is None


def test_what_lies_aslant_is_cut_out_straight():
    """A picture that was laid down turned comes back, to what two interpolations leave of it."""
    part = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8), (90, 60))
    for degrees in (-40.0, -13.0, 8.0, 45.0):
        matrix = cv2.getRotationMatrix2D((44.5, 29.5), -degrees, 1)  # OpenCV's is counter-clockwise
        matrix[:, 2] += (100 - 44.5, 70 - 29.5)
        frame = cv2.warpAffine(part, matrix, (200, 150), borderMode=cv2.BORDER_REPLICATE)
        box = TurnedBox(100.5, 70.5, 90, 60, degrees)
        region = Region(40, 20, 160, 120, turned=box)
        cut = region.cut(frame)
        assert cut.shape == (60, 90, 3)
        assert np.abs(cut.astype(int) - part)[2:-2, 2:-2].mean() < 4
        assert region.size_in(150, 200) == (60, 90)
        turned = replace(region, view=RegionView(1, mirrored=True))
        assert np.array_equal(turned.cut(frame), np.rot90(cut)[:, ::-1])
        assert turned.size_in(150, 200) == (90, 60)
        assert replace(region, view=RegionView(scale=0.5)).cut(frame).shape == (30, 45, 3)
        half = cv2.resize(frame, (100, 75), interpolation=cv2.INTER_AREA)
        small = region.cut(half, (150, 200))
        assert small.shape == (30, 45, 3)
        expected = cv2.resize(part, (45, 30), interpolation=cv2.INTER_AREA).astype(int)
        assert np.abs(small - expected)[2:-2, 2:-2].mean() < 8
        assert region.place == Region(40, 20, 160, 120)


def test_a_box_that_is_not_turned_is_cut_out_to_the_pixel():
    """And what it has beyond the frame is the frame, mirrored."""
    image = np.arange(20 * 30 * 3, dtype=np.uint16).astype(np.uint8).reshape(20, 30, 3)
    assert np.array_equal(
        Region(0, 0, 1, 1, turned=TurnedBox(15, 10, 10, 8, 0)).cut(image), image[6:14, 10:20]
    )
    beyond = Region(0, 0, 1, 1, turned=TurnedBox(2, 10, 10, 8, 0)).cut(image)
    assert np.array_equal(beyond[:, 3:], image[6:14, :7])
    assert np.array_equal(beyond[:, :3], image[6:14, 3:0:-1])


@pytest.mark.parametrize(
    "values", [(1, 1, 0, 4, 5), (1, 1, 4, -1, 5), (1, 1, 4, 4, 46), (math.nan, 1, 4, 4, 5), (1, 1, 1e9, 4, 5)]
)
def test_a_turned_box_that_is_none_is_refused(values):
    """With what it was."""
    with pytest.raises(OptionError, match=r"turned box.*expected.*found"):
        TurnedBox(*values)


LYING = TurnedBox(0.5, 0.375, 0.25, 0.125, 20.0)


def test_an_item_that_lies_aslant_has_a_turned_region():
    """In pixels of the frame, while its outline only trembles; with the least sides that any region has."""
    regions = Regions(0.0, 0.6)
    first = regions.of((0.4, 0.4, 0.6, 0.6), 640, 480, LYING)
    assert first == Region(256, 192, 384, 288, turned=TurnedBox(320, 240, 160, 96, 20.0))
    assert regions.of((0.41, 0.4, 0.6, 0.6), 640, 480, replace(LYING, degrees=23.0)) == first
    assert regions.of((0.41, 0.4, 0.6, 0.6), 640, 480) == first
    assert regions.expected(960, 1280).turned == first.turned.scaled(2)
    assert regions.of((0.4, 0.4, 0.8, 0.6), 640, 480).turned is None
    assert Regions(0.0, 0.6, straighten=False).of((0.4, 0.4, 0.6, 0.6), 640, 480, LYING).turned is None
    assert Regions(0.25, 0.0).of((0.4, 0.4, 0.6, 0.6), 640, 480, LYING).turned.width == 240


def test_a_long_item_that_is_turned_in_the_same_box_is_cut_out_anew():
    """Pushed from one diagonal to the other; a square one may be told either way."""
    box, long = (0.3, 0.3, 0.7, 0.7), TurnedBox(0.5, 0.375, 0.4, 0.1, 35.0)
    regions = Regions(0.0, 0.1)
    assert regions.of(box, 640, 480, long).turned.degrees == 35
    assert regions.of(box, 640, 480, replace(long, degrees=28.0)).turned.degrees == 35
    assert regions.of(box, 640, 480, replace(long, degrees=-35.0)).turned.degrees == -35
    upright = TurnedBox(0.5, 0.375, 0.1, 0.4, -40.0)  # the same as 50 degrees of a lying one
    assert regions.of(box, 640, 480, upright).turned.degrees == -40
    square = TurnedBox(0.5, 0.375, 0.3, 0.29, 44.0)
    regions.forget()
    first = regions.of(box, 640, 480, square)
    assert regions.of(box, 640, 480, replace(square, degrees=-44.0)) == first


@pytest.mark.parametrize("box", [(-1, 5, 9, 9, 5), (5, 41, 9, 9, 5), (5, 5, 9000, 9, 5)])
def test_a_turned_box_beyond_its_frame_is_refused(box):
    """As a damaged recording may have it: nothing of that size is made."""
    with pytest.raises(FrameValueError, match=r"turned box.*within 60x40"):
        Region(0, 0, 1, 1, turned=TurnedBox(*box)).cut(np.zeros((40, 60, 3), np.uint8))


def test_a_long_thing_across_the_whole_view_is_cut_out_straight_too():
    """Though the box around it is the frame."""
    box = (0.0, 0.0, 1.0, 1.0)
    thin = TurnedBox(0.5, 0.375, 1.1, 0.2, 37.0)
    assert Regions(0.0, 0.1).of(box, 640, 480, thin) == Region(0, 0, 640, 480, turned=thin.scaled(640))
    assert Regions(0.0, 1.0).of(box, 640, 480, thin).turned.height == 704
    assert Regions(0.0, 0.1).of(box, 640, 480, replace(thin, height=0.9)) is None


def test_a_crumb_is_looked_at_with_what_is_around_it():
    """A fifth of the shorter side, at the least, moved into the frame."""
    assert Regions(0.0, 0.6).of((0.0, 0.0, 0.02, 0.02), 640, 480) == Region(0, 0, 96, 96)
