"""The kills of a whole bin, and what became of its events."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ecovision_edge.errors import OptionError, SinkError
from ecovision_edge_bench.power_cut.bin import ANGLES, BINS, FAILSAFE
from ecovision_edge_bench.power_cut.broker import Mosquitto, Subscriber
from ecovision_edge_bench.power_cut.receiver import Board, Twin

__all__ = ["CutReport", "SinkTally", "cut_power"]

_PATIENCE = 60.0  # seconds: a safety net, nowhere expected to pass
_EARLY = 0.2  # share of the runs that are killed in their start
_STARTING = 0.8  # seconds: about as long as a start takes
_ENOUGH = 120  # lines that a run says at most before it is killed
_SPOIL = 0.001  # of the bytes of the serial line


@dataclass(frozen=True, slots=True)
class SinkTally:
    """What became of what one sink acknowledged.

    Args:
        acknowledged: Events that it acknowledged to its producer.
        received: Of those, events that were received: all of them, if all is well.
        more: Events received that were never acknowledged, as a kill came between.
        twice: Events received more than once.
    """

    acknowledged: int
    received: int
    more: int
    twice: int

    @property
    def lost(self) -> int:
        """Acknowledged, and not received."""
        return self.acknowledged - self.received


@dataclass(frozen=True, slots=True)
class CutReport:
    """What `cut_power` found.

    Args:
        kills: Processes that were killed; one more was started after the last, and ended in peace.
        in_start: Of those, killed before they had decided anything.
        decided: Events of the bins.
        sinks: Of `file`, `mqtt` and `serial`.
        broken_lines: Of the files, at the end.
        positioned: Runs in which the servo got a position.
        unsafe_starts: Of those, runs whose first position was another than the fail-safe one.
    """

    kills: int
    in_start: int
    decided: int
    sinks: dict[str, SinkTally]
    broken_lines: int
    positioned: int
    unsafe_starts: int

    def problems(self) -> list[str]:
        """Return what did not hold, a line each; none if all is well."""
        found = []
        for name, tally in self.sinks.items():
            if tally.lost:
                found.append(f"{name}: {tally.lost} acknowledged events were lost")
            if tally.twice > (self.kills if name == "mqtt" else 0):
                found.append(f"{name}: {tally.twice} events came twice")
            if not tally.acknowledged:
                found.append(f"{name}: nothing was acknowledged, so nothing is proved")
        if self.broken_lines:
            found.append(f"file: {self.broken_lines} lines are broken")
        if self.unsafe_starts or not self.positioned:
            found.append(f"gpio: {self.unsafe_starts} of {self.positioned} starts were not fail-safe")
        return found

    def lines(self) -> list[str]:
        """Return a table, for people."""
        rows = [
            f"{'sink':8} {'acknowledged':>12} {'received':>9} {'lost':>5} {'twice':>6} {'unacknowledged':>15}"
        ]
        rows += [
            f"{name:8} {t.acknowledged:12} {t.received:9} {t.lost:5} {t.twice:6} {t.more:15}"
            for name, t in self.sinks.items()
        ]
        return [
            f"{self.kills} kills, {self.in_start} of them before anything was decided; {self.decided} events",
            *rows,
            f"broken lines in the files: {self.broken_lines}",
            f"first position after a start: fail-safe in {self.positioned - self.unsafe_starts}"
            f" of {self.positioned}",
        ]


@dataclass(slots=True)
class _Run:
    """What one process said."""

    labels: dict[str, str] = field(default_factory=dict)  # of its events, by id
    acknowledged: dict[str, list[str]] = field(default_factory=lambda: {"file": [], "mqtt": [], "serial": []})
    positions: list[str] = field(default_factory=list)

    def take(self, line: str) -> None:
        what, *rest = line.split()
        if what == "position":
            self.positions += [rest[0]] if rest[0] != "none" else []
            return
        self.labels[rest[0]] = rest[1]
        if what != "put":
            self.acknowledged[what].append(rest[0])


class _Process:
    """One bin; `said` grows as it speaks."""

    def __init__(self, number: int, folder: Path, port: int) -> None:
        self.said = _Run()
        self._enough = threading.Condition()
        self._lines, self._over = 0, False
        self._errors = (folder / "stderr.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ecovision_edge_bench.power_cut.bin", str(number), str(folder), str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith("\n"):
                self.said.take(line)
            with self._enough:
                self._lines += 1
                self._enough.notify_all()
        with self._enough:
            self._over = True
            self._enough.notify_all()

    def listen(self, lines: int) -> None:
        """Wait until it has said so many lines; raises SinkError if it never does."""
        with self._enough:
            if not self._enough.wait_for(lambda: self._lines >= lines or self._over, _PATIENCE):
                raise SinkError("a bin says nothing", found=f"{self._lines} lines")
        if self._over:
            self._process.wait(_PATIENCE)
            raise self._failure()

    def _failure(self) -> SinkError:
        log = Path(self._errors.name).read_text("utf-8", "replace").splitlines()
        return SinkError("a bin ended", found=f"status {self._process.returncode}, {log[-1:]}")

    def kill(self) -> _Run:
        """At once."""
        self._process.kill()
        return self._gone()

    def end(self) -> _Run:
        """In peace; raises SinkError if its exit status is not 0."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        said = self._gone()
        if self._process.returncode:
            raise self._failure()
        return said

    def _gone(self) -> _Run:
        self._process.wait(_PATIENCE)
        self._reader.join(_PATIENCE)
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        return self.said


