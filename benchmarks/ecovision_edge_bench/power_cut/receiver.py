"""The other end of the serial line: a twin of the reference sketch, over a line that may spoil bytes."""

from __future__ import annotations

import os
import pty
import random
import select
import threading
import tty
from collections.abc import Iterable, Sequence
from pathlib import Path

from ecovision_edge.sinks._line import Line, LineReader, encode_line

__all__ = ["Board", "Twin"]

_SILENCE_MS = 5000
_WAIT = 30.0  # seconds: a safety net


def _is_hex(text: str, digits: int) -> bool:
    return len(text) == digits and set(text) <= set("0123456789ABCDEF")


class Twin:
    """The sketch's receiver, in Python; a test compares the two.

    Args:
        remembers: Whether its record outlives a loss of power, as the sketch's in EEPROM does.
        bins: The bins that it has, as on the line.
    """

    def __init__(
        self, *, remembers: bool = True, bins: Sequence[str] = ("paper", "glass", "metal%20cans")
    ) -> None:
        self.remembers, self.bins = remembers, bins
        self.record: tuple[str, int | None] | None = None  # session, last
        self.log: list[str] = []
        self.busy = False
        self.start()

    def start(self) -> None:
        """Its power comes."""
        if not self.remembers:
            self.record = None
        self.reader, self.greeted, self.fault = LineReader(">"), False, False
        self.heard: int | None = None
        self.log.append("rest")

    def feed(self, data: bytes, now: int = 0) -> bytes:
        """Take bytes from the line, at `now` ms; its answers."""
        answers = b""
        for line in self.reader.feed(data):
            self.heard = now
            answer = {"HELLO": self.hello, "EVENT": self.event, "STATE": self.state}.get(line.kind)
            if answer is not None:
                what, *more = answer(line).split()
                answers += encode_line(Line("<", line.number, what, (line.kind, *more)))
        return answers

    def tick(self, now: int) -> None:
        """Time passes: it rests if it hears nothing."""
        if self.heard is not None and now - self.heard >= _SILENCE_MS:
            self.heard = None
            self.log.append("rest")

    def hello(self, line: Line) -> str:
        """Return its answer to HELLO."""
        version, session, last = (*line.words, "", "", "")[:3]
        if version != "1":
            return "NAK version"
        if len(line.words) != 3 or not _is_hex(session, 8) or not (last == "-" or _is_hex(last, 4)):
            return "NAK form"
        if self.record is None or self.record[0] != session:
            self.record = session, None if last == "-" else int(last, 16)
        self.greeted = True
        return f"ACK 1 {'-' if self.record[1] is None else f'{self.record[1]:04X}'}"

    def event(self, line: Line) -> str:
        """Return its answer to EVENT; it records before it acts."""
        if len(line.words) != 3 or len(line.words[2]) > 4 or not set(line.words[2]) <= set("0123456789"):
            return "NAK form"
        name, label, permille = line.words[0], line.words[1], int(line.words[2])
        if permille > 1000:
            return "NAK form"
        if not self.greeted or self.record is None:
            return "NAK hello"
        if self.record[1] == line.number:
            return "ACK"
        if name not in self.bins:
            return "NAK bin"
        if self.fault:
            return "NAK fault"
        if self.busy:
            return "NAK busy"
        self.record = self.record[0], line.number
        self.log.append(f"act {name} {label} {permille}")
        return "ACK"

    def state(self, line: Line) -> str:
        """Return its answer to STATE."""
        if len(line.words) != 1:
            return "NAK form"
        if not self.greeted:
            return "NAK hello"
        fault = line.words[0] == "fault"
        if fault and not self.fault:
            self.log.append("rest")
        self.fault = fault
        return "ACK"

    @property
    def acts(self) -> list[list[str]]:
        """What it did: bin, label, per mille of each."""
        return [entry.split()[1:] for entry in self.log if entry.startswith("act")]


class Board(threading.Thread):
    """A twin on a pseudo-terminal at `path`, over a line that may spoil bytes.

    Once it has begun as many actions as `deadly` says, it dies before it answers, and comes back; and now and
    then, by chance, before it has looked.

    Args:
        path: Where a link to the terminal is made.
        twin: The receiver.
        seed: Of chance.
        spoil: Share of bytes that are lost, changed, or have another one before them, each way.
        die, busy: Share of reads before which it dies, and at which it is busy.
        deadly: Numbers of actions after which it dies.
    """

    def __init__(
        self,
        path: Path,
        twin: Twin,
        *,
        seed: int = 0,
        spoil: float = 0.0,
        die: float = 0.0,
        busy: float = 0.0,
        deadly: Iterable[int] = (),
    ) -> None:
        super().__init__(daemon=True)
        self.path, self.twin, self.rng = path, twin, random.Random(seed)  # noqa: S311 - nothing secret
        self.spoil, self.die, self.busy = spoil, die, busy
        self.deaths, self.deadly = 0, set(deadly)
        self.heard = bytearray()
        self.over, self.lock = threading.Event(), threading.Lock()
        self.master: int | None = None
        self.plug()

    def plug(self) -> None:
        """The device comes."""
        self.twin.start()
        self.master, slave = pty.openpty()
        tty.setraw(slave)
        self.path.symlink_to(os.ttyname(slave))
        self.slave = slave  # held, or the master's reads fail while nobody has opened it

    def pull(self) -> None:
        """The device is gone."""
        with self.lock:
            self.path.unlink()
            os.close(self.slave)
            if self.master is not None:
                os.close(self.master)
            self.master = None
            self.deaths += 1

    def line(self, data: bytes) -> bytes:
        """Return what comes out of the line for what goes in."""
        out = bytearray()
        for byte in data:
            if self.rng.random() < self.spoil:
                kind = self.rng.randrange(3)
                if kind:
                    out.append(self.rng.randrange(256))
                if kind < 2:
                    continue
            out.append(byte)
        return bytes(out)

    def run(self) -> None:
        """Run the thread."""
        while not self.over.is_set():
            if self._serve():
                self.pull()
                self.plug()

    def _serve(self) -> bool:
        """Look at the line once; whether it dies now."""
        with self.lock:
            if self.master is None or not select.select([self.master], [], [], 0.01)[0]:
                return False
            data = self.line(os.read(self.master, 4096))
            if self.rng.random() < self.die:
                return True
            self.twin.busy = self.rng.random() < self.busy
            answer = self.twin.feed(data)
            self.heard += data
            acts = len(self.twin.acts)
            if acts not in self.deadly:
                os.write(self.master, self.line(answer))
                return False
            self.deadly.remove(acts)
            return True

    def stop(self) -> None:
        """End the thread, and pull the device."""
        self.over.set()
        self.join(_WAIT)
        self.pull()
