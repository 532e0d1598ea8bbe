"""Facts about the text of GStreamer pipelines, and about where they are refused."""

import shutil
import stat

import cv2
import pytest

from ecovision_edge.camera import pipelines
from ecovision_edge.camera.open import open_source
from ecovision_edge.errors import MissingDependencyError, SourceError

SINK = "videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"


@pytest.fixture
def gstreamer(monkeypatch):
    """As if OpenCV had GStreamer, with all elements."""
    monkeypatch.setattr(cv2.videoio_registry, "hasBackend", lambda _: True)
    monkeypatch.setattr(shutil, "which", lambda _: None)


@pytest.mark.parametrize(
    ("text", "pipeline", "name"),
    [
        ("libcamera://", f"libcamerasrc ! video/x-raw,format=NV12 ! {SINK}", "libcamera"),
        (
            "libcamera:///base/soc/i2c0mux/i2c@1/imx219@10?width=1280&height=720&fps=30",
            'libcamerasrc camera-name="/base/soc/i2c0mux/i2c@1/imx219@10" ! '
            f"video/x-raw,format=NV12,width=1280,height=720,framerate=30/1 ! {SINK}",
            "libcamera /base/soc/i2c0mux/i2c@1/imx219@10",
        ),
        (
            "csi://0",
            "nvarguscamerasrc sensor-id=0 ! video/x-raw(memory:NVMM),format=NV12 ! "
            f"nvvidconv flip-method=0 ! video/x-raw,format=BGRx ! {SINK}",
            "csi 0",
        ),
        (
            "csi://1?flip-method=2&width=1920&height=1080&fps=29.97",
            "nvarguscamerasrc sensor-id=1 ! "
            "video/x-raw(memory:NVMM),format=NV12,width=1920,height=1080,framerate=30000/1001 ! "
            f"nvvidconv flip-method=2 ! video/x-raw,format=BGRx ! {SINK}",
            "csi 1",
        ),
        ("gst:videotestsrc num-buffers=30", f"videotestsrc num-buffers=30 ! {SINK}", "gst:videotestsrc"),
        ("gst:v4l2src ! appsink", "v4l2src ! appsink", "gst:v4l2src"),
        ("gst:videotestsrc?ecovision.mirror=1", f"videotestsrc ! {SINK}", "gst:videotestsrc"),
    ],
)
def test_a_camera_becomes_this_pipeline(gstreamer, text, pipeline, name):
    """Exactly; of all of them only the newest frame is kept."""
    source = open_source(text)
    assert source.pipeline == pipeline
    assert source.name == name
    assert source.live


@pytest.mark.parametrize(
    ("given", "completed"),
    [
        ("a ! appsink", "a ! appsink"),
        ("a!appsink name=x drop=true", "a!appsink name=x drop=true"),
        (" a ! ", f"a ! {SINK}"),
        ("a", f"a ! {SINK}"),
        ("appsinkless", f"appsinkless ! {SINK}"),
        ("appsink ! b", f"appsink ! b ! {SINK}"),
    ],
)
def test_an_appsink_is_added_where_none_ends_the_pipeline(given, completed):
    """And only there."""
    assert pipelines.completed(given) == completed


@pytest.mark.parametrize(
    ("fps", "rate"),
    [(30, "30/1"), (7.5, "15/2"), (29.97, "30000/1001"), (59.94, "60000/1001"), (23.976, "24000/1001")],
)
def test_rates_are_fractions(fps, rate):
    """Those of television are the exact ones."""
    assert f"framerate={rate} " in pipelines.libcamera(fps=fps)


def test_a_name_cannot_break_out_of_its_quotes():
    """Quotes and backslashes are escaped, as names of ACPI have them."""
    assert 'camera-name="\\\\_SB_.X\\" ! y" !' in pipelines.libcamera('\\_SB_.X" ! y')


def test_a_pipeline_is_not_shown(gstreamer):
    """It may hold an address with a password."""
    source = open_source("gst:rtspsrc location=rtsp://u:s3cret@h ! decodebin")
    assert "s3cret" not in repr(source) + source.name


@pytest.mark.parametrize("text", ["gst:videotestsrc", "libcamera://", "csi://0"])
def test_without_gstreamer_in_opencv_it_is_said_at_once_what_to_install(monkeypatch, text):
    """Trying again would not help; but a wrong option is told first."""
    monkeypatch.setattr(cv2.videoio_registry, "hasBackend", lambda _: False)
    with pytest.raises(MissingDependencyError, match=r"pip's has none.*apt-get install python3-opencv"):
        open_source(text)
    with pytest.raises(SourceError, match="unknown option"):
        open_source(f"{text}?ecovision.x=1")


@pytest.mark.parametrize(
    ("pipeline", "expected"),
    [
        ("a b=c ! d", ["a", "d"]),
        ('a x="e ! f" ! video/x-raw,format=BGR!g-h', ["a", "g-h"]),
        ("a ! tee name=t t. ! queue ! t.sink", ["a", "tee", "queue"]),
        (r'a x="\" ! e" ! a', ["a"]),
        (pipelines.libcamera("x"), ["libcamerasrc", "videoconvert", "appsink"]),
        (pipelines.argus(), ["nvarguscamerasrc", "nvvidconv", "videoconvert", "appsink"]),
        ("", []),
    ],
)
def test_the_elements_of_a_pipeline_are_found(pipeline, expected):
    """Not its caps, its pads, or what is in quotes."""
    assert pipelines.elements(pipeline) == expected


def test_an_element_that_is_not_installed_is_told_at_once(monkeypatch, tmp_path):
    """OpenCV would wait for ever; GStreamer's own tool is asked, if it is there."""
    tool = tmp_path / "gst-inspect-1.0"
    tool.write_text('#!/bin/sh\n[ "$1" = --exists ] && [ "$2" != nvarguscamerasrc ]\n')
    tool.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(cv2.videoio_registry, "hasBackend", lambda _: True)
    with pytest.raises(MissingDependencyError, match="csi 0 needs the GStreamer element nvarguscamerasrc"):
        open_source("csi://0")
    assert open_source("libcamera://").name == "libcamera"
