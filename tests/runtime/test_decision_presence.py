"""Facts about the gate: what is an item, and what is light, noise, a ghost, or another view."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecovision_edge.decision import PresenceGate, PresenceOptions, View
from ecovision_edge.decision.evidence import Evidence
from ecovision_edge.errors import FrameTypeError, OptionError

WIDTH, HEIGHT = 320, 240
X, Y = np.meshgrid(np.linspace(-1, 1, WIDTH, dtype=np.float32), np.linspace(-1, 1, HEIGHT, dtype=np.float32))


class World:
    """A tray under a light, with the noise of a sensor, looked at ten times a second."""

    def __init__(self, level=120, options=None, seed=0):
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
        noisy = picture * self.light + self.rng.normal(0, 3, picture.shape)
        return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)

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
    """It has no edges; the empty tray is learnt anew."""
    world.light = (1 + 0.5 * X)[..., None]
    assert world.look(20).view is View.EMPTY
    world.put()
    assert world.look(6).view is View.ITEM


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


@settings(max_examples=60, deadline=None)
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
