"""A bin's controller to start from: camera, decision, hardware of one's own, a log of events, an orderly end.

    python -m ecovision_edge.examples.smart_bin --source demo: --duration 30s --events events.jsonl

Copy it, and put your hardware in the place of `Motor`. Exit status: 0 when it was told to end (Ctrl-C,
SIGTERM, SIGHUP, `--duration`, the end of the files), 1 when the camera was lost for good or gave nothing
within `--duration`, 2 for misuse.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from ecovision_edge import Classifier, EcovisionError
from ecovision_edge.base.durations import parse_duration
from ecovision_edge.base.ending import end_though_a_thread_hangs
from ecovision_edge.camera import Health, HealthState, open_source
from ecovision_edge.errors import CaptureError, OptionError
from ecovision_edge.events import BinEvent, BinState
from ecovision_edge.loop import LoopOptions
from ecovision_edge.rules import Rules
from ecovision_edge.sinks import Sink
from ecovision_edge.sinks.lines import FileSink
from ecovision_edge.smart_bin import SmartBin

__all__ = ["Flap", "Motor", "main"]

FALL = 0.5  # seconds that an item needs
RULES = Path(str(resources.files("ecovision_edge"))) / "data" / "rules" / "us-single-stream.toml"
log = logging.getLogger("smart_bin")


class Motor:
    """What turns the flap. This one only says so: write your own driver here.

    It may block, and raise whatever it likes: it is called by the sink's thread alone, which tries again.
    """

    def open(self) -> None:
        """Take the device."""

    def turn(self, degrees: float) -> None:
        """Return when it stands there."""
        log.info("flap at %+.0f degrees", degrees)

    def close(self) -> None:
        """Give the device back."""


class Flap(Sink):
    """Turns to the bin of each event and back to the fail-safe one, where it also stands whenever in doubt.

    Args:
        motor: What turns it.
        angles: Of each bin, degrees.
        failsafe: The bin where what is not known for sure falls.
    """

    def __init__(self, motor: Motor, angles: Mapping[str, float], failsafe: str) -> None:
        # After ten seconds without success an item is no longer waited for: whoever brought it has gone.
        super().__init__("flap", max_age=10.0, most_delay=5.0)
        self._motor, self._angles, self._home = motor, angles, angles[failsafe]
        self._open, self._state = False, BinState.STARTING

    def connect(self) -> None:
        """At the start, and after each failure: first of all to the fail-safe position."""
        self._motor.open()
        self._open = True
        self._motor.turn(self._home)

    def deliver(self, event: BinEvent) -> None:
        """Let one item fall."""
        if not self._state.ready:  # an OptionError drops the event; what else is raised has it tried again
            raise OptionError(f"state at {event.id}", expected="no fault", found=str(self._state))
        self._motor.turn(self._angles[event.bin])
        time.sleep(FALL)  # nobody waits for this thread, but the next item
        self._motor.turn(self._home)

    def show_state(self, state: BinState, reason: str) -> None:
        """Starting is shown first; a fault whenever nothing can be said, and at the end."""
        self._state = state
        if not state.ready:
            log.log(logging.WARNING if state is BinState.FAULT else logging.INFO, "%s: %s", state, reason)
            self._motor.turn(self._home)

    def disconnect(self) -> None:
        """At the end, and after each failure."""
        if self._open:
            self._open = False
            try:
                self._motor.turn(self._home)
            finally:  # or it could not be opened again
                self._motor.close()


def _tell(health: Health) -> None:
    bad = health.state in (HealthState.STALLED, HealthState.RECONNECTING, HealthState.FAILED)
    log.log(logging.WARNING if bad else logging.INFO, "camera %s %s", health.state, health.reason)


def _run(options: argparse.Namespace) -> None:
    rules = Rules.load(options.rules)
    classifier = Classifier.load(options.bundle)
    rules.check(classifier.labels)
    step = 120 / max(1, len(rules.bins) - 1)
    angles = {name: -60 + step * n for n, name in enumerate(rules.bins)}
    sinks: list[Sink] = [Flap(Motor(), angles, rules.default)]
    if options.events:
        events = FileSink(options.events, fsync=True)
        events.check()  # a sink waits until its file can be written; whoever mistyped it would not
        sinks.append(events)
    duration = parse_duration(options.duration, "--duration") if options.duration else None

    asked: list[int] = []  # a handler does nothing else: it may interrupt whoever holds a lock
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: asked.append(number))
    with SmartBin(
        classifier,
        open_source(options.source),
        rules,
        sinks=sinks,
        loop_options=LoopOptions(duration=duration),
        on_event=lambda event: log.info("%s: %s", event.bin, event.reason),
        on_health=_tell,
    ) as smart_bin:
        smart_bin.start()
        while not asked and not smart_bin.wait(0.2):  # raises what ended it
            pass
        if asked:
            log.info("ending: %s", signal.Signals(asked[0]).name)
    summary = smart_bin.loop.summary()
    if duration is not None and not asked and not summary.looked_at:
        raise CaptureError(f"{summary.source} gave no frame within {options.duration}")
    for sink in sinks:
        log.info("%s: %d delivered, %d dropped", sink.name, sink.stats.delivered, sink.stats.dropped)


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to end; the exit status."""
    parser = argparse.ArgumentParser(prog="smart_bin", description="A smart bin.")
    parser.add_argument("--source", default="0", help="a camera, or demo:")
    parser.add_argument("--rules", type=Path, default=RULES, help="which label goes to which bin")
    parser.add_argument("--bundle", type=Path, help="default: the reference model")
    parser.add_argument("--events", type=Path, help="append each event to this file, as a line of JSON")
    parser.add_argument("--duration", help="end after this time: 90s, 30m")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        _run(options)
    except EcovisionError as e:
        log.error("%s", e)  # noqa: TRY400 - the message says it all; a traceback would not help
        return e.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(end_though_a_thread_hangs(main))  # in the camera's driver, for instance
