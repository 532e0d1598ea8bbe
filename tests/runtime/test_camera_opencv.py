"""Facts about V4L2 cameras and pipelines, with a `cv2.VideoCapture` that does what a test wants."""

import functools
import logging
import os
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from ecovision_edge.camera import here, v4l2
from ecovision_edge.camera.network import Backlog, NetworkSource, open_ffmpeg
from ecovision_edge.camera.open import open_source
from ecovision_edge.camera.source import PictureStream
from ecovision_edge.camera.uri import network_address
from ecovision_edge.errors import BadFrameError, CaptureError, SourceOpenError
from ecovision_edge.photographs.jpeg_picture import JpegPicture

UNDECODABLE = ()
FRAME = np.full((48, 64, 3), 90, np.uint8)


class Capture:
    """As `cv2.VideoCapture`; `script` is what its reads give, an error is raised."""

    opened = True
    script = ()
    fourcc = 0

    def __init__(self, *arguments):
        self.arguments, self.properties, self.released = arguments, [], 0
        self.environment = dict(os.environ)
        self.left, self.grabbed = iter(self.script), None
        type(self).last = self

    def get(self, key):
        return float(self.fourcc) if key == cv2.CAP_PROP_FOURCC else 0.0

    def isOpened(self):  # noqa: N802
        return self.opened

    def set(self, key, value):
        self.properties.append((key, value))
        return True

    def grab(self):
        self.grabbed = next(self.left, None)
        return self.grabbed is not None

    def retrieve(self):
        if isinstance(self.grabbed, Exception):
            raise self.grabbed
        return self.grabbed is not UNDECODABLE, self.grabbed

    def release(self):
        self.released += 1


@pytest.fixture
def capture(monkeypatch):
    """The class in the place of OpenCV's, to be given a script."""
    kind = type("Scripted", (Capture,), {})
    monkeypatch.setattr(cv2, "VideoCapture", kind)
    monkeypatch.setattr(cv2.videoio_registry, "hasBackend", lambda _: True)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(Path, "exists", lambda _: True)
    monkeypatch.setattr(os, "access", lambda *_: True)
    return kind


def test_a_camera_is_asked_for_what_was_asked(capture):
    """The format first, which decides the rest; and for one buffer, for four of them grow old."""
    open_source("2?fps=30&height=720&width=1280&fourcc=MJPG").connect()
    assert capture.last.arguments == ("/dev/video2", cv2.CAP_V4L2)
    assert capture.last.properties == [
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),
        (cv2.CAP_PROP_FRAME_WIDTH, 1280),
        (cv2.CAP_PROP_FRAME_HEIGHT, 720),
        (cv2.CAP_PROP_FPS, 30.0),
        (cv2.CAP_PROP_BUFFERSIZE, 1),
    ]
    open_source("/dev/video1").connect()
    assert capture.last.arguments == ("/dev/video1", cv2.CAP_V4L2)
    assert capture.last.properties == [(cv2.CAP_PROP_BUFFERSIZE, 1)]


def test_another_size_than_asked_for_is_logged_once(capture, caplog):
    """With both sizes; the same size is no news, nor is one that was not asked for."""
    capture.script = [FRAME, FRAME]
    stream = open_source("0?width=1280&height=720&rotate=90").connect()
    stream.read()
    stream.read()
    assert [(r.name, r.levelno, r.getMessage()) for r in caplog.records] == [
        ("ecovision_edge", logging.WARNING, "camera 0: asked for 1280x720, it gives 64x48")
    ]
    open_source("0?width=64").connect().read()
    open_source("0").connect().read()
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ([], "camera 0 gave no frame"),
    ],
)
def test_a_read_that_fails_is_a_capture_error(capture, script, message):
    """No frame: the device is gone, and the next read would not help."""
    capture.script = [FRAME, *script]
    stream = open_source("0").connect()
    assert stream.read().shape == (48, 64, 3)
    with pytest.raises(CaptureError, match=message) as caught:
        stream.read()
    assert not isinstance(caught.value, BadFrameError)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (UNDECODABLE, "camera 0 gave a frame that OpenCV cannot decode"),
        (cv2.error("(-215:Assertion failed) !buf.empty()"), "cannot decode: OpenCV error"),
        (np.zeros((2, 2, 9), np.uint8), "camera 0 gave what is no frame"),
    ],
)
def test_one_frame_that_cannot_be_decoded_does_not_end_the_stream(capture, bad, message):
    """A USB camera's JPEG is broken now and then, or empty; the next one is read."""
    capture.script = [FRAME, bad, FRAME]
    stream = open_source("0").connect()
    stream.read()
    with pytest.raises(BadFrameError, match=message):
        stream.read()
    assert stream.read().shape == (48, 64, 3)


