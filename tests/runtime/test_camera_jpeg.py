"""Facts about cameras that give JPEG: when it is decoded, how small, and what becomes of it."""

import itertools
import threading
from collections import deque

import cv2
import numpy as np
import pytest
from tests.runtime.recording_results import options, result
from tests.runtime.test_jpeg_picture import FRAME, by, jpeg, refused

from ecovision_edge import Classifier
from ecovision_edge.camera import HealthState, LatestFrame, WatchOptions, open_source
from ecovision_edge.camera.source import PictureStream
from ecovision_edge.camera.transform import Transform
from ecovision_edge.camera.watch import SamePicture
from ecovision_edge.decision import BinDecider, DeciderOptions, PresenceOptions
from ecovision_edge.errors import BadFrameError, CameraLostError, CaptureError
from ecovision_edge.loop import CameraLoop, LoopOptions
from ecovision_edge.observation import Box, Look, Observation, View
from ecovision_edge.photographs.images import decode_image
from ecovision_edge.photographs.jpeg_picture import JpegPicture
from ecovision_edge.prediction import Prediction, Timings
from ecovision_edge.preprocess.region import Region
from ecovision_edge.recording.folder import FrameFolder
from ecovision_edge.smart_bin import SmartBin
from ecovision_edge.web import _pictures

PROMPT = 20.0  # seconds: a safety net, nowhere expected to pass
GOOD, BAD = jpeg(), refused(jpeg())


class Camera(PictureStream):
    """Gives these pictures, one after the other, then waits; `live` as a camera is."""

    name, interval = "camera", None

    def __init__(self, *pictures, live=True, transform=None):
        self.live, self.left = live, deque(pictures)
        self.transform = transform
        self.waits, self.connections = threading.Event(), 0
        self._done = threading.Event()

    def connect(self):
        self.connections += 1
        return self

    def read_picture(self):
        if self.left:
            return JpegPicture(self.left.popleft(), "a picture", self.transform)
        self.waits.set()
        if not self.live:
            return None
        self._done.wait(PROMPT)
        raise CaptureError("over")

    def close(self):
        self._done.set()


def unlike(n):
    """A picture unlike those of other numbers."""
    return jpeg(np.full((160, 200, 3), 40 + 10 * n, np.uint8))


def test_frames_that_nobody_takes_are_not_decoded(decodings):
    """But the first, as small as can be, to know that the camera gives pictures."""
    camera = Camera(*map(unlike, range(9)))
    with LatestFrame(camera, reduce=by(2)) as frames:
        assert camera.waits.wait(PROMPT)
        assert decodings == [8]
        frame = frames.read(PROMPT)
        assert (frame.sequence, frames.dropped) == (8, 8)
        assert decodings == [8, 2]
        assert frame.image.shape == FRAME.shape
        assert decodings == [8, 2, 1]
        camera.close()


def test_a_frame_that_cannot_be_decoded_is_passed_over(decodings):
    """It is a bad frame, though nobody knew it before: the reader gets the next one."""
    files = Camera(GOOD, BAD, GOOD, live=False)
    with LatestFrame(files) as frames:
        assert [frame.sequence for frame in iter(lambda: frames.read(PROMPT), None)] == [0, 2]
        assert (frames.frames, frames.bad_frames) == (2, 1)
        assert frames.health.state is HealthState.ENDED


def test_a_camera_that_gives_nothing_else_is_connected_again():
    """The first is tried, and then all that follow a bad one: they do not count as signs of life."""
    camera = Camera(BAD, BAD, BAD)
    options = WatchOptions(open_timeout=0.1, max_reconnects=0)
    with (
        LatestFrame(camera, options) as frames,
        pytest.raises(CameraLostError, match="no first frame") as caught,
    ):
        frames.read(PROMPT)
    assert "3 that came were of no use" in str(caught.value.__cause__)
    assert frames.frames == 0


