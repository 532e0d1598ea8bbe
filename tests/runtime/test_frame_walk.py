"""The walk of a frame as data: what one room hands to another while a frame is classified and decided."""

import sys
import threading
from pathlib import Path

import numpy as np

import ecovision_edge
from ecovision_edge import Classifier, Prediction
from ecovision_edge.camera.files import FileStream
from ecovision_edge.camera.source import CapturedFrame
from ecovision_edge.camera.transform import Transform
from ecovision_edge.decision import DeciderOptions, PresenceOptions
from ecovision_edge.events import BinEvent
from ecovision_edge.observation import Look, Observation
from ecovision_edge.smart_bin import SmartBin

ROOT = Path(ecovision_edge.__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"
HEAD = "asks        whom        which                    is given"
CARRIERS = (np.ndarray, CapturedFrame, Look, Observation, Prediction, BinEvent)
"""What carries a frame, or what is known of it."""

OPTIONS = DeciderOptions(
    presence=PresenceOptions(learn=0.5), settle=0.2, decide_within=0.5, settle_within=0.5, min_frames=2
)


class Source:
    """Three seconds of a tray, with an item on it from the second on."""

    name, live, interval = "files", False, None

    def connect(self):
        noise = np.random.default_rng(0).integers(100, 110, (45, 60, 80, 3), np.uint8)
        noise[15:, 20:40, 30:50] = (20, 200, 40)
        return FileStream("files", iter(noise), Transform())


class Trace:
    """Writes down each value that one function of the package returns to one of another room."""

    def __init__(self):
        self.lines, self.seen = [], set()

    def __call__(self, frame, event, value):
        if event != "return" or not isinstance(value, CARRIERS):
            return
        callee, caller = self.room(frame), frame.f_back
        while caller is not None and self.room(caller) is None:
            caller = caller.f_back
        asks = None if caller is None else self.room(caller)
        name, kind = frame.f_code.co_name, type(value)
        new = kind not in self.seen and not name.startswith("_")
        if callee is None or asks is None or (asks == callee and not new):
            return
        self.seen.add(kind)
        if "self" in frame.f_locals:
            name = f"{type(frame.f_locals['self']).__name__}.{name}"
        given = f"{value.shape} {value.dtype}" if kind is np.ndarray else kind.__name__
        self.lines.append(f"{asks:<11} {callee:<11} {name:<24} {given}")

    @staticmethod
    def room(frame):
        path = Path(frame.f_code.co_filename)
        return path.relative_to(ROOT).parts[0].removesuffix(".py") if ROOT in path.parents else None


def walk(classifier):
    """What was handed over for a capture, and for the frame with which an item is decided; each line once."""
    captured, looked, found = Trace(), Trace(), []

    def on_result(result):
        looked.lines.clear()
        looked.seen.clear()

    def on_event(event):
        found.extend(looked.lines)
        one.stop()

    with SmartBin(classifier, Source(), options=OPTIONS, on_result=on_result, on_event=on_event) as one:
        before = sys.getprofile()
        threading.setprofile(captured)
        sys.setprofile(looked)
        try:
            one.run()
        finally:
            sys.setprofile(before)
            threading.setprofile(None)
    return list(dict.fromkeys([*captured.lines, *found]))


def test_the_page_shows_what_is_handed_over(pristine):
    """Each call from room to room that returns a picture, or what is known of one."""
    shown = PAGE.read_text("utf-8").partition(HEAD + "\n")[2].partition("\n```")[0].splitlines()
    seen = walk(Classifier.load(pristine, threads=1))
    assert seen == shown, "what docs/architecture.md has to show:\n" + "\n".join([HEAD, *seen])
