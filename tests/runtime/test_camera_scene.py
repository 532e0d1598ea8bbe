"""Facts about the drawn scene, and that drawing is what it was."""

import itertools

import cv2
import numpy as np
import pytest

from ecovision_edge.camera.open import open_source
from ecovision_edge.camera.scene import Scene
from ecovision_edge.errors import CaptureError, OptionError
from ecovision_edge.simulation.synthetic import ITEM_KINDS, draw_frame, draw_item


def first(count, scene):
    return list(itertools.islice(scene.items(), count))


def test_a_frame_is_a_function_of_seed_and_number():
    """In any order, from any scene of that seed."""
    forward, backward = Scene(4, 160, 120), Scene(4, 160, 120)
    frames = [forward.frame(n) for n in range(0, 230, 7)]
    again = [backward.frame(n) for n in reversed(range(0, 230, 7))][::-1]
    assert all(map(np.array_equal, frames, again))
    assert not np.array_equal(Scene(5, 160, 120).frame(0), frames[0])


def test_no_two_frames_are_the_same_picture():
    """There is a sensor's noise, so that a still tray is no frozen camera."""
    scene = Scene(1, 64, 48)
    frames = {scene.frame(n).tobytes() for n in range(2000)}
    assert len(frames) == 2000


def test_a_frame_is_an_array_of_its_own():
    """Writing into one changes no other."""
    scene = Scene(1, 64, 48)
    for n in (0, 40):  # the tray, and an item that lies still
        before = scene.frame(n)
        scene.frame(n)[:] = 0
        assert before.flags.owndata
        assert np.array_equal(scene.frame(n), before)


def test_what_is_on_the_tray_is_known():
    """The kind while an item lies still; nothing while it moves, or there is none."""
    scene = Scene(2)
    for item in first(10, scene):
        assert item.enters < item.arrives < item.leaves < item.gone
        assert [scene.item(n) for n in (item.arrives, item.leaves - 1)] == [item.kind] * 2
        moves = (item.enters, item.arrives - 1, item.leaves, item.gone - 1)
        assert [scene.item(n) for n in (item.enters - 1, *moves, item.gone)] == [None] * 6


def test_an_item_stays_about_four_seconds_and_the_tray_is_empty_for_about_two():
    """Whatever the rate; each kind comes once in eight."""
    for fps in (5, 15, 30):
        items = first(16, Scene(3, fps=fps))
        stays = [(i.leaves - i.arrives) / fps for i in items]
        gaps = [(b.enters - a.gone) / fps for a, b in itertools.pairwise(items)]
        assert 3.5 < min(stays) < 4 < max(stays) < 4.5
        assert min(gaps) > 1.2
        assert max(gaps) < 2.8
        assert sorted(i.kind for i in items[:8]) == sorted(i.kind for i in items[8:]) == sorted(ITEM_KINDS)


