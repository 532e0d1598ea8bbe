"""Where the camera loop puts its results, and whoever shows them finds them."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.camera.health import Health, HealthState
from ecovision_edge.errors import OptionError
from ecovision_edge.loop.result import LoopResult

if TYPE_CHECKING:
    from ecovision_edge.bundle.identity import BundleIdentity
    from ecovision_edge.sinks.bin_report import BinReport
    from ecovision_edge.sinks.update_report import UpdateReport

__all__ = ["AGE_BOUNDS", "STAGE_BOUNDS", "Board", "Counters", "Distribution", "Past", "Status", "View"]

STAGE_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds of the buckets for a stage, seconds: a desktop's resize to a slow board's network."""
AGE_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets from capture to result, seconds."""

_Past: TypeAlias = "tuple[int, str | None, float | None, str | None, float, float]"  # as `Past` has them

_RATE_S = 3.0  # the rate is that of the last seconds


@dataclass(frozen=True, slots=True)
class Past:
    """One result of the history.

    Args:
        index: Number of the result.
        label: The most probable class; None where the network was not asked.
        score: Its probability, 0 to 1; None likewise.
        tray: Why it was not asked (`LoopResult.tray`); None where it was.
        time: The capture, seconds since 1970.
        published: Seconds of `time.monotonic()`.
    """

    index: int
    label: str | None
    score: float | None
    tray: str | None
    time: float
    published: float


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram as Prometheus has them.

    Args:
        bounds: Upper bounds of the buckets, seconds, ascending.
        counts: Count of each bucket alone, and of what is above the last bound.
        total: Sum of all values, seconds.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


@dataclass(frozen=True, slots=True)
class Counters:
    """What the board counted since it was made.

    Args:
        classified: Results by label; each known label is there, with 0 at least.
        unclassified: Results without one, by why there is none (`LoopResult.tray`).
        dropped: Frames that nobody looked at.
        bad_frames: Frames that were empty, cut off, or not to be decoded.
        reconnects: Reconnects of the source.
        stages: `prepare`, `infer` and `post`.
        age: Times from capture to result.
    """

    classified: dict[str, int]
    unclassified: dict[str, int]
    dropped: int
    bad_frames: int
    reconnects: int
    stages: dict[str, Distribution]
    age: Distribution


@dataclass(frozen=True, slots=True)
class Status:
    """What may be said of the picture: the source's health, and whether the last frame is still news.

    Args:
        state: State of the source; STALLED too where it calls itself RUNNING and no result comes.
        since: When that began, seconds of `time.monotonic()`.
        reason: Why; empty where nothing is to be said.
        reconnects: Reconnects of the source.
        bad_frames: Frames that were empty, cut off, or not to be decoded.
        live: The source runs and the last frame is young enough to be shown as the present.
        age: Age of the last frame, seconds; None before the first.
    """

    state: HealthState
    since: float
    reason: str
    reconnects: int
    bad_frames: int
    live: bool
    age: float | None

    def to_json(self, now: float) -> dict[str, JsonValue]:
        """Return a JSON object; `now` is seconds of `time.monotonic()`, and `since` is time of day in UTC."""
        seconds = max(0.0, now - self.since)
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds))
        return {
            "state": self.state.value,
            "live": self.live,
            "reason": self.reason,
            "since": since,
            "since_s": round(seconds, 3),
            "reconnects": self.reconnects,
            "bad_frames": self.bad_frames,
            "last_age_s": None if self.age is None else round(self.age, 3),
        }


@dataclass(frozen=True, slots=True)
class View:
    """The board at one moment.

    Args:
        version: Rises with everything that is put on the board.
        result: The newest; None before the first.
        health: What the source said last.
        labels: The classes, as far as they are known.
        bundle: Which one answers; None for a lone model file, or where nobody said.
    """

    version: int
    result: LoopResult | None
    health: Health
    labels: tuple[str, ...]
    bundle: BundleIdentity | None = None

    def status(self, now: float, stale_s: float) -> Status:
        """Return what may be said at `now`, where a frame is news for `stale_s` seconds."""
        health, age = self.health, None
        if self.result is not None:
            age = max(0.0, now - self.result.frame.captured_at)
        state, since, reason = health.state, health.since, health.reason
        # A source that has only just (re)started to run gets its time for a first result, too.
        fresh = age is not None and age < stale_s
        if state is HealthState.RUNNING and not fresh and now - since >= stale_s:
            state = HealthState.STALLED
            reason = f"no result for more than {stale_s:g} s"
            last = since if self.result is None else self.result.frame.captured_at
            since = max(since, last) + stale_s
        live = fresh and state is HealthState.RUNNING
        bad_frames = _bad_frames(self.result, health)
        return Status(state, since, reason, health.reconnects, bad_frames, live, age)


def _bad_frames(result: LoopResult | None, health: Health) -> int:
    """Return the higher count, which is the newer: both only ever rise."""
    return max(health.bad_frames, 0 if result is None else result.bad_frames)


class _Histogram:
    """Counts values by bucket; not for two threads at once."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    def copy(self) -> Distribution:
        return Distribution(self.bounds, tuple(self.counts), self.total)