def test_doubted_frames_are_tried_before_they_are_given(decodings):
    """After one that the reader could not use."""
    camera = Camera(GOOD, BAD)
    with LatestFrame(camera) as frames:
        assert camera.waits.wait(PROMPT)
        assert frames.read(0.01) is None
        assert frames.bad_frames == 1
        assert decodings == [8, 1]
        assert frames._doubted
        camera.close()


class Content:
    """Says the same of every frame, and is content with a quarter."""

    labels = ("paper", "glass")

    def __init__(self):
        self.shapes = []

    def reduction(self, height, width):
        return 4 if height >= 160 else 2

    def classify(self, frame):
        self.shapes.append(frame.shape)
        return Prediction("paper", 0, 0.9, 0.8, (0.9, 0.1), Timings(1.0, 2.0, 0.1))


def test_the_loop_decodes_what_the_classifier_asks_for(decodings):
    """Once a frame."""
    classifier = Content()
    results = list(CameraLoop(classifier, Camera(GOOD, GOOD, live=False)))
    assert classifier.shapes == [(40, 50, 3)] * 2
    assert decodings == [4, 4]
    assert results[0].frame.image.shape == FRAME.shape


def test_a_region_is_cut_from_as_much_as_it_needs(decodings):
    """It counts the pixels of the whole frame, and what is classified has half as many a side."""
    classifier, region = Content(), Region(20, 10, 120, 90)
    loop = CameraLoop(classifier, Camera(GOOD, live=False), region=lambda frame: region, reduce=by(8))
    [result] = loop
    assert classifier.shapes == [(40, 50, 3)]
    assert decodings == [8, 2]
    assert result.region == region
    small = decode_image(GOOD, "x", by(2))
    assert np.array_equal(Observation(JpegPicture(GOOD, "x"), None, region).part(by(2)), small[5:45, 10:60])


def test_a_classifier_that_says_nothing_of_sizes_gets_whole_frames(decodings):
    """As ever."""

    class Plain:
        labels, classify = Content.labels, Content.classify

        def __init__(self):
            self.shapes = []

    classifier = Plain()
    list(CameraLoop(classifier, Camera(GOOD, live=False), LoopOptions()))
    assert classifier.shapes == [FRAME.shape]
    assert decodings == [1]


def test_a_bin_decodes_what_its_gate_needs_and_then_what_the_item_does(pristine, decodings, monkeypatch):
    """A half of the empty tray; an item is to be seen whole, which is known from its second frame on."""
    frames = np.random.default_rng(0).integers(100, 110, (30, 480, 640, 3), np.uint8)
    frames[15:, 180:300, 240:400] = 20, 200, 40
    classifier, results = Classifier.load(pristine, threads=1), []
    monkeypatch.setattr(classifier, "reduction", lambda height, width: 4 if height > 400 else 1)
    options = DeciderOptions(presence=PresenceOptions(learn=0.5))
    camera = Camera(*map(jpeg, frames), live=False)
    with SmartBin(classifier, camera, options=options, on_result=results.append) as smart_bin:
        smart_bin.run()
    assert results[14].prediction is None
    assert results[-1].region is not None
    assert decodings == [2] * 15 + [2, 1] + [1] * 14


class Gate:
    """Sees an item in the left half; wants an eighth."""

    def __init__(self):
        self.shapes = []

    def reduction(self, height, width):
        return 8

    def look(self, image, now):
        self.shapes.append(image.shape)
        box: Box = (0.1, 0.1, 0.5, 0.6)
        return Look(View.ITEM, 0.3, False, "there", box=box)

    def relearn(self):
        pass


def test_the_gate_looks_at_as_little_as_it_asks_for(decodings):
    """And the region is that of the whole frame."""
    gate, plain = Gate(), Gate()
    decider = BinDecider(("paper", "glass"), gate=gate)
    seen = decider.observe(JpegPicture(GOOD, "x"), 0.0)
    assert gate.shapes == [(20, 25, 3)]
    assert decodings == [8]
    whole = BinDecider(("paper", "glass"), gate=plain).observe(FRAME, 0.0)
    assert seen.region == whole.region
    assert seen.place == whole.place
    assert decider.expected(160, 200) == seen.region
    assert decider.step(seen.classified((0.9, 0.1)), 0.0) is None


