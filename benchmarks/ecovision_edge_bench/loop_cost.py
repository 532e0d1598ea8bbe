"""What the camera loop costs beside the network, and whether it leaks; a developers' tool.

    python -m ecovision_edge_bench.loop_cost overhead [--frames 5000]
    python -m ecovision_edge_bench.loop_cost soak [--frames 1000000]
    python -m ecovision_edge_bench.loop_cost camera [--fps 15] [--seconds 20] [--source URI] [--bundle DIR]
    python -m ecovision_edge_bench.loop_cost sinks [--fps 30] [--seconds 60]

- `overhead`: from the capture of a frame to its result in the consumer's hands, less what preparing and the
  network took of it; a camera of 640x480 at 60 frames a second and the embedded model. That is all the
  loop's own: checking the frame, the watchdog's checksum, handing it to another thread, counters, the result.
- `soak`: a fake camera that also fails, hangs, freezes, is unplugged and changes its size now and then, and a
  network of numpy that answers at once, as a real one would take hours. Memory (resident set), threads and
  descriptors after the first tenth and at the end: none may have grown.
- `camera`: a camera with a pace and the real model: CPU time of this whole process, with the engine's threads
  spinning and not; and the age of a frame when its prediction is there.
- `sinks`: a bin over the synthetic tray, without sinks, and with three whose other side never answers: a web
  server that accepts and is silent, a serial line that is not read, a file on a full disk (`/dev/full`). The
  age of a frame, and what the sinks made of the events.

Figures depend on the machine and on what else it does: compare those of one run.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import itertools
import os
import resource
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ecovision_edge import Classifier
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.camera import FakeCamera, FrameSource, WatchOptions, open_source
from ecovision_edge.camera.fake import Block, Frames, Freeze, Nothing, Raise, Resize, Step, Unplug
from ecovision_edge.errors import EcovisionError, OptionError
from ecovision_edge.loop import CameraLoop, LoopOptions
from ecovision_edge.loop.percentiles import Percentiles
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge.sinks.addresses import open_sink
from ecovision_edge.smart_bin import SmartBin

__all__ = ["main"]

WARMUP = 50  # results

FAULTS: tuple[Step, ...] = (
    Nothing(),
    Raise(OSError("loose cable")),
    Unplug(2),
    Freeze(50),
    Resize(320, 240),
    Resize(224, 224),
)

Image = npt.NDArray[np.uint8]


class _DrawnCamera:
    """A live source of 60 frames a second: synthetic ones, in turn."""

    name = "synthetic frames"
    live = True
    interval: float | None = 1 / 60

    def __init__(self) -> None:
        self._frames = [draw_frame(seed) for seed in range(16)]

    def connect(self) -> _DrawnCamera:
        return self

    def read(self) -> Image:
        return self._frames[int(time.monotonic() * 1e4) % 16].copy()

    def close(self) -> None:
        pass


class _Instant:
    """A backend that answers at once: the mean of the first pixels."""

    engine = "numpy"
    threads = 1

    def __init__(self, contract: Contract) -> None:
        self.contract = contract

    def run(self, batch: npt.NDArray[np.uint8 | np.float32]) -> npt.NDArray[np.float32]:
        logits = np.zeros((len(batch), len(self.contract.labels)), np.float32)
        logits[:, int(batch.flat[0]) % logits.shape[1]] = 5
        return logits


def _overhead(frames: int) -> None:
    classifier = Classifier.load()
    loop = CameraLoop(classifier, _DrawnCamera(), LoopOptions(max_frames=frames + WARMUP))
    own = Percentiles()
    for result in loop:
        whole = time.monotonic() - result.frame.captured_at
        if result.index >= WARMUP and result.prediction is not None:
            own.add(whole - result.prediction.timings.total_ms / 1000)
    _say("the loop's own", own)


def _script() -> Iterator[Step]:
    for n in itertools.count():
        yield Frames(20_000)
        yield (Nothing(), Raise(OSError("cable")), Unplug(2), Freeze(50), Resize(64, 48), Resize(48, 64))[
            n % 6
        ]


def _soak(frames: int) -> None:
    contract = Classifier.load().contract
    classifier = Classifier(_Instant(contract), artifact="instant")
    steps = list(itertools.islice(_script(), 2 * (frames // 20_000 + 2)))
    steps.insert(2, Block())
    camera = FakeCamera(*steps, width=224, height=224, interval=0.0003)
    watch = WatchOptions(
        open_timeout=1, stall_after=1, frozen_after=1, first_delay=0.01, most_delay=0.05, steady_after=1
    )
    loop = CameraLoop(classifier, camera, LoopOptions(watch=watch, max_frames=frames))
    before: tuple[int, int, int] | None = None
    threads = threading.active_count()
    for result in loop:
        if result.index == frames // 10:
            camera.release()
            before = _usage()
        elif result.index and result.index % (frames // 10) == 0:
            _print(f"  {result.index:9} frames: {_told(_usage())}")
    del result
    gc.collect()
    after = _usage()
    for line in loop.summary().lines():
        _print(line)
    assert before is not None
    _print(f"after a tenth: {_told(before)}")
    _print(f"at the end:    {_told(after)}; memory {after[0] / before[0] - 1:+.2%}")
    _print(f"threads before the loop {threads}, after it {threading.active_count()}")
    _print(f"connections of the camera still open: {camera.open_now}")


def _usage() -> tuple[int, int, int]:
    """Resident bytes, threads, descriptors."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize(), threading.active_count(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def _told(usage: tuple[int, int, int]) -> str:
    return f"{usage[0] / 2**20:.2f} MiB, {usage[1]} threads, {usage[2]} descriptors"