class Board:
    """The newest result, the source's health, a short history and counters. For any number of threads.

    `publish` and `set_health` swap references and add up numbers: they take microseconds whoever looks.

    Args:
        labels: The classes in the network's order, to be shown before the first result; else they are known
            with it.
        history: Results that are remembered, 1 to 10,000.
        bundle: Which one answers; None for a lone model file.

    Raises:
        OptionError: `history` is outside its range.
    """

    def __init__(
        self, labels: Sequence[str] = (), *, history: int = 120, bundle: BundleIdentity | None = None
    ) -> None:
        if not 1 <= history <= 10_000:
            raise OptionError("history of a board", expected="1 to 10000 results", found=history)
        self._lock = threading.Lock()
        self._version = 0
        self._result: LoopResult | None = None
        self._labels = tuple(labels)
        self._bundle = bundle
        self._health = Health(HealthState.STARTING, time.monotonic())
        self._bin: Callable[[], BinReport] | None = None
        self._update: Callable[[], UpdateReport] | None = None
        self._history: deque[_Past] = deque(maxlen=history)
        self._classified: dict[str, int] = dict.fromkeys(self._labels, 0)
        self._unclassified: dict[str, int] = {}
        self._prepare, self._infer, self._post = (_Histogram(STAGE_BOUNDS) for _ in range(3))
        self._age = _Histogram(AGE_BOUNDS)

    @property
    def version(self) -> int:
        """Rises with everything that is put on the board; reading it takes no lock."""
        return self._version

    def publish(self, result: LoopResult) -> None:
        """Put up a result; the picture of its frame must not be changed any more."""
        said, tray = result.prediction, result.tray
        label, score = (None, None) if said is None else (said.label, said.score)
        # A plain tuple, and a Past only for who reads it: making one of those costs a microsecond or two.
        past = result.index, label, score, tray, result.time, time.monotonic()
        with self._lock:
            self._result = result
            if result.labels is not self._labels and result.labels != self._labels:
                self._labels = result.labels
                for label in result.labels:
                    self._classified.setdefault(label, 0)
            self._history.append(past)
            if said is None:
                assert tray is not None
                self._unclassified[tray] = self._unclassified.get(tray, 0) + 1
            else:
                self._classified[said.label] = self._classified.get(said.label, 0) + 1
                self._prepare.add(said.timings.prepare_ms / 1000)
                self._infer.add(said.timings.infer_ms / 1000)
                self._post.add(said.timings.post_ms / 1000)
            self._age.add(result.age_ms / 1000)
            self._version += 1

    def set_health(self, health: Health) -> None:
        """Put up how the source is doing; before the first call it is STARTING."""
        with self._lock:
            self._health = health
            self._version += 1

    def set_bundle(self, bundle: BundleIdentity | None) -> None:
        """Put up which bundle answers from now on; None for a lone model file."""
        with self._lock:
            self._bundle = bundle
            self._version += 1

    def set_bin(self, report: Callable[[], BinReport]) -> None:
        """Have the bin shown whose loop puts up the results; `report` is called by whoever shows it."""
        with self._lock:
            self._bin = report
            self._version += 1

    def set_update(self, report: Callable[[], UpdateReport]) -> None:
        """Have it shown how updates are doing; `report` is called by whoever shows it."""
        with self._lock:
            self._update = report
            self._version += 1

    def update(self) -> UpdateReport | None:
        """Return how updates are doing now; None if there are none."""
        report = self._update
        return None if report is None else report()  # without the lock, as `bin`

    def bin(self) -> BinReport | None:
        """Return how the bin is doing now; None if there is none."""
        report = self._bin
        return None if report is None else report()  # without the lock: it may wait for the bin's own

    def view(self) -> View:
        """Return what is on the board now."""
        with self._lock:
            return View(self._version, self._result, self._health, self._labels, self._bundle)

    def history(self, after: int = -1, most: int = 60) -> list[Past]:
        """Return the last results with an index above `after`, oldest first, at most `most`."""
        with self._lock:
            past = list(self._history)
        return [Past(*p) for p in past if p[0] > after][-most:]

    def rate(self) -> float | None:
        """Return results per second over the last seconds before the newest; None before the second."""
        with self._lock:
            times = [published for *_, published in self._history]
        if len(times) < 2:
            return None
        recent = [t for t in times if t > times[-1] - _RATE_S]
        recent = recent if len(recent) > 1 else times[-2:]
        span = recent[-1] - recent[0]
        return (len(recent) - 1) / span if span > 0 else None

    def counters(self) -> Counters:
        """Return a copy of what was counted."""
        with self._lock:
            stages = {
                "prepare": self._prepare.copy(),
                "infer": self._infer.copy(),
                "post": self._post.copy(),
            }
            dropped = 0 if self._result is None else self._result.dropped
            bad_frames = _bad_frames(self._result, self._health)
            classified, reconnects = dict(self._classified), self._health.reconnects
            return Counters(
                classified,
                dict(self._unclassified),
                dropped,
                bad_frames,
                reconnects,
                stages,
                self._age.copy(),
            )