def cut_power(
    folder: Path, kills: int, *, seed: int = 0, progress: Callable[[int], object] = lambda done: None
) -> CutReport:
    """Kill a bin so many times at random moments, start it once more, and count.

    Args:
        folder: For all files; there, and empty.
        kills: At least 1.
        seed: Of the moments.
        progress: Called with the number of kills so far.

    Raises:
        OptionError: `kills` is below 1.
        SinkError: a bin or the broker does not run.
        MissingDependencyError: mosquitto or a sink's library is not installed.
    """
    if kills < 1:
        raise OptionError("kills", expected="1 or more", found=kills)
    chance, runs = random.Random(seed), []  # noqa: S311 - nothing secret
    (folder / "broker").mkdir()
    board = Board(folder / "tty", Twin(bins=BINS), seed=seed, spoil=_SPOIL)
    board.start()
    try:
        with (
            Mosquitto(folder / "broker") as broker,
            Subscriber(broker.port, "cut/event") as listener,
        ):
            for number in range(kills):
                runs.append(_one_cut(_Process(number, folder, broker.port), chance))
                progress(number + 1)
            runs.append(_last_run(_Process(kills, folder, broker.port)))
            wanted = {i for run in runs for i in run.acknowledged["mqtt"]}
            with contextlib.suppress(SinkError):  # then they are lost, and the report says how many
                listener.wait(lambda: wanted <= set(listener.ids))
    finally:
        board.stop()
    return _report(runs, folder, board.twin, listener)


def _one_cut(process: _Process, chance: random.Random) -> _Run:
    pause = threading.Event()
    try:
        if chance.random() < _EARLY:
            pause.wait(chance.uniform(0, _STARTING))
        else:
            process.listen(chance.randint(1, _ENOUGH))
            pause.wait(chance.uniform(0, 0.02))
    finally:
        said = process.kill()
    return said


def _last_run(process: _Process) -> _Run:
    """It says something of each kind, and has time to bring what the others left."""
    try:
        process.listen(_ENOUGH)
    except BaseException:
        process.kill()
        raise
    return process.end()


def _report(runs: Sequence[_Run], folder: Path, twin: Twin, listener: Subscriber) -> CutReport:
    labels = {i: label for run in runs for i, label in run.labels.items()}
    acted = Counter(act[1] for act in twin.acts)
    lines = list(_file_lines(folder))
    whole = [event for event in map(_event_of, lines) if event is not None]
    labels |= {
        event["id"]: event["label"] for event in whole
    }  # of those that were killed before they said so
    by_label = {label: i for i, label in labels.items()}
    received = {
        "file": Counter(event["id"] for event in whole),
        "mqtt": listener.ids,
        "serial": Counter({by_label.get(label, label): n for label, n in acted.items()}),
    }
    first = [run.positions[0] for run in runs if run.positions]
    return CutReport(
        kills=len(runs) - 1,
        in_start=sum(not run.labels for run in runs),
        decided=len(labels),
        sinks={
            name: _tally({i for run in runs for i in run.acknowledged[name]}, received[name], listener)
            for name in received
        },
        broken_lines=len(lines) - len(whole),
        positioned=len(first),
        unsafe_starts=sum(float(position) != ANGLES[FAILSAFE] for position in first),
    )


def _tally(acknowledged: set[str], received: Counter[str], listener: Subscriber) -> SinkTally:
    # What the broker itself repeats to a subscriber, it marks; that is no second publication.
    twice = listener.doubled if received is listener.ids else sum(n > 1 for n in received.values())
    return SinkTally(
        acknowledged=len(acknowledged),
        received=len(acknowledged & set(received)),
        more=len(set(received) - acknowledged),
        twice=twice,
    )


def _file_lines(folder: Path) -> Iterator[bytes]:
    for path in folder.glob("events.jsonl*"):
        yield from path.read_bytes().splitlines(keepends=True)


def _event_of(line: bytes) -> dict[str, str] | None:
    """Read the event of a whole line; None if it holds no event."""
    try:
        event: dict[str, str] = json.loads(line)
    except ValueError:
        return None
    return event if line.endswith(b"\n") and isinstance(event, dict) and "id" in event else None
