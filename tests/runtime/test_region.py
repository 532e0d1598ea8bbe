"""Facts about `Region` and the regions of an item: what of a frame is classified."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge.decision.regions import LEAST, STEADY, WHOLE, Regions
from ecovision_edge.errors import OptionError
from ecovision_edge.preprocess.region import Region

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


def test_a_crumb_is_looked_at_with_what_is_around_it():
    """A fifth of the shorter side, at the least, moved into the frame."""
    assert Regions(0.0, 0.6).of((0.0, 0.0, 0.02, 0.02), 640, 480) == Region(0, 0, 96, 96)
