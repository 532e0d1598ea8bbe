"""When to believe a result: VALID, or INVALID with each reason; and what could not be looked at."""

from __future__ import annotations

from collections.abc import Sequence

from ecovision_edge.base.device import CpuTimes, DeviceState
from ecovision_edge_bench.measure.percentiles import percentile
from ecovision_edge_bench.measure.result import Row
from ecovision_edge_bench.measure.settings import Settings

__all__ = ["Load", "device_reasons", "other_load", "row_reasons", "unread_note"]

Load = dict[str, float | None]


def row_reasons(row: Row, settings: Settings) -> list[str]:
    """Return what speaks against one subject's figures."""
    s = row.samples
    if s.error is not None:
        return [s.error]
    if not len(s):
        return ["no samples"]
    reasons = []
    if settings.sustained_secs is None:
        if len(s) < settings.min_count:
            reasons.append(f"too few samples: expected {settings.min_count}, found {len(s)}")
        if s.measured_s < settings.min_secs:
            reasons.append(f"too short: expected {settings.min_secs:g} s, found {s.measured_s:.1f}")
    total = s.total_ms
    middle = percentile(total, 50)
    spread = (percentile(total, 90) - percentile(total, 10)) / middle
    if spread > settings.max_spread:
        reasons.append(f"spread: (p90 - p10) / p50 expected <= {settings.max_spread:g}, found {spread:.2f}")
    return reasons


def other_load(before: CpuTimes | None, after: CpuTimes | None, own_cpu_s: float, seconds: float) -> Load:
    """Cores that other programs kept busy (`busy`), and that other virtual machines took (`stolen`).

    None where the kernel does not say.
    """
    if before is None or after is None or seconds <= 0:
        return {"busy": None, "stolen": None}
    return {
        "busy": max(0.0, after.busy - before.busy - own_cpu_s) / seconds,
        "stolen": max(0.0, after.stolen - before.stolen) / seconds,
    }


def device_reasons(states: Sequence[DeviceState], load: Load, settings: Settings) -> list[str]:
    """Say what speaks against the whole run: the machine's states over it, first to last, and other load."""
    first, last = states[0], states[-1]
    reasons = []
    for name, what in (("busy", "other programs kept"), ("stolen", "other virtual machines took")):
        cores = load[name]
        if cores is not None and cores > settings.max_other_load:
            reasons.append(f"other load: {what} {cores:.2f} cores, expected <= {settings.max_other_load:g}")
    slow = sorted({g for s in states for g in s.governors or () if g != "performance"})
    if slow:
        reasons.append(
            f"governor: expected performance, found {', '.join(slow)} "
            "(sudo cpupower frequency-set -g performance)"
        )
    throttled = sorted({t for s in states if s.throttling for t in s.throttling.now})
    if throttled:
        reasons.append(f"the processor reports: {', '.join(throttled)}")
    fresh = _since(first, last)
    if fresh:
        reasons.append(f"during the run the processor reported: {', '.join(fresh)}")
    limit, most = last.frequency_limit_mhz, last.max_frequency_mhz
    if limit is not None and most is not None and limit < most:
        reasons.append(f"frequency limited to {limit:.0f} MHz of {most:.0f}")
    temperatures = [s.temperature_c for s in states if s.temperature_c is not None]
    if temperatures and max(temperatures) - temperatures[0] > settings.max_warming_c:
        reasons.append(
            f"temperature rose by {max(temperatures) - temperatures[0]:.0f} degrees C, "
            f"expected <= {settings.max_warming_c:g}"
        )
    return reasons


def unread_note(state: DeviceState, load: Load) -> str | None:
    """Return what could not be looked at here, in one line."""
    unread = [*state.unread, *(["other load"] if load["busy"] is None else [])]
    return f"not readable on this machine: {', '.join(unread)}" if unread else None


def _since(first: DeviceState, last: DeviceState) -> list[str]:
    """Throttling that began during the run, by the bits and counters that the kernel keeps since boot."""
    a, b = first.throttling, last.throttling
    if a is None or b is None:
        return []
    found = [t for t in b.since_boot if t not in a.since_boot]
    if a.events is not None and b.events is not None and b.events > a.events:
        found.append(f"{b.events - a.events} thermal throttle events")
    return found
