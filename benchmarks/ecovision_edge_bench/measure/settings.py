"""What is measured and for how long, checked before any work is done."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from ecovision_edge.backends import MAX_THREADS, default_threads
from ecovision_edge.base.fields import JsonValue
from ecovision_edge.errors import OptionError
from ecovision_edge_bench.measure.percentiles import min_samples

__all__ = ["Settings", "parse_spinning", "parse_threads"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How subjects are measured.

    Args:
        min_secs: Seconds that each subject is measured for, at least.
        min_count: Samples of each subject, at least.
        max_secs: Seconds after which a subject that has not enough samples is given up.
        turn_secs: Seconds of one turn.
        settle_secs: Seconds at the start of each turn that are not recorded (one frame at least).
        warmup_secs: Seconds that each subject runs before the first turn.
        fps: Frames a second in paced mode; None is as fast as it goes.
        sustained_secs: Seconds of sustained mode, with one row per minute; None for no sustained mode.
        isolate: Whether each subject's process is pinned to cores of its own.
        cold_starts: Fresh processes in which session creation and memory are measured.
        seed: Seed of the order of turns and of the bootstrap.
        max_spread: Most that (p90 - p10) / p50 of a subject may be, before it is INVALID.
        max_other_load: Cores that other programs may keep busy, before the run is INVALID.
        max_warming_c: Degrees Celsius that the processor may warm by, before the run is INVALID.
    """

    min_secs: float = 10.0
    min_count: int = 64
    max_secs: float = 120.0
    turn_secs: float = 0.25
    settle_secs: float = 0.06
    warmup_secs: float = 1.0
    fps: float | None = None
    sustained_secs: float | None = None
    isolate: bool = False
    cold_starts: int = 3
    seed: int = 0
    max_spread: float = 0.5
    max_other_load: float = 0.15
    max_warming_c: float = 15.0

    def __post_init__(self) -> None:
        _in("--min-secs", self.min_secs, 0.1, 86400)
        _in("--min-count", self.min_count, 1, 10**7)
        if self.fps is not None:
            _in("--fps", self.fps, 0.1, 1000)
        if self.sustained_secs is not None:
            _in("--sustained", self.sustained_secs, 1, 7 * 86400)
        _in("--max-spread", self.max_spread, 0.001, 1000)
        _in("--max-other-load", self.max_other_load, 0.0, 1000)
        _in("--cold-starts", self.cold_starts, 0, 100)

    @classmethod
    def quick(cls, **changes: float | bool | None) -> Settings:
        """Short settings: a minute on two cores for the runtime and PyTorch."""
        return dataclasses.replace(
            cls(min_secs=4.0, max_secs=12.0, warmup_secs=0.3, cold_starts=1),
            **changes,  # type: ignore[arg-type]
        )

    @property
    def seconds_per_turn(self) -> float:
        """The seconds of one turn: in paced mode long enough for some frames."""
        return self.turn_secs if self.fps is None else max(1.0, 8 / self.fps)

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {**dataclasses.asdict(self), "samples_for_p90": min_samples(90)}


def parse_threads(text: str) -> tuple[int, ...]:
    """`1,2,auto` as thread counts without repetition, in the order given.

    Raises:
        OptionError: not such a list.
    """
    found = []
    for part in text.split(","):
        word = part.strip().lower()
        if word != "auto" and not (word.isdecimal() and 1 <= int(word) <= MAX_THREADS):
            raise OptionError(
                "--threads", expected=f"numbers from 1 to {MAX_THREADS} or auto, with commas", found=text
            )
        found.append(default_threads() if word == "auto" else int(word))
    return tuple(dict.fromkeys(found))


def parse_spinning(text: str) -> tuple[bool, ...]:
    """`on`, `off`, or `on,off`.

    Raises:
        OptionError: none of these.
    """
    words = [part.strip().lower() for part in text.split(",")]
    if not words or not set(words) <= {"on", "off"}:
        raise OptionError("--spinning", expected="on, off, or on,off", found=text)
    return tuple(dict.fromkeys(word == "on" for word in words))


def _in(option: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise OptionError(option, expected=f"{low:g} to {high:g}", found=value)
