"""Facts about the gate: what is an item, and what is light, noise, a ghost, or another view."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge.decision import PresenceGate, PresenceOptions, View
from ecovision_edge.decision.evidence import Evidence
from ecovision_edge.errors import FrameTypeError, OptionError

WIDTH, HEIGHT = 320, 240
X, Y = np.meshgrid(np.linspace(-1, 1, WIDTH, dtype=np.float32), np.linspace(-1, 1, HEIGHT, dtype=np.float32))


# Standard normals: a frame takes those from a random place on, which is much quicker than drawing its own.
NOISE = np.random.default_rng(0).standard_normal(1 << 20, np.float32)


class World:
    """A tray under a light, with the noise of a sensor, looked at ten times a second.

    It may be seen smaller (`size`), and by a camera that trembles by so many pixels (`tremble`).
    """

    def __init__(self, level=120, options=None, seed=0, *, size=None, noise=3.0, tremble=0.0):
        self.size, self.noise, self.tremble = size, noise, tremble
        self.rng = np.random.default_rng(seed)
        grain = cv2.resize(
            self.rng.normal(0, 6, (30, 40)).astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC
        )
        self.tray = np.repeat((level + grain)[..., None], 3, axis=2)
        self.light = np.ones((HEIGHT, WIDTH, 1), np.float32)
        self.items = []
        self.gate = PresenceGate(options)
        self.now, self.step = 0.0, 0.1

    def frame(self):
        picture = self.tray.copy()
        for x, y, size, colour in self.items:
            cv2.rectangle(picture, (x, y), (x + size, y + size), colour, -1)
        if self.tremble:
            x, y = self.rng.uniform(-self.tremble, self.tremble, 2)
            picture = cv2.warpAffine(
                picture, np.float32([[1, 0, x], [0, 1, y]]), (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE
            )
        lit = np.asarray(picture * self.light, np.float32)
        if self.size is not None:
            lit = cv2.resize(lit, self.size, interpolation=cv2.INTER_AREA)
        start = self.rng.integers(NOISE.size - lit.size)
        noisy = cv2.scaleAdd(NOISE[start : start + lit.size].reshape(lit.shape), self.noise, lit)
        return np.rint(noisy, out=noisy).clip(0, 255, out=noisy).astype(np.uint8)

    def look(self, frames=1):
        """The last look of so many frames."""
        for _ in range(frames):
            self.now += self.step
            found = self.gate.look(self.frame(), self.now)
        return found

    def views(self, frames):
        return {self.look().view for _ in range(frames)}

    def put(self, x=120, y=80, size=60, colour=(40, 60, 200)):
        self.items.append((x, y, size, colour))


@pytest.fixture
def world():
    """One whose empty tray is learnt."""
    world = World()
    world.look(15)
    return world


def test_the_empty_tray_is_learnt_first():
    """Nothing is said before."""
    world = World()
    assert world.views(5) == {View.UNKNOWN}
    assert world.look(10).view is View.EMPTY


def test_it_is_not_learnt_while_something_moves():
    """Only from stillness."""
    world = World()
    for n in range(30):
        world.items = [(n * 8, 80, 60, (40, 60, 200))]
        assert world.look().view is View.UNKNOWN
    world.items = []
    assert world.look(15).view is View.EMPTY


@pytest.mark.slow
def test_noise_is_no_item(world):
    """In a minute of it."""
    assert world.views(600) == {View.EMPTY}


def test_an_item_is_seen_and_goes(world):
    """Moving as it comes, still when it lies there, gone when it is gone."""
    world.put()
    assert world.look(2).moving
    found = world.look(5)
    assert (found.view, found.moving) == (View.ITEM, False)
    assert found.share == pytest.approx(60 * 60 / (WIDTH * HEIGHT), abs=0.02)
    world.items = []
    assert world.look(5).view is View.EMPTY


def test_an_item_is_not_learnt_however_long_it_lies_there(world):
    """An hour, and it is still there."""
    world.put()
    world.look(5)
    world.now += 3600
    assert world.look(50).view is View.ITEM
    world.items = []
    assert world.look(5).view is View.EMPTY


@pytest.mark.parametrize("size", [30, 60, 120, 200])
@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (120, 120, 200), (90, 90, 90)], ids=str)
def test_items_of_many_sizes_and_colours_are_seen(world, size, colour):
    """From one eightieth of the view to half of it, dark, light, or nearly of the tray's own grey."""
    world.put(60, 20, size, colour)
    assert world.look(6).view is View.ITEM