def undecoded(jpeg, rest=b""):
    """As OpenCV gives a driver's buffer: one row, and what a longer picture left behind."""
    return np.frombuffer(jpeg + rest, np.uint8)[None]


@pytest.mark.parametrize("fourcc", ["MJPG", "JPEG"])
def test_a_usb_camera_hands_its_jpeg_over(capture, fourcc, caplog):
    """Undecoded, whole and no longer than it is; its size is compared with what was asked for."""
    capture.fourcc = cv2.VideoWriter.fourcc(*fourcc)
    jpeg = cv2.imencode(".jpg", FRAME)[1].tobytes()
    capture.script = [undecoded(jpeg, b"left" + jpeg[-20:]), undecoded(jpeg)]
    stream = open_source("0?fourcc=MJPG&width=1280&height=720").connect()
    assert capture.last.properties[-1] == (cv2.CAP_PROP_CONVERT_RGB, 0)
    picture = stream.read_picture()
    assert isinstance(picture, JpegPicture)
    assert picture.data == jpeg
    assert stream.read().shape == (48, 64, 3)
    assert [r.getMessage() for r in caplog.records] == ["camera 0: asked for 1280x720, it gives 64x48"]


@pytest.mark.parametrize("bad", [b"", b"\0" * 99, b"\xff\xd8 no more", b"\xff\xd8\xff\xd9"])
def test_a_frame_that_is_no_jpeg_is_a_bad_one(capture, bad):
    """Of a camera that gave one before."""
    capture.fourcc = cv2.VideoWriter.fourcc(*"MJPG")
    jpeg = cv2.imencode(".jpg", FRAME)[1].tobytes()
    capture.script = [undecoded(jpeg), undecoded(bad), undecoded(jpeg)]
    stream = open_source("0").connect()
    stream.read_picture()
    with pytest.raises(BadFrameError):
        stream.read_picture()
    assert stream.read_picture().data == jpeg


@pytest.mark.parametrize("first", [FRAME, undecoded(b"\0" * 99), FRAME[:, :, :2]])
def test_a_driver_that_decodes_nonetheless_is_left_to_opencv(capture, first):
    """What it gives first shows it; from then on it is as without."""
    capture.fourcc = cv2.VideoWriter.fourcc(*"MJPG")
    capture.script = [first, FRAME, FRAME]
    stream = open_source("0").connect()
    assert np.array_equal(stream.read_picture(), FRAME)
    assert capture.last.properties[-2:] == [(cv2.CAP_PROP_CONVERT_RGB, 0), (cv2.CAP_PROP_CONVERT_RGB, 1)]
    assert np.array_equal(stream.read(), FRAME)


def test_a_camera_whose_jpeg_has_no_end_is_left_to_opencv(capture):
    """Where all of the first frames lack it: one half frame at the start says nothing."""
    capture.fourcc = cv2.VideoWriter.fourcc(*"MJPG")
    jpeg = cv2.imencode(".jpg", FRAME)[1].tobytes()
    half, whole = undecoded(jpeg[:-2]), undecoded(jpeg)
    capture.script = [half, half, half, FRAME]
    stream = open_source("0").connect()
    for _ in range(2):
        with pytest.raises(BadFrameError, match="its end is missing"):
            stream.read_picture()
    assert np.array_equal(stream.read_picture(), FRAME)
    assert capture.last.properties[-1] == (cv2.CAP_PROP_CONVERT_RGB, 1)
    capture.script = [half, half, whole, half, half, whole]
    stream = open_source("0").connect()
    for data in (None, None, jpeg, None, None, jpeg):
        if data is None:
            with pytest.raises(BadFrameError):
                stream.read_picture()
        else:
            assert stream.read_picture().data == data


def test_a_camera_without_jpeg_is_asked_for_nothing_else(capture):
    """Nor one of an OpenCV that cannot hand it over."""
    capture.fourcc = cv2.VideoWriter.fourcc(*"YUYV")
    capture.script = [FRAME]
    stream = open_source("0").connect()
    assert not isinstance(stream, PictureStream)
    assert np.array_equal(stream.read(), FRAME)
    assert capture.last.properties == [(cv2.CAP_PROP_BUFFERSIZE, 1)]


def test_grey_frames_become_bgr(capture):
    """A camera for infrared gives them."""
    capture.script = [FRAME[:, :, 0]]
    assert np.array_equal(open_source("0").connect().read(), FRAME)


