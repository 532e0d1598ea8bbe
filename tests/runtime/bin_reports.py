"""Reports of bins for tests of what shows them."""

from __future__ import annotations

import time

from ecovision_edge.events import BinEvent, BinState
from ecovision_edge.sinks import SinkStats
from ecovision_edge.sinks.bin_report import BinReport, SinkReport

COVERED = "the whole view differs: lens covered, or camera moved?"


def bin_event(number: int, label: str | None = "paper") -> BinEvent:
    """One of that number."""
    return BinEvent(
        **{"id": f"run-{number}", "sequence": number, "item": number, "time": 1.7e9, "monotonic": 1.0},
        **{"label": label, "bin": "recycling", "probability": 0.9, "margin": 0.8, "frames": 5},
        **{"seconds": 1.0, "reason": "because"},
    )


def sink_report(name: str = "stdout", error: str = "", **stats: int) -> SinkReport:
    """Of a sink with three events, one of which waits."""
    given = {"taken": 3, "delivered": 2, "dropped": 0, "expired": 0, "waiting": 1, "retries": 0, **stats}
    return SinkReport(name, SinkStats(**given, error=error))


def bin_report(state: BinState = BinState.EMPTY, reason: str = "the tray is empty", **changes) -> BinReport:
    """Of a bin with two events, one of them unknown."""
    given = {"since": time.monotonic() - 95.0, "item": None, "last": (bin_event(0), bin_event(1, None))}
    counts = {"events": 2, "unknowns": 1, "faults": 0, "sinks": (sink_report(),)}
    return BinReport(state=state, reason=reason, **{**given, **counts, **changes})
