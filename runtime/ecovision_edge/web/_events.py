"""Server-sent events: what one open page is told. A slow page misses results; none comes late."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.version import __version__
from ecovision_edge.web.board import Board, Status, View
from ecovision_edge.web.limits import Limits

if TYPE_CHECKING:
    from ecovision_edge.bundle.identity import BundleIdentity
    from ecovision_edge.events import BinEvent
    from ecovision_edge.sinks.bin_report import BinReport

__all__ = ["Events", "event"]

_HISTORY = 60


def event(name: str, data: JsonValue) -> bytes:
    """Return one event of the wire format; what is not finite becomes null, for JSON knows no NaN."""
    text = json.dumps(_finite(data), allow_nan=False, separators=(",", ":"))
    return f"event: {name}\ndata: {text}\n\n".encode()


class Events:
    """What is new for one client since it was last asked; holds no queue.

    Args:
        board: Where it looks.
        limits: How often there is a result, and a heartbeat.
        title: Title of the page.
    """

    def __init__(self, board: Board, limits: Limits, title: str) -> None:
        """Nothing was told yet."""
        self._board, self._limits, self._title = board, limits, title
        self._told: tuple[object, ...] | None = None
        self._bundle: BundleIdentity | None = None
        self._index = -1
        self._held_back = False
        self._bin: BinReport | None = None
        self._next_result = self._next_bin = self._next_beat = -math.inf
        self.version = -1
        """Number of the board's state when last looked at; for `Pulse.newer`."""

    def next(self, now: float) -> bytes:
        """Return what to send at `now`, seconds of `time.monotonic()`; empty if there is nothing to tell."""
        view = self._board.view()
        status = view.status(now, self._limits.stale_s)
        parts = list(self._parts(view, status, now))
        if not parts and now >= self._next_beat:
            parts = [b": alive\nevent: alive\ndata: {}\n\n"]
        if parts:
            self._next_beat = now + self._limits.heartbeat_s
        return b"".join(parts)

    def pause(self, now: float) -> float:
        """Return the seconds to hold a result back, because the last one was only just told; else 0."""
        return max(0.001, self._next_result - now) if self._held_back else 0.0

    def wait(self, now: float) -> float:
        """Return the seconds until there may be something to tell that the board does not announce."""
        return max(0.01, min(self._next_beat - now, 0.5, self._limits.stale_s / 4))

    def _parts(self, view: View, status: Status, now: float) -> Iterator[bytes]:
        self.version = view.version
        if self._told is None:
            yield b"retry: 1000\n\n"
            self._bundle = view.bundle
            yield event("hello", self._hello(view))
        key = status.state, status.since, status.reason, status.reconnects, status.live
        # A stalled source's `since` is computed, but from what stands still; so it is the same each time.
        if key != self._told:
            self._told = key
            yield event("health", status.to_json(now))
        if view.bundle != self._bundle:
            self._bundle = view.bundle
            yield event("bundle", _which(view.bundle))
        report = self._board.bin()
        if report is not None and self._is_news(report, now):
            self._bin, self._next_bin = report, now + 1 / self._limits.events_per_s
            yield event("bin", {**report.to_json(now), "last": [_short(e) for e in report.last]})
        if view.result is None or view.result.index == self._index:
            return
        if now < self._next_result:
            self._held_back = True
            return
        self._held_back = False
        self._next_result = now + 1 / self._limits.events_per_s
        yield event("result", self._result(view, status, now))
        self._index = view.result.index

    def _is_news(self, report: BinReport, now: float) -> bool:
        """Return whether to tell it: at once of a new state, else as often as results."""
        if self._bin is None or report.state is not self._bin.state:
            return True
        return now >= self._next_bin and report != self._bin

    def _hello(self, view: View) -> dict[str, JsonValue]:
        return {
            "title": self._title,
            "version": __version__,
            "bundle": _which(view.bundle),
            "labels": list(view.labels),
            "history": _HISTORY,
            "stale_s": self._limits.stale_s,
            "heartbeat_s": self._limits.heartbeat_s,
        }

    def _result(self, view: View, status: Status, now: float) -> dict[str, JsonValue]:
        assert view.result is not None
        newest = view.result.index
        after = self._index if newest > self._index else -1  # a new loop counts from 0 again
        past: list[JsonValue] = [
            [p.index, p.label, p.score, p.time, p.tray]
            for p in self._board.history(after, _HISTORY)
            if p.index <= newest  # others come with the next one
        ]
        return {
            **view.result.to_json(),
            "live": status.live,
            "frame_age_ms": view.result.frame.age_ms(now),
            "fps": self._board.rate(),
            "past": past,
        }


def _which(bundle: BundleIdentity | None) -> JsonValue:
    return None if bundle is None else bundle.to_json()


def _short(event: BinEvent) -> JsonValue:
    """Return what the page shows of an event."""
    whole = event.to_json()
    return {key: whole[key] for key in ("item", "time", "label", "bin", "probability", "seconds", "reason")}


def _finite(value: JsonValue) -> JsonValue:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_finite(v) for v in value]
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return value