def test_a_closed_stream_has_released_its_device(capture):
    """Once, and it reads no more."""
    stream = open_source("0").connect()
    stream.close()
    stream.close()
    assert capture.last.released == 1
    with pytest.raises(CaptureError, match="camera 0 is closed"):
        stream.read()


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """The files of a machine's kernel, made as a test likes them."""

    def write(path, text=""):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    for name in ("own_camera", "video_devices"):
        monkeypatch.setattr(v4l2, name, functools.partial(getattr(here, name), tmp_path))
    return write


def missing():
    """What is said of a camera that is not there."""
    with pytest.raises(SourceOpenError) as caught:
        open_source("99").connect()
    return str(caught.value).removeprefix("camera 99 cannot be opened: expected /dev/video99, found ")


def test_a_device_that_is_not_there_is_told_with_those_that_are(machine):
    """By name, without those that are for a camera's metadata; or that there are none."""
    assert missing() == "no /dev/video* at all; plug one in; demo: needs none"
    machine("dev/video11")
    machine("dev/video2")
    machine("sys/class/video4linux/video2/index", "0\n")
    machine("sys/class/video4linux/video2/name", "HD Webcam\n")
    machine("dev/video3")
    machine("sys/class/video4linux/video3/index", "1\n")
    assert missing() == "/dev/video2 (HD Webcam), /dev/video11; give one of those; demo: needs none"


@pytest.mark.parametrize(
    ("board", "says"),
    [
        ("Raspberry Pi 5 Model B Rev 1.0\0", "a Raspberry Pi's own camera is rpicam://"),
        ("NVIDIA Jetson Orin Nano Developer Kit\0", "a Jetson's own camera is csi://0"),
    ],
)
def test_the_source_that_fits_the_board_is_named(machine, board, says):
    """Where no device is there, or codecs alone."""
    machine("proc/device-tree/model", board)
    assert missing() == f"no /dev/video* at all; {says}; demo: needs none"


def test_it_is_named_where_a_device_gives_no_video_too(machine, capture):
    """As the codecs and the sensor of a Raspberry Pi do."""
    machine("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.5\0")
    capture.opened = False
    with pytest.raises(SourceOpenError, match=r"gives no video; .* is rpicam://; or another program uses it"):
        open_source("0").connect()


def test_a_device_that_may_not_be_opened_is_told_with_the_group(capture, monkeypatch):
    """The usual trouble of a new user."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(SourceOpenError, match=r"no permission for /dev/video0; .*usermod -aG video"):
        open_source("0").connect()


def test_a_device_that_gives_no_video_is_told_with_what_to_try(capture, monkeypatch):
    """Busy, or a camera's metadata; on a Raspberry Pi it would be its own camera."""
    monkeypatch.setattr(v4l2, "own_camera", lambda: None)
    capture.opened = False
    with pytest.raises(
        SourceOpenError, match="gives no video; it may be no camera but its metadata; or another"
    ):
        open_source("0").connect()
    assert capture.last.released == 1


def test_a_pipeline_is_opened_by_gstreamer(capture):
    """And a failure does not show it."""
    capture.script = [FRAME]
    stream = open_source("gst:videotestsrc ! appsink?ecovision.rotate=90").connect()
    assert capture.last.arguments == ("videotestsrc ! appsink", cv2.CAP_GSTREAMER)
    assert stream.read().shape == (64, 48, 3)
    capture.opened = False
    with pytest.raises(SourceOpenError, match=r"gst:rtspsrc cannot be opened.*gst-launch-1\.0") as caught:
        open_source("gst:rtspsrc location=rtsp://u:s3cret@h").connect()
    assert "s3cret" not in str(caught.value)


def test_ffmpegs_options_are_in_the_environment_while_it_opens(capture, monkeypatch):
    """TCP unless something else is asked for; the user's own are kept; afterwards all is as before."""
    name = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
    monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    open_source("rtsp://h/c").connect()
    assert capture.last.environment[name] == "rtsp_transport;tcp"
    open_source("rtsp://h/c?ecovision.transport=udp").connect()
    assert capture.last.environment[name] == "rtsp_transport;udp"
    NetworkSource(network_address("http://h/c", {})).connect()
    assert name not in capture.last.environment
    assert dict(os.environ) == before
    monkeypatch.setenv(name, "reorder_queue_size;0")
    open_source("rtsp://h/c").connect()
    assert capture.last.environment[name] == "rtsp_transport;tcp|reorder_queue_size;0"
    assert os.environ[name] == "reorder_queue_size;0"


