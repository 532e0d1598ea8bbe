"""Facts about what is learnt for the empty tray: no wrong first picture, and none for ever."""

import cv2
import numpy as np
import pytest

from ecovision_edge.decision import BinDecider, DeciderOptions, PresenceGate, View
from ecovision_edge.decision.kept import KeptTray
from ecovision_edge.errors import RecordError
from ecovision_edge.events import BinState
from ecovision_edge.prediction import Prediction, Timings

WIDTH, HEIGHT, FPS = 160, 120, 6
SAYS = Prediction("glass", 1, 0.97, 0.94, (0.03, 0.97), Timings(1.0, 1.0, 0.1))
COMES, GOES, ENDS = 15.0, 20.0, 23.0  # seconds: of the one item that there is


def soft(rng, channels, blur=4.0):
    """Grain as of wood or brushed steel, of deviation 1."""
    grain = cv2.GaussianBlur(rng.normal(0, 1, (HEIGHT, WIDTH, channels)).astype(np.float32), (0, 0), blur)
    return grain.reshape(HEIGHT, WIDTH, channels) / grain.std()


def tray(kind):
    """An empty tray, `(HEIGHT, WIDTH, 3) float`."""
    rng = np.random.default_rng(1)
    slope = np.linspace(-12, 12, WIDTH, dtype=np.float32)[None, :, None]
    if kind == "wood":
        return np.clip(110 + 9 * soft(rng, 3) + slope, 0, 255)
    if kind == "steel":
        return np.clip(115 + 26 * soft(rng, 1, 5.0) + slope, 0, 255).repeat(3, axis=2)[..., :3]
    if kind == "painted":
        blocks = rng.uniform(50, 190, (6, 9, 3)).astype(np.float32)
        return cv2.GaussianBlur(
            cv2.resize(blocks, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST), (0, 0), 1
        )
    return np.full((HEIGHT, WIDTH, 3), 120.0) + slope / 2


def item(seed=3):
    """Something with many colours."""
    rng = np.random.default_rng(seed)
    return cv2.resize(
        rng.integers(0, 255, (9, 9, 3)).astype(np.float32), (50, 50), interpolation=cv2.INTER_CUBIC
    )


def laid(picture, x=55, y=35, seed=3):
    """The picture with an item on it."""
    picture = picture.copy()
    picture[y : y + 50, x : x + 50] = item(seed)
    return picture


class Camera:
    """Looks at a tray six times a second, and knows what time it is."""

    def __init__(self, kind="wood", gate=None, options=None):
        self.tray, self.rng, self.now = tray(kind), np.random.default_rng(0), 0.0
        self.noise = [self.rng.normal(0, 2, self.tray.shape) for _ in range(5)]
        self.gate = gate or PresenceGate()
        self.decider = BinDecider(
            ("paper", "glass"), options=options, classify=lambda image: SAYS, gate=self.gate, run="run"
        )
        self.events, self.states = [], []

    def frame(self, picture):
        """As a sensor shows it."""
        noisy = picture + self.noise[self.rng.integers(len(self.noise))]
        return np.clip(noisy, 0, 255).astype(np.uint8)

    def see(self, seconds, scene=lambda picture, at: picture):
        """What a scene makes of the tray, for so long; the state at the end."""
        for _ in range(round(seconds * FPS)):
            event = self.decider.step(self.frame(scene(self.tray, self.now)), self.now)
            self.events += [self.now] if event else []
            self.states.append(self.decider.status.state)
            self.now += 1 / FPS
        return self.decider.status.state

    def one_item(self, scene):
        """The scene, and an item of which there has to be one event."""

        def with_item(picture, at):
            return scene(laid(picture) if COMES <= at < GOES else picture, at)

        last = self.see(ENDS, with_item)
        assert [COMES <= at < GOES for at in self.events] == [True], (self.events, self.decider)
        assert last is BinState.EMPTY


def light(by, seconds, how):
    """From `by` times the light to the usual one."""

    def scene(picture, at):
        if how == "step":
            return picture * (by if at < seconds else 1)
        left = max(0.0, 1 - at / seconds)
        return picture * (by**left if how == "curve" else 1 + (by - 1) * left)

    return scene


