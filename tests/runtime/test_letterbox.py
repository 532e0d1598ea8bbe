"""Facts about the grey bars of photographs that were letterboxed."""

import cv2
import numpy as np
import pytest

from ecovision_edge.photographs.letterbox import bars, strip_bars


def letterboxed(width, height, size=256, quality=90):
    """A made-up photograph of that size, as YOLO's tools draw it: grey bars around, then JPEG."""
    rng = np.random.default_rng(5)
    photo = cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3), np.uint8), (0, 0), 2)
    boxed = np.full((size, size, 3), 114, np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    boxed[top : top + height, left : left + width] = photo
    return cv2.imdecode(cv2.imencode(".jpg", boxed, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


@pytest.mark.parametrize(("width", "height"), [(256, 190), (150, 256), (256, 40), (256, 256), (255, 201)])
def test_letterbox_bars_are_cut_off(width, height):
    """All but a line at most, and at most two lines more; nothing of a photograph without."""
    stripped = strip_bars(letterboxed(width, height))
    assert height - 4 <= stripped.shape[0] <= height
    assert width - 4 <= stripped.shape[1] <= width + 1


def test_bars_are_found_and_plain_pictures_left_alone():
    """To the four lines that JPEG mixes."""
    assert bars(np.random.default_rng(0).integers(0, 256, (100, 80, 3), np.uint8)) == (0, 100, 0, 80)
    top, bottom, left, right = bars(letterboxed(256, 156))
    assert (left, right) == (0, 256)
    assert abs(top - 50) <= 4
    assert abs(bottom - 206) <= 4


def test_a_photograph_that_is_grey_all_over_stays_whole():
    """So does one of which hardly anything would be left."""
    grey = np.full((50, 60, 3), 114, np.uint8)
    assert bars(grey) == (0, 50, 0, 60)
    assert strip_bars(grey) is grey
    sliver = np.full((100, 80, 3), 114, np.uint8)
    sliver[50:60] = 255
    assert bars(sliver) == (0, 100, 0, 80)
    assert strip_bars(sliver) is sliver