@pytest.mark.parametrize("gain", [0.5, 0.8, 1.25, 1.8])
def test_light_that_changes_everywhere_is_no_item(world, gain):
    """A lamp, or the camera's exposure: at once."""
    world.light *= gain
    assert View.ITEM not in world.views(40)
    world.put()
    assert world.look(6).view is View.ITEM


@pytest.mark.slow
def test_light_that_flickers_is_no_item(world):
    """Another brightness in each frame."""
    for n in range(200):
        world.light[:] = 1 + 0.25 * np.sin(n * 2.4)
        assert world.look().view is View.EMPTY


def test_the_colour_of_light_may_change(world):
    """Warm in the evening."""
    world.light = np.ones((HEIGHT, WIDTH, 3), np.float32) * np.array([0.7, 1.0, 1.3], np.float32)
    assert View.ITEM not in world.views(40)


def test_soft_light_from_a_side_is_no_item(world):
    """It has no edges; the empty tray is learnt again."""
    world.light = (1 + 0.5 * X)[..., None]
    assert world.look(20).view is View.EMPTY
    world.put()
    assert world.look(6).view is View.ITEM


@pytest.mark.slow
def test_light_that_drifts_is_followed(world):
    """Sunset: to a third in ten minutes, unevenly."""
    world.step = 1.0
    for n in range(600):
        world.light = (1 - 0.6 * n / 600 + 0.2 * n / 600 * X)[..., None]
        assert world.look().view is View.EMPTY, n


def test_what_was_learnt_with_the_tray_may_be_taken_away():
    """No item: its edges are those of the learnt picture. What comes afterwards in its place is one."""
    world = World()
    world.put()
    assert world.look(15).view is View.EMPTY
    world.items = []
    assert world.look(10).view is View.EMPTY
    world.put(colour=(200, 60, 40))
    assert world.look(6).view is View.ITEM


@pytest.mark.slow
def test_another_view_is_a_fault_and_then_the_new_tray(world):
    """Somebody moved the camera: nothing is said of it for `relearn` seconds."""
    world.tray = 255 - world.tray * 0.9
    world.tray[::16] = 0
    world.tray[:, ::16] = 0
    world.tray += np.linspace(0, 160, WIDTH, dtype=np.float32)[None, :, None]
    seen = world.views(250)
    assert View.ITEM not in seen
    if View.COVERED in seen:
        assert world.look(100).view is View.EMPTY


def test_a_hand_over_the_lens_is_no_item(world):
    """Black everywhere: covered, or light that went out; not an item."""
    tray = world.tray
    world.tray = np.full_like(tray, 3)
    assert View.ITEM not in world.views(50)
    world.tray = tray
    assert world.look(10).view is View.EMPTY


def test_a_kept_picture_of_the_tray_will_do(world):
    """`learn_from`: an item may lie there at the start."""
    gate = PresenceGate()
    gate.learn_from(world.frame())
    world.put()
    for n in range(6):
        found = gate.look(world.frame(), n / 10)
    assert found.view is View.ITEM


def test_relearn_forgets(world):
    """What lies there now is the tray."""
    world.put()
    assert world.look(6).view is View.ITEM
    world.gate.relearn()
    assert world.look(1).view is View.UNKNOWN
    assert world.look(15).view is View.EMPTY


def test_frames_may_change_their_size(world):
    """A camera that comes back with another one."""
    world.put()
    world.look(5)
    image = cv2.resize(world.frame(), (640, 480))
    assert world.gate.look(image, world.now + 0.1).view is View.ITEM


def test_no_frame_is_refused():
    """As everywhere."""
    with pytest.raises(FrameTypeError):
        PresenceGate().look(None, 0.0)


# Where the item is, and whether it is the same one.


