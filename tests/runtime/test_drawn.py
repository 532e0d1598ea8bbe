"""Facts about the synthetic frames."""

import cv2
import numpy as np
import pytest

from ecovision_edge.simulation.synthetic import draw_frame


def test_the_same_seed_gives_the_same_frame():
    """Golden vectors can be drawn again."""
    assert np.array_equal(draw_frame(3), draw_frame(3))


def test_drawing_leaves_the_global_generator_alone():
    """Nobody else's random numbers change."""
    before = np.random.get_state()[1].copy()
    draw_frame(0)
    assert np.array_equal(np.random.get_state()[1], before)


def test_seeds_give_different_frames():
    """Also those of the same kind of item, eight apart."""
    frames = {draw_frame(seed, 64, 48).tobytes() for seed in range(24)}
    assert len(frames) == 24


@pytest.mark.parametrize(("width", "height"), [(640, 480), (64, 48), (48, 64), (1, 1), (7, 2), (1000, 3)])
def test_a_frame_has_the_size_that_was_asked_for(width, height):
    """`(height, width, 3) uint8`, contiguous, as a camera gives it."""
    frame = draw_frame(5, width, height)
    assert frame.shape == (height, width, 3)
    assert frame.dtype == np.uint8
    assert frame.flags.c_contiguous


@pytest.mark.parametrize("seed", range(16))
def test_an_item_lies_in_the_middle_of_the_tray(seed):
    """Past the grain and the noise there are edges in the middle, and none at the sides."""
    edges = cv2.Canny(cv2.GaussianBlur(draw_frame(seed), (0, 0), 2), 40, 90) > 0
    assert edges[100:380, 180:460].mean() > 0.005
    assert not edges[:, :40].any()
    assert not edges[:, -40:].any()


def test_numpys_whole_numbers_are_seeds_too():
    """A seed out of an array gives the frame of the plain number."""
    assert np.array_equal(draw_frame(np.int64(2), 32, 32), draw_frame(2, 32, 32))