def test_a_light_that_settles_is_no_state_a_frame():
    """Each reason is a message to every sink: one that counted would be many a second."""
    camera, said = Camera(), []

    def scene(picture, at):
        said.append(camera.decider.status.reason)
        return light(8, 9, "line")(picture, at)

    camera.see(9, scene)
    assert len({reason for reason in said if "too bright or too dark" in reason}) == 1


LIGHTS = [(1.5, 1.2), (2, 2.5), (2.4, 10), (3, 1), (4, 1.2), (4, 6), (8, 3), (8, 10), (0.5, 2), (0.125, 10)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "by", "seconds"),
    [(how, *of) for n, how in enumerate(("step", "line", "curve")) for of in LIGHTS[n % 2 :: 1 + (n > 0)]],
)
def test_a_camera_that_starts_in_a_wrong_light_learns_the_tray(how, by, seconds):
    """As USB cameras do until their exposure has settled: nothing of that is learnt for the tray."""
    kind = "steel" if seconds in (1.2, 10) else "wood"
    Camera(kind).one_item(light(by, seconds, how))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "seconds"), [("wood", 1.5), ("painted", 5), ("steel", 12)])
@pytest.mark.parametrize(
    "colour",
    [(0, 0, 0), (16, 16, 16), (0, 135, 0), (128, 128, 128), (255, 255, 255), (255, 0, 0)],
    ids=["black", "nearly black", "green", "grey", "white", "blue"],
)
def test_pictures_from_before_the_camera_gives_any_are_no_tray(kind, seconds, colour):
    """All of one colour, with noise or not."""
    Camera(kind).one_item(lambda picture, at: picture * 0.0 + colour if at < seconds else picture)


def infrared(by):
    """One grey for all colours."""
    return lambda picture: np.repeat((picture @ np.array([0.1, 0.3, 0.6]))[..., None] * by, 3, axis=2)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "by"), [("wood", 0.6), ("painted", 1.0), ("steel", 1.3)])
@pytest.mark.parametrize(
    "is_dark",
    [lambda at: at < 1.2, lambda at: at < 6, lambda at: at >= 6, lambda at: 4 <= at < 8 or at >= 11],
    ids=["at the start", "for a while", "from then on", "to and fro"],
)
def test_infrared_light_is_no_item(kind, by, is_dark):
    """The filter goes out of the way, or back: another picture everywhere, of the same tray."""
    grey = infrared(by)
    Camera(kind).one_item(lambda picture, at: grey(picture) if is_dark(at) else picture)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["steel", "painted"])
@pytest.mark.parametrize(("x", "y", "turn"), [(1, 0, 0), (10, 5, 0), (0, 0, 2), (3, 2, -3)])
def test_a_tray_that_is_moved_a_little_is_learnt_again(kind, x, y, turn):
    """Somebody pushed the bin, or turned the camera: no item."""
    warp = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), turn, 1)
    warp[:, 2] += x, y

    def scene(picture, at):
        if at < 5:
            return picture
        return cv2.warpAffine(
            picture.astype(np.float32), warp, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT
        )

    Camera(kind).one_item(scene)


@pytest.mark.parametrize("kind", ["wood", "steel", "plain"])
def test_an_item_that_was_there_at_the_start_may_go(kind):
    """It was learnt with the tray, and is no event; what comes afterwards is one."""
    Camera(kind).one_item(lambda picture, at: laid(picture, 20, 60, 9) if at < 6 else picture)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("colour", "why"), [((0, 0, 0), "black"), ((255, 255, 255), "white"), ((0, 135, 0), "of one colour")]
)
def test_a_camera_that_shows_nothing_is_a_fault(colour, why):
    """However long: it is never learnt for the empty tray, and the reason says what is seen."""
    camera = Camera()
    assert camera.see(90, lambda picture, at: picture * 0.0 + colour) is BinState.FAULT
    assert f"the picture is {why}" in camera.decider.status.reason
    assert camera.see(3) is BinState.EMPTY


@pytest.mark.slow
def test_a_lens_that_is_covered_is_never_learnt():
    """A picture without light is no tray, though it stays."""
    camera = Camera()
    camera.see(3)
    assert camera.see(60, lambda picture, at: picture * 0.0) is BinState.FAULT
    assert "black" in camera.decider.status.reason
    assert camera.see(1) is BinState.EMPTY