def test_a_look_says_where_the_item_is(world):
    """As shares of the view, to a cell."""
    world.put(80, 60, 80)
    box = world.look(6).box
    assert box == pytest.approx((80 / WIDTH, 60 / HEIGHT, 160 / WIDTH, 140 / HEIGHT), abs=1.5 / 60)
    world.items = []
    assert world.look(6).box is None


def laid(world, wide, high, degrees, middle=(160, 120)):
    """The look at one more thing, turned by so many degrees about its middle, clockwise as it is seen."""
    corners = cv2.boxPoints((middle, (wide, high), degrees))
    cv2.fillPoly(world.tray, [np.rint(corners).astype(np.int32)], (40, 60, 200))
    return world.look(6)


@pytest.mark.parametrize("degrees", [-40, -20, 12, 30, 45, 70, 100])
def test_a_look_says_how_an_item_lies(world, degrees):
    """The rectangle that it fills, turned by 45 degrees at most, in shares of the view's width."""
    turned = laid(world, 120, 50, degrees).turned
    assert -45 <= turned.degrees <= 45
    along = turned.degrees if turned.width > turned.height else turned.degrees + 90
    assert (along - degrees + 90) % 180 - 90 == pytest.approx(0, abs=4)
    assert (turned.x * WIDTH, turned.y * WIDTH) == pytest.approx((160, 120), abs=3)
    sides = sorted((turned.width * WIDTH, turned.height * WIDTH))
    assert sides == pytest.approx((50, 120), abs=8)


def test_what_fills_no_rectangle_is_not_called_turned(world):
    """A ball of paper, a bottle; a sheet is, though a corner of it is folded."""
    cv2.ellipse(world.tray, (160, 120), (60, 35), 30, 0, 360, (40, 60, 200), -1)
    look = world.look(6)
    assert look.box is not None
    assert look.turned is None
    other = World()
    other.look(15)
    corners = cv2.boxPoints(((160, 120), (120, 70), 30))
    corners[0] = 0.9 * corners[0] + 0.1 * corners[2]
    cv2.fillPoly(other.tray, [np.rint(corners).astype(np.int32)], (40, 60, 200))
    assert other.look(6).turned is not None


@pytest.mark.parametrize("degrees", [0, 90, 2])
def test_what_lies_along_the_view_is_not_called_turned(world, degrees):
    """Its box says it all."""
    look = laid(world, 120, 50, degrees)
    assert look.box is not None
    assert look.turned is None


def test_crumbs_do_not_widen_the_box(world):
    """What is far smaller than the item is no part of it."""
    world.put(40, 40, 100)
    world.put(280, 200, 8)
    assert world.look(6).box[2] == pytest.approx(140 / WIDTH, abs=1.5 / 80)
    world.put(260, 180, 40)  # but another piece is
    assert world.look(6).box[2] == pytest.approx(300 / WIDTH, abs=1.5 / 80)


@pytest.mark.parametrize(
    ("x", "y", "size", "edge"),
    [(120, 80, 60, False), (280, 80, 60, True), (-20, -20, 100, True), (90, 200, 60, True)],
    ids=["in the middle", "over a side", "over a corner", "over the lower side"],
)
def test_a_look_says_whether_the_item_reaches_out_of_the_view(world, x, y, size, edge):
    """As a hand does."""
    world.put(x, y, size)
    found = world.look(6)
    assert (found.view, found.edge) == (View.ITEM, edge)


def test_what_fills_the_view_from_side_to_side_is_no_hand(world):
    """It touches more than two sides."""
    world.tray = world.tray.copy()
    cv2.rectangle(world.tray, (20, 0), (260, HEIGHT), (40, 60, 200), -1)
    cv2.rectangle(world.tray, (0, 60), (40, 160), (40, 60, 200), -1)
    found = world.look(6)
    assert (found.view, found.edge) == (View.ITEM, False)


def test_the_same_content_has_not_changed(world):
    """Not under another light either; another item in its place has, and one that lies elsewhere."""
    world.put(80, 60, 80)
    before = world.look(6).content
    assert world.look(3).content.changed(before) < 0.05
    world.light *= 0.7
    assert world.look(6).content.changed(before) < 0.1
    world.light /= 0.7
    world.items = [(84, 60, 80, (40, 60, 200))]  # pushed a little
    assert world.look(6).content.changed(before) < 0.2
    world.items = [(80, 60, 80, (200, 160, 40))]
    assert world.look(6).content.changed(before) > 0.8
    world.items = [(200, 60, 80, (40, 60, 200))]
    assert world.look(6).content.changed(before) > 0.8


