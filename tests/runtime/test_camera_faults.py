"""Every fault of a camera that we could think of, each survived or ended with the right error."""

import threading
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest

from ecovision_edge import Classifier
from ecovision_edge.camera import FakeCamera, HealthState, WatchOptions
from ecovision_edge.camera.fake import (
    Bad,
    Block,
    BlockOpen,
    End,
    FailOpen,
    Frames,
    Freeze,
    Junk,
    Nothing,
    Raise,
    RaiseOpen,
    Resize,
    Slow,
    Unplug,
)
from ecovision_edge.errors import CameraLostError, CaptureError, MissingDependencyError, SourceError
from ecovision_edge.loop import CameraLoop, LoopOptions

WATCH = WatchOptions(
    open_timeout=0.5, stall_after=0.3, frozen_after=0.3, first_delay=0.005, most_delay=0.01, max_reconnects=12
)
BIG = np.zeros((4, 40000, 3), np.uint8)

SURVIVED = {
    "it is not there at first": [FailOpen(5)],
    "it does not answer at first": [BlockOpen()],
    "its driver raises when opened": [RaiseOpen(OSError(16, "Device or resource busy"))],
    "opening runs out of memory": [RaiseOpen(MemoryError("no frame buffers"))],
    "opening raises what nobody expects": [RaiseOpen(KeyError("width"))],
    "a read gives nothing": [Frames(2), Nothing()],
    "many reads give nothing": [Frames(2), *[Nothing()] * 8],
    "every other read gives nothing": [Frames(1), Nothing()] * 8,
    "a read raises OSError": [Frames(2), Raise(OSError(5, "Input/output error"))],
    "a read raises an error of OpenCV": [Frames(2), Raise(cv2.error("unknown pixel format"))],
    "a read raises an error of the runtime": [Frames(2), Raise(RuntimeError("stream was stopped"))],
    "a read raises what nobody expects": [Frames(2), Raise(ZeroDivisionError("fps"))],
    "a read runs out of memory": [Frames(2), Raise(MemoryError())],
    "a read raises StopIteration": [Frames(2), Raise(StopIteration())],
    "a read raises an error of ours": [Frames(2), Raise(CaptureError("no frame in 5 s"))],
    "a read hangs": [Frames(2), Block()],
    "the first read hangs": [Block()],
    "two reads hang": [Frames(1), Block(), Frames(1), Block()],
    "a read hangs, and the next connection too": [Frames(1), Block(), BlockOpen()],
    "a read takes long": [Frames(1), Slow(0.15, 3)],
    "a read takes too long": [Frames(1), Slow(0.9), Frames(1)],
    "it is unplugged": [Frames(3), Unplug(opens=4)],
    "it is unplugged again and again": [Frames(2), Unplug(opens=1)] * 4,
    "it stands still for a while": [Frames(2), Freeze(20)],
    "it goes on with its last picture": [Frames(2), Freeze()],
    "it changes its size": [Frames(2), Resize(32, 200), Frames(2), Resize(640, 480)],
    "it has one row": [Frames(1), Resize(2, 1), Frames(2), Resize(64, 48)],
    "a frame is grey": [Frames(1), Junk(np.zeros((48, 64), np.uint8))],
    "a frame has an alpha channel": [Frames(1), Junk(np.zeros((48, 64, 4), np.uint8))],
    "a frame cannot be decoded": [Frames(1), Bad()],
    "every other frame cannot be decoded": [Bad(), Frames(1)] * 20,
    "for a while no frame can be decoded": [Frames(1), Bad(12)],
    "a frame is no array": [Frames(1), Junk(False)],
    "a frame is (ok, frame)": [Frames(1), Junk((True, np.zeros((48, 64, 3), np.uint8)))],
    "a frame has 16 bits": [Frames(1), Junk(np.zeros((48, 64, 3), np.uint16))],
    "a frame is float, to 255": [Frames(1), Junk(np.full((48, 64, 3), 255.0, np.float32))],
    "a frame has no pixels": [Frames(1), Junk(np.zeros((0, 64, 3), np.uint8))],
    "a frame has two channels": [Frames(1), Junk(np.zeros((48, 64, 2), np.uint8))],
    "a frame is too wide": [Frames(1), Junk(BIG)],
    "the stream ends": [Frames(2), End()],
    "the stream ends at once, often": [End()] * 6,
}

ENDED = {
    "it never comes": ([FailOpen(99)], CameraLostError, "no such device"),
    "it goes and never comes back": ([Frames(2), Unplug(opens=99)], CameraLostError, "after 12 reconnects"),
    "it only ever hangs": ([BlockOpen()] * 99, CameraLostError, "connections hang"),
    "an option is wrong": ([RaiseOpen(SourceError("width", found="0"))], SourceError, "width"),
    "a library is missing": (
        [Frames(1), Nothing(), RaiseOpen(MissingDependencyError("picamera2 is not installed"))],
        MissingDependencyError,
        "picamera2",
    ),
}


@pytest.fixture(scope="module")
def classifier(pristine):
    """Of the tiny network: a run of it is microseconds."""
    return Classifier.load(pristine, threads=1)


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """What hangs is given up soon, and afterwards no thread of ours is left."""
    monkeypatch.setattr("ecovision_edge.camera.latest.GRACE", 0.1)
    yield
    deadline = time.monotonic() + 20
    while left := [t for t in threading.enumerate() if t.name.startswith("ecovision-")]:
        assert time.monotonic() < deadline, left
        left[0].join(0.1)


def test_there_are_thirty_and_more():
    """Of those that are survived alone."""
    assert len(SURVIVED) >= 30


@pytest.mark.slow
@pytest.mark.parametrize("script", SURVIVED.values(), ids=SURVIVED)
def test_survived(classifier, script):
    """Whatever happened: five frames after the script is over, the loop still classifies."""
    camera = FakeCamera(*script, Frames(1), interval=0.01)

    def when_frozen(health):
        if health.state is HealthState.RECONNECTING and "frozen" in health.reason:
            camera.release()  # somebody plugs it in again

    options = LoopOptions(watch=WATCH, duration=20)
    with CameraLoop(classifier, camera, options, on_health=when_frozen) as loop:
        results = iter(loop)
        while not camera.script_over:
            assert next(results, None) is not None, "it ended early"
        last = [next(results) for _ in range(5)]
        camera.release()
    assert [r.frame.sequence for r in last] == sorted({r.frame.sequence for r in last})


@pytest.mark.slow
def test_frames_that_never_are_frames_end_it_with_what_they_are(classifier):
    """They are passed over for as long as a camera may stall."""
    junk = [Junk(np.zeros((4, 4, 3), np.uint16))] * 10_000
    loop = CameraLoop(classifier, FakeCamera(*junk), LoopOptions(watch=replace(WATCH, max_reconnects=0)))
    with pytest.raises(CameraLostError, match="uint16"):
        loop.run()
    assert loop.summary().bad_frames > 1


@pytest.mark.slow
@pytest.mark.parametrize(("script", "error", "text"), ENDED.values(), ids=ENDED)
def test_ended_with_the_right_error(classifier, script, error, text):
    """What trying again does not help ends the loop, with the reason."""
    camera = FakeCamera(*script)
    loop = CameraLoop(classifier, camera, LoopOptions(watch=WATCH, duration=20))
    with pytest.raises(error, match=text):
        loop.run()
    camera.release()
    assert loop.summary().health.state == "FAILED"