def _camera(fps: float, seconds: float, source: str | None, bundle: Path | None) -> None:
    for spinning in (True, False, True, False):
        classifier = Classifier.load(bundle, spinning=spinning, profile=False)

        frames: FrameSource = open_source(source or f"demo:?fps={fps:g}")
        loop = CameraLoop(classifier, frames, LoopOptions(duration=seconds))
        ages = Percentiles()
        cpu, wall = time.process_time(), time.perf_counter()
        for result in loop:
            ages.add(result.age_ms / 1000)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        summary = loop.summary()
        _print(
            f"threads {'spin' if spinning else 'wait'}: {cpu / wall:.1%} of a core,"
            f" {summary.classified / wall:.1f} frames a second, {summary.dropped} dropped"
        )
        _say("  age of a frame", ages)


def _sinks(fps: float, seconds: float) -> None:
    classifier = Classifier.load(spinning=False, profile=False)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        ours, theirs = os.openpty()
        stack.callback(os.close, ours)
        stack.callback(os.close, theirs)
        stuck = (
            f"http://127.0.0.1:{listener.getsockname()[1]}/?ecovision.timeout=600",
            f"serial://{os.ttyname(theirs)}",
            "file:/dev/full",
        )
        labels = classifier.labels
        for addresses in ((), stuck):
            sinks = [open_sink(a, labels=labels, bins=labels, device="bench") for a in addresses]
            ages = Percentiles()
            smart_bin = SmartBin(
                classifier,
                open_source(f"demo:?fps={fps:g}"),
                sinks=sinks,
                loop_options=LoopOptions(duration=seconds),
                on_result=lambda result, ages=ages: ages.add(result.age_ms / 1000),  # type: ignore[misc]
            )
            smart_bin.run()
            _say(f"{len(sinks)} sinks that are stuck, {len(smart_bin.events)} events: age of a frame", ages)
            for sink in sinks:
                _print(f"  {sink.name}: {sink.stats}")
            with contextlib.suppress(EcovisionError):
                smart_bin.close(timeout=1)


def _say(what: str, times: Percentiles) -> None:
    found = {p: times.percentile(p) for p in (50, 90, 99)}
    parts = [f"p{p} {t * 1000:.3f} ms" for p, t in found.items() if t is not None]
    _print(f"{what}: {', '.join(parts)}, most {times.most * 1000:.3f} ms, of {len(times)}")


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ecovision_edge_bench.loop_cost",
        description="What the camera loop costs beside the network, and whether it leaks.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, default in (("overhead", 5000), ("soak", 1_000_000)):
        command = commands.add_parser(name)
        command.add_argument("--frames", type=int, default=default, metavar="N")
    sinks = commands.add_parser("sinks")
    sinks.add_argument(
        "--fps", type=float, default=30, help="frames per second of the synthetic camera (default 30)"
    )
    sinks.add_argument("--seconds", type=float, default=60, help="each of the two runs (default 60)")
    camera = commands.add_parser("camera")
    camera.add_argument(
        "--fps", type=float, default=15, help="frames per second of the synthetic camera (default 15)"
    )
    camera.add_argument("--seconds", type=float, default=20, help="each of the four runs (default 20)")
    camera.add_argument("--source", metavar="URI", help="a source in place of the synthetic one")
    camera.add_argument("--bundle", type=Path, metavar="DIR", help="default: the embedded one")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the measurements; the exit status: 0, or what the error says."""
    options = _parser().parse_args(argv)
    try:
        if options.command == "camera":
            _camera(options.fps, options.seconds, options.source, options.bundle)
        elif options.command == "sinks":
            _sinks(options.fps, options.seconds)
        elif options.frames < 1000:
            raise OptionError("--frames", expected="at least 1000", found=options.frames)
        elif options.command == "soak":
            _soak(options.frames)
        else:
            _overhead(options.frames)
    except EcovisionError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