def test_while_it_moves_there_is_no_content_to_compare(world):
    """It is a blur."""
    for n in range(8):
        world.items = [(n * 12, 80, 60, (40, 60, 200))]
        found = world.look(2)
    assert found.moving
    assert found.content is None


# Noise, trembling, light.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "noise"),
    [((40, 30), 3), ((80, 60), 3), ((80, 60), 8), ((160, 120), 8), (None, 20)],
    ids=["40x30", "80x60", "80x60 noisy", "160x120 noisy", "320x240 very noisy"],
)
def test_noise_is_no_motion_in_small_or_dark_pictures_either(size, noise):
    """The tray is learnt, stays empty, and an item lies still."""
    world = World(size=size, noise=noise)
    assert world.look(30).view is View.EMPTY
    assert world.views(200) == {View.EMPTY}
    world.put()
    found = world.look(8)
    assert (found.view, found.moving) == (View.ITEM, False)


@pytest.mark.slow
def test_noise_may_grow_after_the_tray_was_learnt():
    """A camera makes up for the dusk by gain."""
    world = World(size=(160, 120), noise=2)
    world.look(30)
    for n in range(300):
        world.noise = 2 + n / 25
        assert world.look().view is View.EMPTY, n
    world.put()
    assert world.look(8).view is View.ITEM


@pytest.mark.parametrize("tremble", [0.05, 0.3, 0.6])
def test_a_camera_that_trembles_does_not_move_the_item(tremble):
    """By more than a pixel of 320 from look to look, with an item full of edges."""
    world = World(tremble=tremble)
    assert world.look(20).view is View.EMPTY
    for x in range(60, 240, 30):
        for y in range(40, 200, 30):
            world.put(x, y, 14, (0, 0, 0) if (x + y) % 60 else (255, 255, 255))
    world.look(4)
    for _ in range(40):
        found = world.look()
        assert (found.view, found.moving) == (View.ITEM, False)


def test_what_moves_still_moves_where_a_camera_trembles():
    """Ten pixels from look to look."""
    world = World(tremble=0.3)
    world.look(20)
    for n in range(20):
        world.items = [(10 + n * 10, 80, 60, (40, 60, 200))]
        world.look()
        assert n < 3 or world.look().moving


def test_light_that_flickers_while_the_tray_is_learnt_is_not_taken_for_noise():
    """Else nothing would ever stand out from it."""
    world = World()

    def flicker(frames):
        for n in range(frames):
            world.light[:] = 1 + 0.25 * np.sin(n * 2.4)
            found = world.look()
        return found

    assert flicker(20).view is View.EMPTY
    world.put(colour=(120, 120, 200))
    found = flicker(10)
    assert (found.view, found.moving) == (View.ITEM, False)


@pytest.mark.parametrize("level", [120, 170, 230])
def test_a_lamp_that_doubles_the_light_is_no_item(level):
    """Nor does it hide one, though the tray is beyond what the sensor can show; nor when it goes out."""
    world = World(level)
    world.look(15)
    for light in (2.0, 1.0, 2.0):
        world.light[:] = light
        assert View.ITEM not in world.views(30)
    world.put(colour=(20, 30, 100))
    found = world.look(6)
    assert (found.view, found.moving) == (View.ITEM, False)


@pytest.mark.parametrize("seed", range(3))
def test_a_lamp_over_a_part_of_the_tray_is_no_item(seed):
    """Twice the light in its middle, at a place of its own."""
    world = World(170, seed=seed)
    world.look(15)
    x, y = world.rng.uniform(-0.5, 0.5, 2)
    world.light = (1 + np.exp(-((X - x) ** 2 + (Y - y) ** 2) / world.rng.uniform(1, 4)))[..., None]
    looks = [world.look() for _ in range(40)]  # while it changes, it is something that moves
    assert not any(found.view is View.ITEM and not found.moving for found in looks)
    assert {found.view for found in looks[4:]} == {View.EMPTY}


