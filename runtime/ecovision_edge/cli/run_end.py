"""The end of `run`: its summary, and what makes it a failure all the same."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ecovision_edge.base.fields import canonical_json
from ecovision_edge.base.files import one_name
from ecovision_edge.camera.health import HealthState
from ecovision_edge.cli.output import tell, write_file
from ecovision_edge.errors import CaptureError, OptionError, SinkError

if TYPE_CHECKING:
    from ecovision_edge.loop import CameraLoop, LoopSummary
    from ecovision_edge.sinks import Sink

__all__ = ["check_apart", "check_end", "summed_up"]


def check_apart(summary: Path | None, sinks: Sequence[Sink]) -> None:
    """Refuse a summary that would take the place of a sink's events."""
    for sink in sinks:
        if summary is not None and f"file {one_name(summary)}" in sink.claims():
            raise OptionError(
                f"--summary {summary}", expected="a file of its own", found=f"that of {sink.name}"
            )


def check_end(summary: LoopSummary, duration: float | None, sinks: Sequence[Sink]) -> None:
    """Raise what makes a run that ended in order a failure all the same; `duration` is how long it had."""
    if duration is not None:
        _check_seen(summary, duration)
    _check_delivered(sinks)


def _check_seen(summary: LoopSummary, seconds: float) -> None:
    """Raise CaptureError if nothing was looked at in the time that was given: such a run shows nothing."""
    if summary.looked_at:
        return
    given = f"{summary.frames} frames, too late or too old" if summary.frames else "no frame"
    raise CaptureError(f"nothing was looked at within {seconds:g} s", found=f"{summary.source} gave {given}")


def _check_delivered(sinks: Sequence[Sink]) -> None:
    """Raise SinkError if there were events, and none was delivered or is kept for the next start."""
    stats = {sink.name: sink.stats for sink in sinks}
    taken, dropped = (sum(getattr(s, name) for s in stats.values()) for name in ("taken", "dropped"))
    if not dropped or dropped < taken:
        return
    why = (f"{name} dropped {s.dropped}{_because(name, s.error)}" for name, s in stats.items())
    raise SinkError("every event was dropped", found=", ".join(why))


def _because(name: str, error: str) -> str:
    return f" ({error.removeprefix(f'{name} ')})" if error else ""


@contextlib.contextmanager
def summed_up(loop: CameraLoop, target: Path | None, *, quiet: bool) -> Iterator[None]:
    """Sum up at the end, whatever it is."""
    try:
        yield
    finally:
        _sum_up(loop.summary(), target, quiet=quiet)


def _sum_up(summary: LoopSummary, target: Path | None, *, quiet: bool) -> None:
    if target is not None:
        write_file([canonical_json(summary.to_json())], target, "--summary")
    if not quiet and (summary.frames or summary.health.state is not HealthState.FAILED):
        tell("".join(f"{line}\n" for line in summary.lines()))