def test_a_frozen_picture_is_known_by_its_bytes(decodings):
    """Nothing is decoded for it; what stands before the picture, such as a time, does not count."""

    def stamped(n):
        return GOOD[:2] + b"\xff\xfe\0\x04%02d" % n + GOOD[2:]

    same = SamePicture()
    assert [same.look(JpegPicture(stamped(n), "x"), float(n)) for n in range(4)] == [0.0, 0.0, 1.0, 2.0]
    assert same.look(JpegPicture(unlike(1), "x"), 4.0) == 0.0
    assert not decodings


def test_of_a_part_of_the_picture_its_pixels_tell_whether_it_is_frozen():
    """The clock that a camera writes into a corner goes on."""
    roi = Transform(roi=(0, 0.5, 1, 0.5))
    pictures = []
    for n in range(4):
        frame = FRAME.copy()
        frame[:32, :64] = 60 * n
        pictures.append(JpegPicture(jpeg(frame), "x", roi))
    same = SamePicture()
    assert [same.look(p, float(n)) for n, p in enumerate(pictures)] == [0.0, 0.0, 1.0, 2.0]


def test_a_folder_of_pictures_that_cannot_be_decoded_is_no_source(tmp_path):
    """Not even one that begins again for ever."""
    for n in range(2):
        (tmp_path / f"{n}.jpg").write_bytes(BAD)
    stream = open_source(f"{tmp_path}?loop=1").connect()
    for _ in range(2):
        with pytest.raises(BadFrameError):
            stream.read_picture()
    with pytest.raises(CaptureError, match="holds no frame that can be read"):
        stream.read_picture()


@pytest.mark.parametrize("format", ["png", "jpeg"])
def test_a_recording_keeps_the_picture_as_it_came(format, tmp_path):
    """Nothing is lost, whatever format frames are encoded in; what is turned is encoded."""
    folder = FrameFolder(tmp_path, options(format=format))
    folder.add(result(0, JpegPicture(GOOD, "x")))
    folder.add(result(1, JpegPicture(GOOD, "x", Transform(rotate=180))))
    folder.close()
    pictures = sorted(p for p in tmp_path.iterdir() if p.suffix in (".png", ".jpg"))
    assert pictures[0].name == "000000000.jpg"
    assert pictures[0].read_bytes() == GOOD
    assert pictures[1].suffix == (".png" if format == "png" else ".jpg")
    again = cv2.imread(str(pictures[1]))
    assert np.abs(again.astype(int) - FRAME[::-1, ::-1]).mean() < 5


def test_the_page_shows_the_picture_as_it_came(decodings):
    """If it is no larger than the page's; else as much of it as is needed is decoded."""
    encode = _pictures._encode
    assert encode(JpegPicture(GOOD, "x"), 200, 80, "") is GOOD
    assert not decodings
    for long_side, times in ((199, 1), (100, 2), (60, 2), (50, 4)):
        shown = decode_image(encode(JpegPicture(GOOD, "x"), long_side, 80, ""), "x")
        assert max(shown.shape) == long_side
        assert decodings.pop() == times
    assert encode(JpegPicture(GOOD, "x"), 200, 80, "stalled") != GOOD
    assert encode(JpegPicture(GOOD, "x", Transform(mirror=True)), 200, 80, "") != GOOD


def test_the_same_result_comes_of_a_camera_and_of_its_recording(tmp_path):
    """Its pictures are the same bytes, decoded at the same size."""
    live, replayed = Content(), Content()
    folder = FrameFolder(tmp_path, options())
    for n, seen in enumerate(CameraLoop(live, Camera(GOOD, unlike(1), live=False))):
        folder.add(result(n, seen.frame.picture))
    folder.close()
    list(itertools.islice(CameraLoop(replayed, open_source(str(tmp_path))), 2))
    assert live.shapes == replayed.shapes == [(40, 50, 3)] * 2
