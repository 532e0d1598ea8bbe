"""Facts about `picamera2://`, with a module in the library's place that does what its manual says."""

import sys
from types import ModuleType

import cv2
import numpy as np
import pytest

from ecovision_edge.camera.open import open_source
from ecovision_edge.errors import CaptureError, MissingDependencyError, SourceOpenError
from ecovision_edge.simulation.synthetic import draw_frame


class Picamera2:
    """As the manual has it, of the parts that are used; `trouble` is raised by the call it is for."""

    cameras = 2
    open_now = 0
    trouble: tuple[str, Exception] | None = None

    def __init__(self, camera_num=0):
        if camera_num >= self.cameras:
            raise IndexError("list index out of range")
        type(self).open_now += 1
        type(self).last = self
        self.number, self.config, self.running = camera_num, None, False

    def meet(self, call):
        if self.trouble is not None and self.trouble[0] == call:
            raise self.trouble[1]

    def create_video_configuration(self, main=None, lores=None, *, controls=None):
        return {"main": main, "lores": lores, "controls": controls}

    def configure(self, camera_config):
        self.meet("configure")
        self.config = camera_config

    def start(self):
        assert self.config is not None
        self.running = True

    def capture_array(self, name="main"):
        self.meet("capture_array")
        assert self.running
        width, height = self.config[name]["size"]
        assert self.config[name]["format"] == {"main": "RGB888", "lores": "YUV420"}[name]
        picture = draw_frame(1, width, height)
        if name == "main":
            return picture  # "RGB888" is B, G, R in memory
        # Rows are padded to a multiple of 32 bytes, as the image processor wants them.
        padded = cv2.copyMakeBorder(picture, 0, 0, 0, -width % 32, cv2.BORDER_REPLICATE)
        return cv2.cvtColor(padded, cv2.COLOR_BGR2YUV_I420)

    def stop(self):
        self.meet("stop")
        self.running = False

    def close(self):
        type(self).open_now -= 1


@pytest.fixture
def library(monkeypatch):
    """The class of cameras, in a module `picamera2`."""
    module = ModuleType("picamera2")
    module.Picamera2 = type("Picamera2", (Picamera2,), {})
    monkeypatch.setitem(sys.modules, "picamera2", module)
    return module.Picamera2


def test_frames_are_bgr_as_they_come(library):
    """The name of the format says otherwise."""
    source = open_source("picamera2://?width=64&height=48&fps=30")
    assert source.name == "picamera2 0"
    assert source.live
    stream = source.connect()
    assert np.array_equal(stream.read(), draw_frame(1, 64, 48))
    assert library.last.config["controls"] == {"FrameRate": 30.0}
    assert library.last.config["lores"] is None


def test_the_small_stream_is_converted_and_its_padding_cut(library):
    """From YUV of 4:2:0, so nearly the picture that it was."""
    stream = open_source("picamera2://1?stream=lores&width=70&height=48").connect()
    assert library.last.number == 1
    frame = stream.read()
    assert frame.shape == (48, 70, 3)
    assert frame.flags.c_contiguous
    assert np.abs(cv2.blur(frame, (5, 5)).astype(int) - cv2.blur(draw_frame(1, 70, 48), (5, 5))).mean() < 6
    assert library.last.config["main"]["size"] == (70, 48)


def test_sizes_are_sensible_where_none_is_given(library):
    """A wide picture, and a small one of the small stream."""
    open_source("picamera2://").connect()
    assert library.last.config["main"] == {"size": (1280, 720), "format": "RGB888"}
    open_source("picamera2://?stream=lores").connect()
    assert library.last.config["lores"] == {"size": (640, 480), "format": "YUV420"}


def test_transforms_are_applied(library):
    """As to every source."""
    stream = open_source("picamera2://?width=64&height=48&rotate=90").connect()
    assert np.array_equal(stream.read(), np.rot90(draw_frame(1, 64, 48), -1))


def test_the_camera_is_given_back(library):
    """Once, by `close`; also where stopping fails."""
    stream = open_source("picamera2://").connect()
    stream.close()
    stream.close()
    assert library.open_now == 0
    with pytest.raises(CaptureError, match="picamera2 0 is closed"):
        stream.read()
    stream = open_source("picamera2://").connect()
    library.trouble = "stop", RuntimeError("camera in the wrong state")
    stream.close()
    assert library.open_now == 0


def test_a_camera_that_is_not_there_cannot_be_opened(library):
    """Whatever the library raises over it."""
    with pytest.raises(SourceOpenError, match="picamera2 2 cannot be opened: IndexError"):
        open_source("picamera2://2").connect()


def test_a_camera_that_cannot_be_configured_is_given_back(library):
    """So that the next try finds it free."""
    library.trouble = "configure", RuntimeError("Failed to acquire camera: Device or resource busy")
    with pytest.raises(SourceOpenError, match="resource busy"):
        open_source("picamera2://").connect()
    assert library.open_now == 0


def test_a_capture_that_fails_is_a_capture_error(library):
    """Whatever the library raises."""
    stream = open_source("picamera2://").connect()
    library.trouble = "capture_array", TimeoutError("camera frontend has timed out")
    with pytest.raises(CaptureError, match="picamera2 0 failed: TimeoutError: camera frontend"):
        stream.read()


def test_without_the_library_it_is_said_at_once_what_to_install(monkeypatch):
    """Trying again would not help."""
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(
        MissingDependencyError, match=r"apt-get install python3-picamera2.*--system-site-packages"
    ):
        open_source("picamera2://")
