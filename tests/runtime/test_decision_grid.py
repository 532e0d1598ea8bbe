"""Facts about the coarse picture of the gate: what is computed in another way is the same to the bit."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge.decision import _grid
from ecovision_edge.decision._grid import COLUMNS, ROWS, gain, grid_of, lit, noise

RNG = np.random.default_rng(0)


def pixels(width, height, low=0, high=256):
    return RNG.integers(low, high, (height, width, 3)).astype(np.uint8)


def area(image):
    """As OpenCV shrinks it."""
    return cv2.resize(image, (COLUMNS, ROWS), interpolation=cv2.INTER_AREA).astype(np.float32)


@pytest.mark.parametrize(("width", "height"), [(640, 480), (1280, 720), (1920, 1080), (640, 960), (800, 600)])
@pytest.mark.parametrize("levels", [(0, 256), (250, 256), (0, 3), (127, 129)])
def test_the_means_of_whole_blocks_are_those_of_opencv(width, height, levels):
    """Halves too, which go to the even level. OpenCV's own code for Arm may differ by one."""
    image = pixels(width, height, *levels)
    assert _grid._is_large(image)
    assert np.abs(grid_of(image) - area(image)).max() <= (0 if cv2.useOptimized() and _is_x86() else 1)
    assert grid_of(image).dtype == np.float32


def _is_x86():
    import platform

    return platform.machine() in ("x86_64", "AMD64")


@pytest.mark.parametrize(
    ("width", "height"), [(320, 240), (641, 480), (640, 481), (560, 480), (80, 60), (100, 9)]
)
def test_other_sizes_are_left_to_opencv(width, height):
    """Where cells are no equal blocks, or small ones."""
    image = pixels(width, height)
    assert not _grid._is_large(image)
    assert grid_of(image).shape == (ROWS, COLUMNS, 3)


def test_a_part_of_a_frame_is_shrunk_as_its_copy():
    """Between its rows there is something else."""
    part = pixels(700, 500)[10:490, 20:660]
    assert not _grid._is_large(part)
    assert (grid_of(part) == grid_of(part.copy())).all()


def test_the_highest_cells_do_not_overflow():
    """All white, at the largest number of rows that is added up."""
    image = np.full((ROWS * _grid.MOST_ROWS, 640, 3), 255, np.uint8)
    assert _grid._is_large(image)
    assert (grid_of(image) == 255).all()
    assert not _grid._is_large(np.zeros((ROWS * (_grid.MOST_ROWS + 1), 640, 3), np.uint8))


@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_medians_are_numpys(count, seed):
    """Of odd numbers and even ones, with equal values among them."""
    values = np.random.default_rng(seed).integers(0, 9, (3, count)).astype(np.float32) / np.float32(7)
    assert (_grid._medians(values) == np.median(values, axis=1)).all()


@pytest.mark.parametrize("shape", [(ROWS, COLUMNS, 3), (276, 3), (1, 3)])
@pytest.mark.parametrize("high", [200.0, 400.0])
def test_gain_light_and_noise_are_what_they_were(shape, high):
    """As the plain formulas have them, with cells that are cut off and without."""
    before, now = (RNG.uniform(0, high, shape).astype(np.float32) for _ in range(2))
    by = np.array([0.5, 1.25, 3.0], np.float32)
    assert (lit(before, by) == np.minimum(before * by, np.float32(255))).all()
    shown = (np.maximum(now, before) < _grid.WHITE).all(axis=-1)
    if shown.mean() >= _grid.ENOUGH:
        expected = np.median((now[shown] + 1) / (before[shown] + 1), axis=0)
        assert (gain(now, before) == np.clip(expected, *_grid.GAINS).astype(np.float32)).all()
    if len(shape) == 3:
        assert noise(now) == 1.4826 * float(np.median(now[::2, ::2]))
