"""How a device's updates are doing: for `/healthz`, and for whoever is told over MQTT."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Protocol, runtime_checkable

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.records import dataclass

__all__ = ["INSTALL", "ProbationReport", "TellsUpdates", "UpdateReport"]

INSTALL = b"INSTALL"
"""What is published at PREFIX/update/install to have an update started."""

_MOST_SUMMARY = 255  # characters, of Home Assistant's


@dataclass(frozen=True, slots=True)
class ProbationReport:
    """How far a new bundle has proved itself.

    Args:
        seconds: How long it ran.
        whole: How long it has to.
        starts: How often a program has started with it.
        items: Items that it decided.
        unknowns: Those of them that it called unknown.
    """

    seconds: float
    whole: float
    starts: int
    items: int
    unknowns: int

    def to_json(self) -> dict[str, JsonValue]:
        """Return a JSON object."""
        return {
            "seconds": round(self.seconds),
            "of_seconds": round(self.whole),
            "starts": self.starts,
            "items": self.items,
            "unknowns": self.unknowns,
        }


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """The updates of a device at one moment.

    Args:
        name: Name of the bundle that runs.
        installed: Its version.
        latest: Version of the newest release that is known for this device.
        busy: An update is on its way: it is asked for, fetched, proved, or waits for an empty tray.
        checked: When the repository was asked last, Unix seconds; None if it never was.
        outcome: What came of it, in one line; empty if it never was.
        probation: Of the bundle that runs; None if it is on none.
    """

    name: str
    installed: str
    latest: str
    busy: bool = False
    checked: float | None = None
    outcome: str = ""
    probation: ProbationReport | None = None

    def to_json(self) -> dict[str, JsonValue]:
        """Return a JSON object, of `/healthz`."""
        at = self.checked
        when = None if at is None else datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="seconds")
        return {
            "installed": self.installed,
            "latest": self.latest,
            "busy": self.busy,
            "checked": when,
            "outcome": self.outcome or None,
            "probation": None if self.probation is None else self.probation.to_json(),
        }

    def payload(self) -> bytes:
        """Return the JSON of PREFIX/update: what Home Assistant's update entity takes, and no key more."""
        value: dict[str, JsonValue] = {
            "installed_version": self.installed,
            "latest_version": self.latest,
            "title": self.name[:_MOST_SUMMARY],
            "release_summary": self.outcome[:_MOST_SUMMARY],
            "in_progress": self.busy,
        }
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@runtime_checkable
class TellsUpdates(Protocol):
    """A sink that tells how updates are doing, and lets one be asked for."""

    def offer_updates(self, report: UpdateReport, install: Callable[[], object]) -> None:
        """Tell of updates from the start on, and call `install` when one is asked for; before `start`."""
        ...

    def show_update(self, report: UpdateReport) -> None:
        """Tell how updates are doing now; never waits."""
        ...
