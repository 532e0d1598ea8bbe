"""Facts about the map of where a network looked, with networks of which that is known."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge.bundle.contract import Contract, InputSpec, Normalization, WeightsSource
from ecovision_edge.demo.occlusion import LEVELS, covering_color, occlude
from ecovision_edge.errors import InferenceError, OptionError

WEIGHTS = WeightsSource("tiny", "test", "0" * 64)


def contract(height=64, width=64, dtype="uint8", **changes):
    if dtype == "float32":
        spec = InputSpec("frame", "NCHW", "float32", "RGB", height, width)
        changes = {"normalization": Normalization(in_graph=False), **changes}
    else:
        spec = InputSpec(height=height, width=width)
    return Contract(("nothing", "thing"), WEIGHTS, spec, **changes)


def pixels(batch):
    """The batch as `(height, width, 3)`, whichever form it has."""
    return batch[0] if batch.shape[-1] == 3 else batch[0].transpose(1, 2, 0)


def looks_at(place, strength=10.0, white=255):
    """A network whose logit of "thing" is the share of `place`, rows and columns, that is white."""

    def run(batch):
        share = float((pixels(batch)[place] == white).all(axis=-1).mean())
        return np.array([[0.0, strength * share]], np.float32)

    return run


def white_batch(c):
    return np.full(c.input.shape(1), 255 if c.input.dtype == "uint8" else 9.0, c.input.dtype)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 48), (48, 0), (20, 36), (48, 48)])
def test_the_map_is_greatest_where_the_network_looks(dtype, row, column):
    c = contract(dtype=dtype)
    batch = white_batch(c)
    before = batch.copy()
    place = (slice(row, row + 16), slice(column, column + 16))
    found = occlude(looks_at(place, white=batch.flat[0]), batch, c, 1, budget_s=1e9)
    assert found.drop.shape == (64, 64)
    middle = np.array([row + 7.5, column + 7.5])
    top = np.argwhere(found.drop == found.drop.max()).mean(axis=0)
    assert np.abs(top - middle).max() <= 6  # patches are 16 wide
    far = np.hypot(*np.meshgrid(np.arange(64) - middle[0], np.arange(64) - middle[1], indexing="ij")) > 40
    assert np.abs(found.drop[far]).max() == 0
    # Wholly covered by one patch, the logit falls by all of it; of two classes log-odds are their difference.
    assert found.strongest == pytest.approx(10)
    assert np.array_equal(batch, before)


def test_a_network_that_looks_at_nothing_has_an_empty_map():
    c = contract()
    found = occlude(lambda b: np.array([[1.0, 3.0]], np.float32), white_batch(c), c)
    assert found.strongest == 0
    assert not found.drop.any()
    assert found.index == 1


def test_a_place_that_speaks_against_the_label_is_negative():
    c = contract()
    place = (slice(0, 16), slice(0, 16))
    found = occlude(looks_at(place, strength=-4.0), white_batch(c), c, 1)
    assert found.drop[0, 0] < 0
    assert found.strongest == 0  # elsewhere nothing changes


def test_log_odds_fall_by_the_same_however_sure_the_network_is():
    """A probability next to 1 would hardly move, its logarithm neither."""
    c = contract()
    place = (slice(0, 16), slice(0, 16))

    def run(batch):
        return looks_at(place, 5.0)(batch) + np.array([[0.0, 40.0]], np.float32)

    assert occlude(run, white_batch(c), c).strongest == pytest.approx(5, rel=1e-4)


def test_the_temperature_is_the_contracts():
    c = contract(temperature=4.0)
    place = (slice(0, 16), slice(0, 16))
    assert occlude(looks_at(place, 8.0), white_batch(c), c, 1).strongest == pytest.approx(2)


@pytest.mark.parametrize(
    ("per_run", "runs", "grid"), [(0.001, 290, 17), (0.04, 82, 9), (0.07, 26, 5), (60.0, 26, 5)]
)
def test_the_grid_is_the_finest_that_fits_into_the_budget(per_run, runs, grid):
    c = contract()
    time = itertools.count()
    ticks = [0.0]
    calls = 0

    def run(batch):
        nonlocal calls
        calls += 1
        ticks[0] += per_run
        return np.array([[0.0, 1.0]], np.float32)

    found = occlude(run, white_batch(c), c, budget_s=5.0, clock=lambda: (next(time), ticks[0])[1])
    assert (found.runs, found.grid, calls) == (runs, grid, runs)
    assert found.seconds == pytest.approx(runs * per_run)
    assert found.seconds <= 5 or grid == LEVELS[0]


@given(height=st.integers(1, 90), width=st.integers(1, 90))
def test_every_pixel_is_covered_whatever_the_size(height, width):
    """By the coarsest grid already: no pixel of the map is a hole."""
    c = contract(height, width)
    seen = np.zeros((height, width), bool)
    color = covering_color(c)

    def run(batch):
        covered = (batch[0] == color).all(axis=-1)
        seen[covered] = True
        assert covered.sum() <= (height / 4 + 2) * (width / 4 + 2)
        return np.array([[0.0, float(covered.any())]], np.float32)

    clock = iter([0.0, *[9.0] * 9])
    found = occlude(run, white_batch(c), c, 0, budget_s=1.0, clock=lambda: next(clock))
    assert found.runs == 26
    assert seen.all()
    assert np.isfinite(found.drop).all()
    assert found.patch == (math.ceil(height / 4), math.ceil(width / 4))


def test_what_covers_is_the_mean_of_the_training_data():
    assert covering_color(contract()).tolist() == [104, 116, 124]  # BGR; ImageNet's mean is 0.485 0.456 0.406
    assert covering_color(contract(dtype="float32")).tolist() == [0, 0, 0]
    odd = dataclasses.replace(contract(), normalization=Normalization((2.0, -1.0, 0.5)))
    assert covering_color(odd).tolist() == [128, 0, 255]


def test_misuse_is_said():
    c = contract()
    batch, run = white_batch(c), looks_at((slice(0, 1), slice(0, 1)))
    with pytest.raises(OptionError, match=r"network input.*\(1, 64, 64, 3\).*\(64, 64, 3\)"):
        occlude(run, batch[0], c)
    with pytest.raises(OptionError, match=r"label.*0 to 1.*2"):
        occlude(run, batch, c, 2)
    for budget in (0, -1, math.nan):
        with pytest.raises(OptionError, match="above 0"):
            occlude(run, batch, c, 0, budget_s=budget)


def test_an_answer_that_is_no_number_ends_it():
    c = contract()
    with pytest.raises(InferenceError, match=r"not finite.*nan"):
        occlude(lambda b: np.array([[0.0, np.nan]], np.float32), white_batch(c), c)