def test_the_picture_says_what_the_scene_says():
    """Middle of the tray: as at the start while it is empty, unlike that while an item lies there."""
    scene = Scene(6, 320, 240)
    empty = cv2.blur(scene.frame(0), (9, 9)).astype(int)

    def changed(n):
        return (np.abs(cv2.blur(scene.frame(n), (9, 9)) - empty).max(2) > 25)[60:180, 80:240].mean()

    for item in first(8, scene):
        assert changed((item.arrives + item.leaves) // 2) > 0.05, item
        assert changed(item.gone) < 0.001, item
        assert changed(item.enters - 1) < 0.001, item


def test_items_come_in_from_the_side():
    """The first of a slide is at an edge of the picture, and each is nearer to the middle."""
    scene = Scene(0, 320, 240)
    item = next(scene.items())
    empty = scene.frame(0).astype(int)

    def where(n):
        columns = np.flatnonzero((np.abs(scene.frame(n) - empty).max(2) > 60).any(0))
        return abs(columns.mean() - 160) if columns.size else 999

    slide = [where(n) for n in range(item.enters, item.arrives + 1)]
    assert slide[-1] < 40
    seen = [distance for distance in slide if distance != 999]
    assert len(seen) >= 4
    assert seen == sorted(seen, reverse=True)


def test_the_light_drifts_slowly():
    """Brightness of the empty tray changes over a minute, and not from frame to frame."""
    scene = Scene(0, 64, 48)
    levels = [scene.frame(i.gone).mean() for i in first(9, scene)]
    assert 0.04 < (max(levels) - min(levels)) / np.mean(levels) < 0.1
    assert abs(scene.frame(1).mean() - scene.frame(0).mean()) < 1.5


@pytest.mark.parametrize(("width", "height"), [(16, 16), (17, 300), (640, 480), (300, 16)])
def test_a_scene_has_the_size_that_was_asked_for(width, height):
    """`(height, width, 3) uint8`, contiguous, with or without an item."""
    scene = Scene(9, width, height)
    item = next(scene.items())
    for n in (0, item.enters, item.arrives, item.leaves, item.gone):
        frame = scene.frame(n)
        assert frame.shape == (height, width, 3)
        assert frame.dtype == np.uint8
        assert frame.flags.c_contiguous


@pytest.mark.parametrize(
    "wrong", [{"width": 15}, {"height": 0}, {"seed": -1}, {"fps": 0}, {"fps": float("inf")}]
)
def test_a_scene_that_cannot_be_is_refused(wrong):
    """And frames before the first."""
    with pytest.raises(OptionError):
        Scene(**wrong)
    with pytest.raises(OptionError):
        Scene(0, 16, 16).frame(-1)


def test_at_a_frame_in_ten_seconds_there_still_are_items():
    """They stay longer then, or none would be seen."""
    items = first(3, Scene(fps=0.1))
    assert all(i.leaves - i.arrives >= 7 and i.enters > 0 for i in items)


def test_a_demo_shows_its_scene():
    """Frame by frame, turned as asked for; a finite one ends."""
    source = open_source("demo:?seed=3&width=64&height=48&fps=30&frames=3&mirror=1")
    stream = source.connect()
    for n in range(3):
        assert np.array_equal(stream.read(), Scene(3, 64, 48, 30.0).frame(n)[:, ::-1])
    assert stream.read() is None
    assert stream.read() is None
    stream.close()
    with pytest.raises(CaptureError, match="demo is closed"):
        stream.read()


DRAWN = (  # mean blue, green and red of the synthetic frames of 64 x 48, before the scene shared their items
    (161.2, 156.5, 157.2),
    (106.4, 136.4, 145.8),
    (158.3, 163.6, 179.8),
    (108.3, 117.8, 133.6),
    (159.3, 166.4, 152.5),
    (221.9, 219.5, 216.7),
    (157.9, 154.8, 165.7),
    (117.4, 115.2, 115.3),
)


@pytest.mark.parametrize("seed", range(8))
def test_drawing_is_what_it_was(seed):
    """Golden vectors that were drawn earlier can be drawn again; the shapes and colours are those of then."""
    assert draw_frame(seed, 64, 48).mean((0, 1)) == pytest.approx(DRAWN[seed], abs=0.1)


@pytest.mark.parametrize("kind", ITEM_KINDS)
def test_an_item_is_drawn_the_same_with_the_same_numbers(kind):
    """And within its reach, the rest of the frame stays as it was."""

    def drawn(turn):
        frame = np.zeros((100, 100, 3), np.uint8)
        draw_item(frame, kind, np.array([50.0, 50.0]), 25.0, turn, np.random.default_rng(1))
        return frame

    for turn in np.linspace(-0.6, 0.6, 5):
        frame = drawn(turn)
        assert np.array_equal(frame, drawn(turn))
        y, x = np.nonzero(frame.any(2))
        assert np.hypot(y - 50, x - 50).max() < 1.3 * 25 + 2
