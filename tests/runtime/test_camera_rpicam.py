"""Facts about `rpicam://`, with a program of that name that does what a test wants."""

import itertools
import stat
import sys
import threading

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge.base.addresses import Options
from ecovision_edge.camera import rpicam
from ecovision_edge.camera.rpicam import JpegSplitter, rpicam_source
from ecovision_edge.errors import (
    BadFrameError,
    CaptureError,
    MissingDependencyError,
    SourceError,
    SourceOpenError,
)

PROGRAM = """#!{python}
import os, sys, time
import cv2
import numpy as np

def put(level):
    size = int(sys.argv[sys.argv.index("--width") + 1]), int(sys.argv[sys.argv.index("--height") + 1])
    image = np.full((size[1], size[0], 3), level, np.uint8)
    os.write(1, cv2.imencode(".jpg", image)[1].tobytes())

{body}
"""


def source(host="", **pairs):
    return rpicam_source(host, Options("rpicam://", {k: str(v) for k, v in pairs.items()}))


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Put an `rpicam-vid` of this text into the path."""

    def make(body, name="rpicam-vid"):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(PROGRAM.format(python=sys.executable, body=body))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(path.parent))
        return path

    return make


def test_frames_come_from_the_program(program):
    """Of the size asked for, in BGR, until it is closed; then the program is gone."""
    program("level = 0\nwhile True:\n    put(level % 200)\n    level += 40\n    time.sleep(0.01)")
    stream = source("0", width=64, height=48, fps=15).connect()
    seen = set()
    while len(seen) < 3:
        frame = stream.read()
        assert (frame.shape, frame.dtype) == ((48, 64, 3), np.uint8)
        seen.add(int(frame[24, 32, 0]) // 40)
    process = stream._process
    stream.close()
    stream.close()
    assert process.returncode is not None
    with pytest.raises(CaptureError, match="closed"):
        stream.read()


def test_a_picture_is_handed_over_as_it_came(program):
    """Nothing is decoded before somebody asks; then it is turned and cut."""
    program("while True: put(9)")
    stream = source(width=64, height=48, roi="0,0,0.5,1").connect()
    picture = stream.read_picture()
    stream.close()
    assert not picture.decoded
    assert (picture.data[:2], picture.data[-2:]) == (b"\xff\xd8", b"\xff\xd9")
    assert picture.size == picture.whole().shape[:2] == (48, 32)


def test_the_command_is_the_one_documented():
    """As `rpicam-vid --help` names its options."""
    made = rpicam.RpicamSource(1, "rpicam 1", 640, 480, 12.5)
    assert made.command("rpicam-vid") == [
        *["rpicam-vid", "--camera", "1", "--width", "640", "--height", "480", "--framerate", "12.5"],
        *["--nopreview", "--verbose", "0", "--timeout", "0", "--codec", "mjpeg", "--quality", "93"],
        *["--flush", "--output", "-"],
    ]


def test_frames_are_turned_and_cut(program):
    """As of any source."""
    program("while True: put(9)")
    stream = source(width=64, height=48, rotate=90, roi="0,0,0.5,1").connect()
    assert stream.read().shape == (64, 24, 3)
    stream.close()


def test_the_last_words_of_the_program_are_told(program):
    """No camera, for instance."""
    program('put(9)\nsys.stderr.write("ERROR: *** no cameras available ***\\n")\nsys.exit(255)')
    stream = source().connect()
    stream.read()
    with pytest.raises(CaptureError, match=r"exit status 255: ERROR: \*\*\* no cameras available"):
        stream.read()
    stream.close()


@pytest.mark.slow
def test_a_program_that_hangs_is_given_up(program, monkeypatch):
    """And killed by `close`, even if it does not want to end."""
    monkeypatch.setattr(rpicam, "TIMEOUT", 0.2)
    program("import signal\nsignal.signal(15, signal.SIG_IGN)\nput(9)\nwhile True: time.sleep(100)")
    stream = source().connect()
    stream.read()
    process = stream._process
    with pytest.raises(CaptureError, match=r"nothing for 0\.2 s"):
        stream.read()
    stream.close()
    assert process.returncode == -9


def test_what_is_no_jpeg_is_refused(program):
    """Another program of that name, or another codec."""
    program("os.write(1, b'\\x00\\x00\\x00\\x01h264')\ntime.sleep(100)")
    stream = source().connect()
    with pytest.raises(CaptureError, match="no JPEG"):
        stream.read()
    stream.close()


def test_a_broken_picture_is_a_bad_frame(program):
    """Start and end are there, and nothing sound between."""
    program("os.write(1, b'\\xff\\xd8rubbish\\xff\\xd9')\ntime.sleep(100)")
    stream = source().connect()
    with pytest.raises(BadFrameError, match="broken picture"):
        stream.read()
    stream.close()


def test_the_older_name_of_the_program_will_do(program):
    """`libcamera-vid`, before bookworm."""
    program("while True: put(9)", "libcamera-vid")
    stream = source().connect()
    assert stream.read() is not None
    stream.close()


def test_without_the_program_it_says_what_to_install(monkeypatch, tmp_path):
    """When the source is named, not when it is opened."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="apt-get install rpicam-apps-lite"):
        source()


def test_a_program_that_cannot_start_is_tried_again(program):
    """Its interpreter is missing: not now."""
    program("").write_text("#!/no/such/interpreter\n")
    with pytest.raises(SourceOpenError, match="No such file"):
        source().connect()


@pytest.mark.parametrize(
    ("host", "pairs", "says"),
    [("front", {}, "a number"), ("", {"width": 0}, "width"), ("", {"colour": 1}, "unknown option")],
)
def test_wrong_options_are_named(program, host, pairs, says):
    """What was expected and found."""
    program("")
    with pytest.raises(SourceError, match=says):
        source(host, **pairs)


PICTURES = [
    cv2.imencode(".jpg", np.random.default_rng(n).integers(0, 256, (24, 32, 3), np.uint8))[1].tobytes()
    for n in range(4)
]


@given(cuts=st.lists(st.integers(0, sum(map(len, PICTURES))), max_size=12))
def test_pictures_are_found_however_the_bytes_come(cuts):
    """In pieces of any lengths: whole ones, in order, the last one always."""
    whole, splitter, found = b"".join(PICTURES), JpegSplitter(), []
    edges = [0, *sorted(cuts), len(whole)]
    for start, end in itertools.pairwise(edges):
        if (picture := splitter.feed(whole[start:end])) is not None:
            found.append(PICTURES.index(picture))
    assert found == sorted(set(found))
    assert found[-1] == 3


def test_a_picture_without_an_end_is_refused(monkeypatch):
    """Before it takes all memory."""
    monkeypatch.setattr(rpicam, "MAX_JPEG_BYTES", 1000)
    splitter = JpegSplitter()
    splitter.feed(b"\xff\xd8" + b"\x00" * 900)
    with pytest.raises(CaptureError, match="no JPEG"):
        splitter.feed(b"\x00" * 100)


def test_no_thread_or_process_is_needed_beside_it(program):
    """The stream is the process and the pipe."""
    program("while True: put(9)")
    before = threading.active_count()
    stream = source().connect()
    stream.read()
    assert threading.active_count() == before
    stream.close()
