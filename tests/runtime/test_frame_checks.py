"""Facts about how often a frame is checked: once, where it comes in, whatever is asked about it then."""

import functools

import numpy as np
import pytest

from ecovision_edge import Classifier
from ecovision_edge.camera.files import FileStream
from ecovision_edge.camera.source import BgrStream
from ecovision_edge.camera.transform import Transform
from ecovision_edge.decision import BinDecider, DeciderOptions, PresenceGate, PresenceOptions
from ecovision_edge.errors import FrameTypeError, FrameValueError
from ecovision_edge.loop import CameraLoop
from ecovision_edge.observation import Observation
from ecovision_edge.preprocess import frames
from ecovision_edge.preprocess.region import Region
from ecovision_edge.smart_bin import SmartBin

FRAMES = 30
ITEM = 15  # the first frame with an item: a second at 15 frames a second


def pictures():
    """The empty tray, then an item on it, with the noise of a sensor."""
    noise = np.random.default_rng(0).integers(100, 110, (FRAMES, 60, 80, 3), np.uint8)
    noise[ITEM:, 20:40, 30:50] = (20, 200, 40)
    return iter(noise)


class OwnStream:
    """As somebody writes one: nothing says that its frames are checked."""

    def __init__(self):
        self.left = pictures()

    def read(self):
        return next(self.left, None)

    def close(self):
        pass


class Source:
    """A finite source over a stream."""

    name, live, interval = "files", False, None

    def __init__(self, connect):
        self.connect = connect


def checking_stream():
    """One of the package's own, which turns its frames after it checked them."""
    return FileStream("files", pictures(), Transform(rotate=180))


@pytest.fixture(scope="module")
def classifier(pristine):
    """Of the tiny network."""
    return Classifier.load(pristine, threads=1)


@pytest.fixture
def checks(monkeypatch):
    """One entry for each frame that was checked."""
    checked, look = [], frames._is_plain
    monkeypatch.setattr(frames, "_is_plain", lambda frame: checked.append(frame.shape) or look(frame))
    return checked


@pytest.mark.parametrize("connect", [OwnStream, checking_stream])
def test_a_bin_checks_each_frame_once(classifier, checks, connect):
    """From the camera over gate and decider to the network's input, the part of an item included."""
    results = []
    options = DeciderOptions(presence=PresenceOptions(learn=0.5))
    with SmartBin(classifier, Source(connect), options=options, on_result=results.append) as smart_bin:
        smart_bin.run()
    assert results[-1].region is not None
    assert len(results) == len(checks) == FRAMES


def test_a_loop_checks_each_frame_once_whole_or_in_part(classifier, checks):
    """With all of each frame classified, and with a region."""
    for region in (None, Region(2, 3, 20, 30)):
        checks.clear()
        CameraLoop(classifier, Source(OwnStream), region=lambda frame, region=region: region).run()
        assert len(checks) == FRAMES


def test_a_classifier_of_ones_own_needs_no_way_in_for_checked_frames():
    """`classify` is enough: it is given the same frames."""

    class Own:
        labels, seen = ("paper", "glass"), 0

        def classify(self, frame):
            self.seen += 1
            raise KeyError("seen")

    own = Own()
    with pytest.raises(KeyError):
        CameraLoop(own, Source(OwnStream)).run()
    assert own.seen == 1


def test_a_classifier_that_changes_classify_is_asked_by_it(pristine):
    """A loop passes by a check, and nothing else."""

    class Louder(Classifier):
        asked = 0

        def classify(self, frame):
            self.asked += 1
            return super().classify(frame)

    louder = Louder.load(pristine, threads=1)
    CameraLoop(louder, Source(OwnStream)).run()
    assert louder.asked == FRAMES


def test_a_method_that_was_wrapped_is_asked_by_it(pristine):
    """`functools.wraps` copies the mark of what it wraps."""
    asked = []

    class Timed(Classifier):
        @functools.wraps(Classifier.classify)
        def classify(self, frame):
            asked.append(frame)
            return super().classify(frame)

    CameraLoop(Timed.load(pristine, threads=1), Source(OwnStream)).run()
    assert len(asked) == FRAMES


def test_a_picture_that_an_observer_put_in_place_of_the_frame_is_checked(classifier):
    """It comes from outside: floats of no scale are refused as anywhere."""
    other = np.full((8, 8, 3), 7.0)
    loop = CameraLoop(classifier, Source(OwnStream), observe=lambda frame: Observation(other))
    with pytest.raises(FrameValueError):
        loop.run()


def test_a_region_beyond_the_frame_is_refused(classifier):
    """Nothing is left of it to classify."""
    loop = CameraLoop(classifier, Source(OwnStream), region=lambda frame: Region(80, 60, 90, 70))
    with pytest.raises(FrameValueError, match="no pixels"):
        loop.run()


@pytest.mark.parametrize(
    "take",
    [
        lambda classifier: classifier.classify,
        lambda classifier: classifier.logits,
        lambda classifier: classifier.prepare,
        lambda classifier: lambda frame: PresenceGate().look(frame, 0.0),
        lambda classifier: PresenceGate().learn_from,
        lambda classifier: lambda frame: BinDecider(("a", "b")).observe(frame, 0.0),
        lambda classifier: lambda frame: BinDecider(("a", "b")).step(frame, 0.0),
    ],
)
def test_every_door_checks_what_it_is_given(classifier, take):
    """The same typed errors, and grey frames are taken."""
    with pytest.raises(FrameTypeError):
        take(classifier)(np.zeros((8, 8, 3), np.int64))
    with pytest.raises(FrameValueError):
        take(classifier)(np.zeros((2, 8, 8, 3), np.uint8))
    take(classifier)(np.full((8, 8), 40, np.uint8))


def test_a_stream_that_checks_says_so_by_its_class():
    """By name, not by its shape: any stream has the same two functions."""
    assert isinstance(checking_stream(), BgrStream)
    assert not isinstance(OwnStream(), BgrStream)
