"""Camera and classifier together, until told to stop."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

from ecovision_edge.base.closing import ClosedAtEnd
from ecovision_edge.camera.health import Health
from ecovision_edge.camera.latest import LatestFrame
from ecovision_edge.camera.source import CapturedFrame, FrameSource
from ecovision_edge.errors import LoopStuckError, OptionError
from ecovision_edge.loop.classifies import Classifies
from ecovision_edge.loop.options import LoopOptions
from ecovision_edge.loop.percentiles import Percentiles
from ecovision_edge.loop.result import LoopResult
from ecovision_edge.loop.summary import STAGES, LoopSummary, StageTimes
from ecovision_edge.observation import Observation, Reduces
from ecovision_edge.photographs.images import Reduce
from ecovision_edge.preprocess.frames import as_bgr, for_checked
from ecovision_edge.preprocess.region import Region

__all__ = ["CameraLoop", "Classifies"]

WAIT_SECONDS = 0.5
"""How often `on_wait` is called."""


class CameraLoop(ClosedAtEnd):
    """Classifies the newest frame of a source, again and again, unless `observe` says that nothing is there.

    Two ways, of which one loop takes one, once:

    - `for result in loop:` on the caller's own thread; leaving the `for`, by whatever way, closes the source;
    - `loop.start()` in a thread of its own, with `on_result` for each; then `wait`, and `close`.

        >>> from ecovision_edge import Classifier
        >>> from ecovision_edge.camera import FakeCamera
        >>> from ecovision_edge.loop import CameraLoop, LoopOptions
        >>> loop = CameraLoop(Classifier.load(), FakeCamera(), LoopOptions(max_frames=3))
        >>> [result.index for result in loop]
        [0, 1, 2]
        >>> loop.summary().classified
        3

    Args:
        classifier: What looks at the frames.
        source: Where they come from (`ecovision_edge.camera.open_source`).
        options: Pace and limits.
        on_result: Called with each result on the loop's thread. What it raises ends the loop, and is raised
            by the `for`, or by `wait` and `close`.
        on_health: Called with each new state of the source, on the watchdog's thread; likewise.
        on_wait: Called on the loop's thread, every half second for as long as no frame comes; likewise.
        observe: Asked on the loop's thread about each frame before it is classified: which part to classify,
            if any (`Observation.wanted`). What it found comes back in the result
            (`LoopResult.observation`). None: all of each frame.
        region: The same for who knows the part alone; None is all of the frame. Not beside `observe`.
        reduce: How small a frame that comes as JPEG may be decoded for `observe` or `region`, given its
            height and width; None: whole. Without both it is as `classifier.reduction` says, if it has that.
    """

    def __init__(
        self,
        classifier: Classifies,
        source: FrameSource,
        options: LoopOptions | None = None,
        *,
        on_result: Callable[[LoopResult], None] | None = None,
        on_health: Callable[[Health], None] | None = None,
        on_wait: Callable[[], None] | None = None,
        observe: Callable[[CapturedFrame], Observation] | None = None,
        region: Callable[[CapturedFrame], Region | None] | None = None,
        reduce: Reduce | None = None,
    ) -> None:
        self._next: tuple[Classifies, Callable[[], object] | None] | None = None
        self._take(classifier)
        if reduce is None and observe is None and region is None and self._reduce is not None:
            reduce = self._reduction
        self._source = source
        self._options = options or LoopOptions()
        self._on_result, self._on_wait = on_result, on_wait
        self._observe = _observer(observe, region)
        self._frames = LatestFrame(source, self._options.watch, on_health=on_health, reduce=reduce)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._used = False
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._began: float | None = None
        self._ended: float | None = None
        self._due = 0.0
        self._results_given = 0
        self._labels: Counter[str] = Counter()
        self._unclassified: Counter[str] = Counter()
        self._times = {stage: Percentiles() for stage in STAGES}

    def __repr__(self) -> str:
        classified = self._labels.total()
        return f"<CameraLoop over {self._source.name}: {classified} classified, {self.health.state}>"

    @property
    def health(self) -> Health:
        """How the source is doing."""
        return self._frames.health

    def __iter__(self) -> Iterator[LoopResult]:
        """Return the results, one after the other, until a limit, the end of the files, `stop`, or an error.

        Raises:
            CameraLostError: the source could not be reconnected as often as allowed.
            InferenceError: the engine failed.
            EcovisionError: what else made going on pointless.
        """
        self._use()
        return self._results()

    def run(self) -> LoopSummary:
        """Run to the end on this thread, and sum up; raises as iterating does."""
        for _ in self:
            pass
        return self.summary()

    def start(self) -> None:
        """Run in a thread of its own; returns at once."""
        self._use()
        self._thread = threading.Thread(target=self._run_in_thread, name="ecovision-loop", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end after the frame in hand; returns at once. From any thread, from any state."""
        self._stop.set()
        self._frames.stop()

    def exchange(self, classifier: Classifies, done: Callable[[], object] | None = None) -> None:
        """Have the next frame that is observed classified by another one; from any thread.

        The source goes on as it is, and no frame is lost. What was asked for before, and has not begun, is
        forgotten.

        Args:
            classifier: The other one.
            done: Called on the loop's thread when the change is made; must be quick.
        """
        with self._lock:
            self._next = classifier, done

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for a loop that was started to end, `timeout` seconds at most; whether it did.

        Raises:
            BaseException: what ended it, if it was an error.
        """
        if self._thread is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                return False
        with self._lock:
            error, self._error = self._error, None
        if error is not None:
            raise error
        return True

    def close(self, timeout: float = 10.0) -> None:
        """Stop, and wait until it has ended. Idempotent; from `on_result` it only stops.

        Raises:
            LoopStuckError: it has not ended within `timeout` seconds: a consumer or the engine hangs.
            BaseException: what ended it, if it was an error that `wait` did not raise yet.
        """
        self.stop()
        if self._thread is threading.current_thread():
            return
        if not self.wait(timeout):
            raise LoopStuckError(
                f"the loop over {self._source.name} did not end",
                expected=f"an end within {timeout:g} s",
                found="on_result or the engine does not return",
            )
        if self._thread is None:
            self._frames.close()

    def summary(self) -> LoopSummary:
        """Sum up so far, or at the end. Call it from the loop's thread, or after the end."""
        now = time.monotonic()
        began = self._began if self._began is not None else now
        health = self._frames.health
        return LoopSummary(
            source=self._source.name,
            seconds=(self._ended if self._ended is not None else now) - began,
            frames=self._frames.frames,
            classified=self._labels.total(),
            unclassified=dict(self._unclassified),
            dropped=self._frames.dropped,
            bad_frames=self._frames.bad_frames,
            reconnects=health.reconnects,
            labels=dict(self._labels),
            stages={stage: StageTimes.of(times) for stage, times in self._times.items()},
            health=health,
        )

    def _use(self) -> None:
        with self._lock:
            if self._used:
                raise OptionError("a loop runs once", fix="make a new CameraLoop")
            self._used = True

    def _run_in_thread(self) -> None:
        try:
            for _ in self._results():
                pass
        except BaseException as e:  # noqa: BLE001 - raised again by `wait` and `close`
            with self._lock:
                self._error = e

    def _results(self) -> Iterator[LoopResult]:
        self._began = time.monotonic()
        try:
            with self._frames:
                while (frame := self._next_frame()) is not None:
                    result = self._look_at(frame)
                    if self._on_result is not None:
                        self._on_result(result)
                    yield result
                    if self._results_given == self._options.max_frames:
                        return
        finally:
            self._ended = time.monotonic()

    def _next_frame(self) -> CapturedFrame | None:
        """Return the next frame that is due, or None at the end."""
        assert self._began is not None
        end = None if self._options.duration is None else self._began + self._options.duration
        if not self._wait_until_due(end):
            return None
        while not self._stop.is_set():
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return None
            frame = self._read(left)
            if frame is not None or self._on_wait is None or self._frames.over:
                return frame
            self._on_wait()
        return None

    def _wait_until_due(self, end: float | None) -> bool:
        """Wait as the pace says, to the end at most; False if the loop is stopped meanwhile."""
        now, every = time.monotonic(), self._options.every
        if every is None or not self._results_given:
            self._due = now
            return True
        # What was missed is not made up for, or a slow frame would be followed by a burst.
        self._due = max(self._due + every, now)
        return not self._stop.wait((self._due if end is None else min(self._due, end)) - now)

    def _read(self, left: float | None) -> CapturedFrame | None:
        """Read a frame, for `left` seconds at most, and no longer than `on_wait` may wait for its turn."""
        if self._on_wait is not None:
            left = WAIT_SECONDS if left is None else min(WAIT_SECONDS, left)
        return self._frames.read(left, max_age=self._options.max_age)

    def _look_at(self, frame: CapturedFrame) -> LoopResult:
        """Classify what is worth it of a frame."""
        seen = self._observe(frame)
        if self._next is not None:
            self._exchange()
        prediction = None
        if seen.wanted:
            part = seen.part(self._reduce)
            foreign = seen.picture is not frame.picture  # which whoever observes put in its place
            prediction = self._classify_part(as_bgr(part) if foreign else part)
        now, wall = time.monotonic(), time.time()
        age = now - frame.captured_at
        result = LoopResult(
            index=self._results_given,
            frame=frame,
            prediction=prediction,
            labels=self._classifier.labels,
            age_ms=age * 1000,
            dropped=self._frames.dropped,
            time=wall - age,
            region=seen.region,
            bad_frames=self._frames.bad_frames,
            look=seen.look,
        )
        self._results_given += 1
        self._count(result, age)
        return result

    def _exchange(self) -> None:
        """Take the classifier that was asked for."""
        with self._lock:
            asked, self._next = self._next, None
        if asked is not None:
            classifier, done = asked
            self._take(classifier)
            if done is not None:
                done()

    def _take(self, classifier: Classifies) -> None:
        """Classify by this one from now on."""
        self._classifier = classifier
        self._classify_part = for_checked(classifier.classify)
        self._reduce = classifier.reduction if isinstance(classifier, Reduces) else None

    def _reduction(self, height: int, width: int) -> int:
        """Return how small the classifier of now may have a JPEG decoded."""
        reduce = self._reduce
        return 1 if reduce is None else reduce(height, width)

    def _count(self, result: LoopResult, age: float) -> None:
        """Count a result for the summary."""
        self._times["age"].add(age)
        if result.prediction is None:
            assert result.tray is not None
            self._unclassified[result.tray] += 1
            return
        timings = result.prediction.timings
        for stage, ms in (
            ("prepare", timings.prepare_ms),
            ("infer", timings.infer_ms),
            ("post", timings.post_ms),
        ):
            self._times[stage].add(ms / 1000)
        self._labels[result.prediction.label] += 1


def _observer(
    observe: Callable[[CapturedFrame], Observation] | None,
    region: Callable[[CapturedFrame], Region | None] | None,
) -> Callable[[CapturedFrame], Observation]:
    """Return what is asked about each frame before it is classified."""
    if observe is not None and region is not None:
        raise OptionError("observe and region", expected="one of them", found="both")
    if observe is not None:
        return observe
    if region is not None:
        return lambda frame: replace(frame.observation, region=region(frame))
    return lambda frame: frame.observation
