"""VALID or INVALID, each reason by itself."""

from __future__ import annotations

import dataclasses

import pytest

from ecovision_edge.base.device import CpuTimes, DeviceState, Throttling
from ecovision_edge_bench.measure.result import Row
from ecovision_edge_bench.measure.schedule import Samples
from ecovision_edge_bench.measure.settings import Settings
from ecovision_edge_bench.measure.validity import device_reasons, other_load, row_reasons, unread_note

SETTINGS = Settings(min_secs=1.0, min_count=10, max_spread=0.5, max_other_load=0.15, max_warming_c=15.0)
QUIET = {"busy": 0.02, "stolen": 0.0}
GOOD = DeviceState(("performance",), 1800.0, 1800.0, 1800.0, 50.0, Throttling("vcgencmd"))
UNKNOWN = DeviceState(None, None, None, None, None, None)


def row(infer_ms: list[float], measured_s: float = 5.0, error: str | None = None) -> Row:
    """A row of those samples."""
    n = len(infer_ms)
    samples = Samples([0.0] * n, [0] * n, [0.0] * n, infer_ms, [0.0] * n, measured_s, 5, error)
    return Row("a 1t", "a", "int8", 1, True, "engine 1", "0" * 64, 1, "none", samples=samples)


def test_a_good_row_and_a_good_machine_have_no_reason() -> None:
    """VALID."""
    assert row_reasons(row([1.0] * 100), SETTINGS) == []
    assert device_reasons([GOOD, GOOD], QUIET, SETTINGS) == []


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row([1.0] * 9), "too few samples: expected 10, found 9"),
        (row([1.0] * 100, measured_s=0.9), "too short: expected 1 s, found 0.9"),
        (row([1.0] * 50 + [2.0] * 50), "spread: (p90 - p10) / p50 expected <= 0.5, found 1.00"),
        (row([1.0] * 100, error="it crashed"), "it crashed"),
        (row([]), "no samples"),
    ],
)
def test_each_reason_against_a_row(bad: Row, reason: str) -> None:
    """What was expected, and what was found."""
    assert row_reasons(bad, SETTINGS) == [reason]


@pytest.mark.parametrize(
    ("states", "load", "word"),
    [
        ([GOOD, GOOD], {"busy": 0.5, "stolen": 0.0}, "other programs kept 0.50 cores"),
        ([GOOD, GOOD], {"busy": 0.0, "stolen": 0.3}, "other virtual machines took 0.30 cores"),
        ([GOOD, dataclasses.replace(GOOD, governors=("ondemand", "performance"))], QUIET, "found ondemand"),
        (
            [GOOD, dataclasses.replace(GOOD, throttling=Throttling("v", now=("under-voltage",))), GOOD],
            QUIET,
            "the processor reports: under-voltage",
        ),
        (
            [GOOD, dataclasses.replace(GOOD, throttling=Throttling("v", since_boot=("throttled",)))],
            QUIET,
            "during the run the processor reported: throttled",
        ),
        (
            [
                dataclasses.replace(GOOD, throttling=Throttling("x", events=3)),
                dataclasses.replace(GOOD, throttling=Throttling("x", events=5)),
            ],
            QUIET,
            "2 thermal throttle events",
        ),
        ([GOOD, dataclasses.replace(GOOD, frequency_limit_mhz=1200.0)], QUIET, "1200 MHz of 1800"),
        ([GOOD, dataclasses.replace(GOOD, temperature_c=66.0), GOOD], QUIET, "rose by 16 degrees"),
    ],
)
def test_each_reason_against_a_run(states: list[DeviceState], load: dict[str, float], word: str) -> None:
    """One at a time, wherever in the run it showed."""
    (reason,) = device_reasons(states, load, SETTINGS)
    assert word in reason


def test_throttling_of_long_ago_is_no_reason() -> None:
    """Bits that were set before the run began."""
    old = dataclasses.replace(GOOD, throttling=Throttling("v", since_boot=("throttled",), events=7))
    assert device_reasons([old, old], QUIET, SETTINGS) == []


def test_what_cannot_be_read_is_no_reason_but_is_said() -> None:
    """By name."""
    load = other_load(None, None, 1.0, 1.0)
    assert device_reasons([UNKNOWN, UNKNOWN], load, SETTINGS) == []
    note = unread_note(UNKNOWN, load)
    assert note is not None
    for word in ("governor", "frequency", "temperature", "throttling", "other load"):
        assert word in note
    assert unread_note(GOOD, QUIET) is None


def test_other_load_leaves_out_our_own() -> None:
    """Over 10 s all cores did 12 s of work, 11 of it ours, and lost 1 s to other machines."""
    load = other_load(CpuTimes(100.0, 5.0), CpuTimes(112.0, 6.0), 11.0, 10.0)
    assert load == {"busy": pytest.approx(0.1), "stolen": pytest.approx(0.1)}


def test_a_sustained_row_needs_no_count() -> None:
    """It lasts as long as it was told to."""
    sustained = dataclasses.replace(SETTINGS, sustained_secs=60.0)
    assert row_reasons(row([1.0] * 3, measured_s=0.5), sustained) == []