@given(
    st.lists(
        st.tuples(st.integers(0, 255), st.integers(0, 2**32 - 1), st.floats(0, 5)), min_size=1, max_size=30
    )
)
def test_it_takes_whatever_comes(frames):
    """Noise of any level, at any times: a view, a share from 0 to 1, a reason."""
    gate, now = PresenceGate(), 0.0
    for level, seed, passed in frames:
        now += passed
        noise = np.random.default_rng(seed).integers(0, 60, (24, 32, 3))
        found = gate.look(np.clip(level + noise, 0, 255).astype(np.uint8), now)
        assert isinstance(found.view, View)
        assert 0 <= found.share <= 1
        assert found.reason


@pytest.mark.parametrize(
    ("name", "value"),
    [*[("learn", 0), ("enter", 1.5), ("contrast", -1), ("adapt", float("inf"))], ("leave", 0.5)],
)
def test_options_out_of_range_are_named(name, value):
    """The error says what is right, and what was found."""
    with pytest.raises(OptionError, match=r"expected.*found"):
        PresenceOptions(**{name: value})


# Evidence.


@given(
    st.lists(
        st.sampled_from([(0.7, 0.2, 0.1), (0.1, 0.8, 0.1), (0.3, 0.3, 0.4), (1.0, 0.0, 0.0)]), max_size=50
    ),
    st.floats(0, 1),
)
def test_evidence_is_probabilities(frames, correlation):
    """From 0 to 1, with the sum 1, whatever was added."""
    evidence = Evidence(3, correlation)
    for frame in frames:
        evidence.add(frame)
    for found in (evidence.posterior(), evidence.typical()):
        assert sum(found) == pytest.approx(1)
        assert all(0 <= p <= 1 for p in found)
    assert evidence.frames == len(frames)


def test_independent_frames_multiply_and_copies_do_not():
    """Bayes' rule for correlation 0; for 1 a thousand frames say what one says."""
    independent, copies = Evidence(2, 0.0), Evidence(2, 1.0)
    for _ in range(3):
        independent.add((0.8, 0.2))
        copies.add((0.8, 0.2))
    assert independent.posterior()[0] == pytest.approx(0.8**3 / (0.8**3 + 0.2**3))
    assert copies.posterior()[0] == pytest.approx(0.8)


def test_correlated_frames_count_for_at_most_one_by_their_correlation():
    """With 0.5 for two, however many come."""
    evidence = Evidence(2, 0.5)
    for _ in range(10_000):
        evidence.add((0.8, 0.2))
    assert evidence.posterior()[0] == pytest.approx(0.8**2 / (0.8**2 + 0.2**2), abs=1e-3)


def test_views_are_worth_what_their_correlation_says():
    """However many frames each view has, and whichever had more."""
    evidence = Evidence(2, (1.0, 0.6))
    for _ in range(7):
        evidence.add((0.8, 0.2))
    assert evidence.posterior()[0] == pytest.approx(0.8)
    evidence.add((0.6, 0.4), 1)
    mean = (0.8 * 0.6) ** 0.5, (0.2 * 0.4) ** 0.5
    worth = 2 / 1.6
    assert evidence.posterior()[0] == pytest.approx(mean[0] ** worth / (mean[0] ** worth + mean[1] ** worth))
    assert evidence.typical()[0] == pytest.approx(mean[0] / sum(mean))
    assert evidence.frames == 8
    for wrong in ((), (1.0, 1.5)):
        with pytest.raises(OptionError, match="correlation"):
            Evidence(2, wrong)


def test_agreement_is_of_the_last_frames():
    """Not of all."""
    evidence = Evidence(2, 0.5)
    for p in [0.1] * 10 + [0.9] * 3:
        evidence.add((p, 1 - p))
    assert evidence.agreement(0, 4) == 0.75
    assert Evidence(2, 0.5).agreement(0, 4) == 0


def test_evidence_of_another_width_is_refused():
    """Probabilities of another model."""
    with pytest.raises(OptionError, match="expected 2 of them, found 3"):
        Evidence(2, 0.5).add((0.1, 0.2, 0.7))
