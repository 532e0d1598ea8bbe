"""What there is to say of a whole bin at one moment, for a page, a check and a monitor."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.events import BinEvent, BinState, utc
from ecovision_edge.sinks.base import Sink, SinkStats

__all__ = ["BinReport", "SinkReport", "sink_reports"]


@dataclass(frozen=True, slots=True)
class SinkReport:
    """How one sink is doing.

    Args:
        name: Without credentials; that of no other sink of the bin.
        stats: What became of its events.
        ended: Whether its thread ended, though the bin runs: nothing is delivered any more.
    """

    name: str
    stats: SinkStats
    ended: bool = False

    @property
    def problem(self) -> str:
        """Why nothing is delivered, in one line; empty if all is well."""
        return self.stats.error or ("its thread has ended" if self.ended else "")

    def to_json(self) -> dict[str, JsonValue]:
        """Return a JSON object."""
        stats = self.stats
        return {
            "name": self.name,
            "problem": self.problem,
            "waiting": stats.waiting,
            "delivered": stats.delivered,
            "dropped": stats.dropped,
            "retries": stats.retries,
        }


@dataclass(frozen=True, slots=True)
class BinReport:
    """A bin at one moment.

    Args:
        state: What it is doing.
        reason: Why, in one line.
        since: When that state began, seconds of `time.monotonic()`.
        item: The number of the item in hand; None if there is none.
        last: The last events, oldest first, 10 at most.
        events, unknowns, faults: Counted since the start: events, those of them without a label, and times
            that the state became `fault`.
        sinks: Each of them.
    """

    state: BinState
    reason: str
    since: float
    item: int | None
    last: tuple[BinEvent, ...]
    events: int
    unknowns: int
    faults: int
    sinks: tuple[SinkReport, ...]

    @property
    def problem(self) -> str:
        """What somebody should look at, in one line: a fault, sinks that fail; empty if all is well."""
        problems = [f"fault: {self.reason}"] if self.state is BinState.FAULT else []
        for sink in self.sinks:
            if sink.problem:  # which often begins with the name
                named = sink.problem.startswith(sink.name)
                problems.append(f"sink {sink.problem}" if named else f"sink {sink.name}: {sink.problem}")
        return "; ".join(problems)

    def to_json(self, now: float) -> dict[str, JsonValue]:
        """Return a JSON object; `now` is seconds of `time.monotonic()`, and `since` is time of day in UTC."""
        seconds = max(0.0, now - self.since)
        return {
            "state": self.state.value,
            "reason": self.reason,
            "since": utc(time.time() - seconds),
            "since_s": round(seconds, 3),
            "item": self.item,
            "problem": self.problem,
            "events": self.events,
            "unknowns": self.unknowns,
            "faults": self.faults,
            "sinks": [sink.to_json() for sink in self.sinks],
        }


def sink_reports(sinks: Sequence[Sink]) -> tuple[SinkReport, ...]:
    """Return one for each sink; those of one name are numbered."""
    named: Counter[str] = Counter()
    reports = []
    for sink in sinks:
        named[sink.name] += 1
        number = named[sink.name]
        name = sink.name if number == 1 else f"{sink.name} ({number})"
        ended = sink.started and not sink.running and not sink.stopping
        reports.append(SinkReport(name, sink.stats, ended))
    return tuple(reports)
