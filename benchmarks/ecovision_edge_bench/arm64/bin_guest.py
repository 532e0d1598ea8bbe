"""Run a bin over an empty tray with marks around its parts; the emulated Python runs this file.

    python3 -m ecovision_edge_bench.arm64.bin_guest [--frames 30]

The camera gives 640x480 pictures of a tray with a sensor's noise, 15 a second by a clock that goes by
frames: an emulated CPU is slow, and no frame may be dropped. Standard output ends with one line of
JSON: frames counted, the bin's state at the end, and frames classified, of all.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from ecovision_edge_bench.arm64.guest import NOTHING, marker, nothing

__all__ = ["FPS", "GATE", "NETWORK", "PAGE", "WARM_UP", "WHOLE", "main"]

WHOLE, GATE, NETWORK, PAGE = 3, 4, 5, 6
"""Labels of marks, beside those of `guest`."""

FPS = 15.0
WIDTH, HEIGHT = 640, 480
WARM_UP = 45  # frames: the empty tray is learnt within the first second, and the noise known within three
PICTURES, NOISE, SEED = 8, 2.0, 0  # that take turns; levels, as a sensor by day
EMPTY_PAIRS = 5  # of marks, which tell what a mark takes

Image = npt.NDArray[np.uint8]
P = ParamSpec("P")
R = TypeVar("R")


class FrameClock:
    """Seconds that pass from one frame to the next, and not between."""

    def __init__(self) -> None:
        self.frames = 0

    def __call__(self) -> float:
        """Tell the time, as `time.monotonic` does."""
        return 1000.0 + self.frames / FPS


class TrayCamera:
    """A live source that gives the next frame once the last one was looked at."""

    name = "an empty tray"
    live = True
    interval: float | None = None

    def __init__(self, clock: FrameClock) -> None:
        self._clock, self._pictures = clock, pictures()
        self._wanted = threading.Semaphore(1)
        self._over = False

    def connect(self) -> TrayCamera:
        return self

    def read(self) -> Image:
        if not self._over:  # else nobody takes it any more
            self._wanted.acquire()
        self._clock.frames += 1
        return self._pictures[self._clock.frames % PICTURES].copy()

    def next(self, *, last: bool = False) -> None:
        """Let it give one more frame; after the `last` one without waiting, so that it can be closed."""
        self._over = last
        self._wanted.release()

    def close(self) -> None:
        pass


def pictures() -> list[Image]:
    """Return pictures of one tray, each with noise of its own."""
    rng = np.random.default_rng(SEED)
    across, down = np.linspace(0, 60, WIDTH), np.linspace(0, 30, HEIGHT)
    tray = 90 + across[None, :, None] + down[:, None, None] + np.array([0.0, 4.0, 8.0])
    tray[40:44, :, :] = tray[-44:-40, :, :] = 60  # its rim
    return [
        np.clip(tray + rng.normal(0, NOISE, tray.shape), 0, 255).astype(np.uint8) for _ in range(PICTURES)
    ]


class Marks:
    """Marks what is between the two ends of a call, once it is told to."""

    def __init__(self) -> None:
        self._mark = marker()
        self.on = False

    def point(self, label: int) -> None:
        """Mark this point."""
        self._mark(label, False)

    def around(self, owner: type, name: str, label: int) -> None:
        """Have each call of a method marked."""
        setattr(owner, name, self._marked(getattr(owner, name), label))

    def _marked(self, call: Callable[P, R], label: int) -> Callable[P, R]:
        def marked(*given: P.args, **named: P.kwargs) -> R:
            if not self.on:
                return call(*given, **named)
            self.point(label)
            try:
                return call(*given, **named)
            finally:
                self.point(label)

        return marked


def main(argv: list[str] | None = None) -> int:
    """Run the bin for `--frames` frames beyond the first ones; the exit status."""
    parser = argparse.ArgumentParser(description="A bin over an empty tray, with marks around its parts.")
    parser.add_argument("--frames", type=int, default=30, metavar="N", help="counted (default %(default)s)")
    frames = parser.parse_args(argv).frames
    clock = FrameClock()
    time.monotonic = clock  # before the modules below take it
    from ecovision_edge import Classifier
    from ecovision_edge.camera.watch import WatchOptions
    from ecovision_edge.decision.presence import PresenceGate
    from ecovision_edge.loop import LoopOptions
    from ecovision_edge.loop.result import LoopResult
    from ecovision_edge.smart_bin import SmartBin
    from ecovision_edge.web.board import Board

    marks = Marks()
    for owner, name, label in (
        (PresenceGate, "look", GATE),
        (Classifier, "classify", NETWORK),
        (Board, "publish", PAGE),
    ):
        marks.around(owner, name, label)
    classifier = Classifier.load(threads=1, spinning=False, profile=False)
    camera, board = TrayCamera(clock), Board(classifier.labels)

    def see(result: LoopResult) -> None:
        board.publish(result)
        if result.index + 1 == WARM_UP:
            for _ in range(EMPTY_PAIRS):
                marks.point(NOTHING)
                nothing()
                marks.point(NOTHING)
            marks.on = True
            marks.point(WHOLE)
        elif result.index + 1 == WARM_UP + frames:
            marks.point(WHOLE)
            marks.on = False
        camera.next(last=result.index + 1 == WARM_UP + frames)

    options = LoopOptions(max_frames=WARM_UP + frames, max_age=None, watch=WatchOptions(stall_after=600))
    smart_bin = SmartBin(classifier, camera, loop_options=options, on_result=see, device="bench")
    with smart_bin:
        smart_bin.run()
    classified = smart_bin.loop.summary().classified
    told = {"frames": frames, "state": str(smart_bin.status.state), "classified": classified}
    sys.stdout.write(json.dumps(told) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
