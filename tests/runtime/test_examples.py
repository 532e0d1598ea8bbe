"""Facts about the programs to start from: they run, they end as they say, and their hardware is fail-safe."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from tests.runtime.test_sink_base import PROMPT, hurried

from ecovision_edge.events import BinEvent, BinState
from ecovision_edge.examples import smart_bin
from ecovision_edge.examples.smart_bin import Flap, Motor

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
SMALL = "width=160&height=120"
SIGNALS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


def started(*arguments):
    command = [sys.executable, "-m", "ecovision_edge.examples.smart_bin", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


@pytest.mark.slow
def test_it_runs_to_the_end_of_what_there_is_to_see(tmp_path):
    """One item: the flap turns and goes back, the event is in the file, the health in the log; status 0."""
    with started("--source", f"demo:?frames=110&{SMALL}", "--events", tmp_path / "events.jsonl") as process:
        _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    [event] = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert event["bin"] in ("recycling", "compost", "landfill", "special")
    lines = said.splitlines()
    assert "camera RUNNING" in said
    assert "flap: 1 delivered, 0 dropped" in lines[-2]
    turns = [line.split()[-2] for line in lines if "flap at" in line]
    assert turns[0] == turns[-1]  # the fail-safe position
    assert lines[0].endswith(f"flap at {turns[0]} degrees")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_in_order(number):
    """The flap goes to its fail-safe position, and the status is 0."""
    with started("--source", f"demo:?fps=30&{SMALL}") as process:
        said = []
        for line in process.stderr:
            said.append(line)
            if "camera RUNNING" in line:
                process.send_signal(number)
        process.wait(60)
    assert process.returncode == 0, said
    assert any(f"ending: {number.name}" in line for line in said)
    assert "fault: stopped" in "".join(said)


@pytest.mark.slow
def test_its_duration_is_bounded():
    """And it ends by itself."""
    with started("--source", f"demo:?fps=30&{SMALL}", "--duration", "500ms") as process:
        _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--source", "demo:?fsp=3"], 2),
        (["--duration", "soon", "--source", "demo:"], 2),
        (["--rules", "/no/such/rules.toml"], 2),
        (["--source", "demo:", "--duration", "1s", "--events", os.devnull + "/events.jsonl"], 2),
        (["--source", "/no/such/clip.mp4"], 1),
        (["--source", "/dev/video97", "--duration", "50ms"], 1),
    ],
)
def test_its_exit_status_says_what_was_wrong(arguments, status, caplog, monkeypatch):
    """In one line of the log."""
    monkeypatch.setattr("logging.basicConfig", lambda **given: None)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        assert smart_bin.main(arguments) == status
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    [error] = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert "\n" not in error


class Bench(Motor):
    """Keeps what it was told, and fails when it is to."""

    def __init__(self):
        self.did, self.failures = [], []

    def open(self):
        self.did.append("open")

    def turn(self, degrees):
        if self.failures and (failure := self.failures.pop(0)):
            raise failure
        self.did.append(degrees)

    def close(self):
        self.did.append("close")


def event(number=0):
    return BinEvent(
        **{"id": f"run-{number}", "sequence": number, "item": number, "time": None, "monotonic": 1.0},
        **{"label": "paper", "bin": "a", "probability": 0.9, "margin": 0.8, "frames": 5, "seconds": 1.0},
        reason="because",
    )


@pytest.fixture
def motor(monkeypatch):
    monkeypatch.setattr(smart_bin, "FALL", 0.0)
    return Bench()


def flap_of(motor):
    return hurried(Flap(motor, {"a": -60.0, "b": 60.0}, "b"))


def test_the_flap_is_at_its_fail_safe_position_but_for_an_item(motor):
    """From the start to the end."""
    with flap_of(motor) as flap:
        flap.show(BinState.EMPTY)
        flap.put(event())
        assert flap.flush(PROMPT)
    assert motor.did == ["open", 60.0, -60.0, 60.0, 60.0, "close"]


def test_a_motor_that_fails_is_opened_anew_and_goes_home_first(motor):
    """The item is then served, whatever it was that failed."""
    with flap_of(motor) as flap:
        flap.show(BinState.EMPTY)
        motor.failures = [None, OSError("no power"), None]
        flap.put(event())
        assert flap.flush(PROMPT)
        assert (flap.stats.delivered, flap.stats.retries) == (1, 1)
    assert motor.did[:5] == ["open", 60.0, 60.0, "close", "open"]
    assert motor.did[5:8] == [60.0, -60.0, 60.0]


def test_a_motor_that_fails_twice_in_a_row_is_closed_all_the_same(motor):
    """A device that is held for ever could not be opened again."""
    with flap_of(motor) as flap:
        flap.show(BinState.EMPTY)
        motor.failures = [None, OSError("no power"), OSError("no power")]
        flap.put(event())
        assert flap.flush(PROMPT)
        assert flap.stats.delivered == 1
    assert motor.did[:5] == ["open", 60.0, "close", "open", 60.0]


def test_in_a_fault_nothing_falls(motor):
    """The event is dropped: its item goes into the fail-safe bin."""
    with flap_of(motor) as flap:
        flap.show(BinState.FAULT, "no frames")
        flap.put(event())
        assert flap.flush(PROMPT)
        assert (flap.stats.delivered, flap.stats.dropped) == (0, 1)
    assert -60.0 not in motor.did