@pytest.mark.slow
def test_a_sticker_that_stays_is_told_and_what_is_stuck_on_at_first_is_learnt():
    """Once an item has come and gone, the tray is known; before, it may be what was learnt that is wrong."""
    options = DeciderOptions(question_after=10)
    camera = Camera(options=options)
    camera.see(3)
    camera.see(15, lambda picture, at: laid(picture, 5, 60, 8))
    assert camera.decider.status.state is BinState.EMPTY  # learnt
    for _ in range(2):
        camera.see(4, lambda picture, at: laid(laid(picture, 5, 60, 8), 80, 20, 4))
        assert camera.see(2, lambda picture, at: laid(picture, 5, 60, 8)) is BinState.EMPTY
    assert len(camera.events) == 3
    both = laid(laid(camera.tray, 5, 60, 8), 100, 5, 5)
    assert camera.see(15, lambda picture, at: both) is BinState.FAULT
    assert "has lain there" in camera.decider.status.reason
    assert camera.decider.learn(camera.now)
    assert camera.see(3, lambda picture, at: both) is BinState.EMPTY


# From one run to the next.


@pytest.fixture(scope="module")
def kept():
    """The wooden tray of the last run."""
    camera = Camera()
    assert camera.gate.tray is None
    camera.see(4)
    return KeptTray.loads(camera.gate.tray.dumps())


@pytest.mark.slow
@pytest.mark.parametrize("by", [0.6, 1.0, 1.8])
def test_the_tray_of_the_last_run_is_known_again(kept, by):
    """In another light too; an item is then found as ever."""
    camera = Camera(gate=PresenceGate(kept=kept))
    camera.see(0.5, lambda picture, at: picture * by)
    assert camera.states[-1] is BinState.STARTING
    camera.one_item(lambda picture, at: picture * by)


@pytest.mark.slow
@pytest.mark.parametrize("by", [1, 4], ids=["as usual", "over-exposed at first"])
def test_an_item_that_lay_there_at_the_start_is_told_until_it_is_gone(kept, by):
    """After a power cut, say: it is not learnt, and gets no event."""
    camera = Camera(gate=PresenceGate(kept=kept))
    found = camera.see(40, lambda picture, at: laid(picture) * (by if at < 1.5 else 1))
    assert found is BinState.FAULT
    assert "not the tray that was kept" in camera.decider.status.reason
    assert camera.see(2) is BinState.EMPTY
    assert camera.events == []
    camera.see(4, lambda picture, at: laid(picture, 80, 20, 4))
    assert len(camera.events) == 1


@pytest.mark.slow
def test_another_tray_is_told_until_an_operator_has_it_learnt(kept):
    """It does not end by itself: nobody knows what is seen."""
    camera = Camera("painted", gate=PresenceGate(kept=kept))
    assert camera.see(60) is BinState.FAULT
    assert "not the tray that was kept" in camera.decider.status.reason
    assert camera.gate.tray is None
    camera.decider.learn(camera.now)
    assert camera.see(2) is BinState.EMPTY
    assert camera.gate.tray is not None


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: b"\x00" * len(data),
        lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:],
    ],
    ids=["empty", "cut", "longer", "zeros", "one bit"],
)
def test_a_kept_tray_that_is_damaged_is_a_typed_error(kept, damage):
    """Never a wrong tray."""
    with pytest.raises(RecordError, match="kept tray"):
        KeptTray.loads(damage(kept.dumps()))


def test_levels_that_cannot_be_are_refused(kept):
    """With the right checksum."""
    for level in (np.nan, -1.0, 1e4):
        wrong = KeptTray(np.full_like(kept.mean, level), kept.spread)
        with pytest.raises(RecordError, match="impossible levels"):
            KeptTray.loads(wrong.dumps())


def test_a_gate_compares_before_it_says_anything(kept):
    """A start is no fault."""
    gate, camera = PresenceGate(kept=kept), Camera()
    views = [gate.look(camera.frame(camera.tray), n / FPS).view for n in range(12)]
    assert views[0] is View.UNKNOWN
    assert views[-1] is View.EMPTY
    assert set(views) == {View.UNKNOWN, View.EMPTY}