def test_ffmpeg_and_opencv_are_silent_while_an_address_is_opened(capture, monkeypatch):
    """Unless the user turned FFmpeg's log on; OpenCV's level is put back, also after an error."""
    for name in ("OPENCV_FFMPEG_LOGLEVEL", "OPENCV_FFMPEG_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    log_level = getattr(cv2, "getLogLevel", None) or cv2.utils.logging.getLogLevel  # of OpenCV 4, and 5
    level = log_level()
    seen = []

    def fail(*_):
        seen.append((log_level(), os.environ.get("OPENCV_FFMPEG_LOGLEVEL")))
        raise cv2.error("cannot open rtsp://u:s3cret@h")

    monkeypatch.setattr(cv2, "VideoCapture", fail)
    with pytest.raises(SourceOpenError, match="cannot be opened: OpenCV error") as caught:
        open_source("rtsp://u:s3cret@h/c").connect()
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    monkeypatch.setenv("OPENCV_FFMPEG_LOGLEVEL", "24")
    with pytest.raises(cv2.error):
        open_ffmpeg("x", [])
    assert seen == [(0, "-8"), (0, "24")]
    assert log_level() == level


def test_timeouts_are_given_to_ffmpeg_in_milliseconds(capture):
    """10 s and 5 s unless told otherwise."""
    keys = cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC
    open_source("rtsp://h/c").connect()
    assert capture.last.arguments[1:] == (cv2.CAP_FFMPEG, [keys[0], 10000, keys[1], 5000])
    open_source("rtsp://h/c?ecovision.open_timeout=0.5&ecovision.read_timeout=2").connect()
    assert capture.last.arguments[2] == [keys[0], 500, keys[1], 2000]


def test_a_packet_that_ffmpeg_cannot_read_is_passed_over(capture):
    """Another grab may get the next one; after three in a row the stream has ended."""
    capture.script = [FRAME, None, FRAME, None, None, FRAME]
    source = NetworkSource(network_address("rtsp://h/c", {}))
    stream = source.connect()
    stream._backlog.waiting = lambda now: 0
    for good in (True, False, True, False, False, True):
        if good:
            assert stream.read().shape == (48, 64, 3)
        else:
            with pytest.raises(BadFrameError, match="a packet that FFmpeg cannot read"):
                stream.read()
    for kind in (BadFrameError, BadFrameError, CaptureError):
        with pytest.raises(kind, match="rtsp://h/c gave no frame") as caught:
            stream.read()
    assert not isinstance(caught.value, BadFrameError)


def test_a_stream_that_is_too_slow_says_which_options_to_raise(capture):
    """After the read timeout, here 1 ns."""
    stream = open_source("rtsp://h/c?ecovision.read_timeout=0.000000001").connect()
    with pytest.raises(CaptureError, match=r"silent too long.*ecovision\.read_timeout=.*--stall-after"):
        stream.read()


def test_after_a_pause_as_many_frames_are_passed_over_as_came_meanwhile():
    """And none while a reader keeps up, which is how the interval is learnt."""
    backlog = Backlog(0.0)
    assert backlog.waiting(1.0) == 30
    for i in range(200):
        backlog.read(1 + i * 0.1, 1 + i * 0.1 + 0.1)
    assert backlog.interval == pytest.approx(0.1, rel=0.01)
    now = 1 + 199 * 0.1 + 0.1
    assert backlog.waiting(now + 0.02) == 0
    assert backlog.waiting(now + 3.05) == 30
    backlog.read(now + 3.05, now + 3.05)
    assert backlog.interval == pytest.approx(0.1, rel=0.01)
    assert backlog.is_new(0.09)
    assert not backlog.is_new(0.01)


# Cameras that the kernel's module v4l2loopback makes; without it there is nothing that a test could install,
# so there is no test then, rather than one that is always skipped.
LOOPBACKS = sorted(p.name for p in Path("/sys/devices/virtual/video4linux").glob("video*"))

if LOOPBACKS:

    @pytest.mark.parametrize("device", LOOPBACKS)
    def test_a_real_device_gives_what_is_fed_to_it(device):
        """GStreamer's test picture, through the kernel."""
        caps = "video/x-raw,format=YUY2,width=320,height=240,framerate=25/1"
        words = f"gst-launch-1.0 -q videotestsrc pattern=white ! {caps} ! v4l2sink device=/dev/{device}"
        feeder = subprocess.Popen(words.split())
        try:
            stream = open_source(f"/dev/{device}?width=320&height=240").connect()
            assert stream.read().shape == (240, 320, 3)
            assert stream.read().mean() > 200
            stream.close()
        finally:
            feeder.kill()
            feeder.wait()
