"""A double of the package `gpiod` (2.5): chips that a test makes, and lines that it drives.

Its shape is compared with the real package in `test_pins`; no kernel is asked.
"""

from __future__ import annotations

import enum
import errno
import os
from dataclasses import dataclass
from datetime import timedelta


class Value(enum.Enum):
    INACTIVE = 0
    ACTIVE = 1


class Direction(enum.Enum):
    AS_IS = 1
    INPUT = 2
    OUTPUT = 3


class Bias(enum.Enum):
    AS_IS = 1
    UNKNOWN = 2
    DISABLED = 3
    PULL_UP = 4
    PULL_DOWN = 5


class Edge(enum.Enum):
    NONE = 1
    RISING = 2
    FALLING = 3
    BOTH = 4


@dataclass
class LineSettings:
    direction: Direction = Direction.AS_IS
    edge_detection: Edge = Edge.NONE
    bias: Bias = Bias.AS_IS
    drive: object = None
    active_low: bool = False
    debounce_period: timedelta = timedelta()
    event_clock: object = None
    output_value: Value = Value.INACTIVE


@dataclass(frozen=True)
class ChipInfo:
    name: str
    label: str
    num_lines: int


@dataclass(frozen=True)
class LineInfo:
    consumer: str


@dataclass(frozen=True)
class EdgeEvent:
    class Type(enum.Enum):
        RISING_EDGE = 1
        FALLING_EDGE = 2

    event_type: Type
    timestamp_ns: int
    line_offset: int
    global_seqno: int
    line_seqno: int


class Line:
    """What a test sees of a line: its settings, its level, and everything that was asked of it."""

    def __init__(self):
        self.settings, self.holder, self.level, self.log, self.request = None, None, False, [], None

    def drive(self, level, timestamp_ns=0):
        """An edge from outside; an event of it, where somebody asked for such."""
        self.level = level
        kind = EdgeEvent.Type.RISING_EDGE if level else EdgeEvent.Type.FALLING_EDGE
        asked = {Edge.BOTH, Edge.RISING if level else Edge.FALLING}
        if self.request is not None and self.settings.edge_detection in asked:
            self.request._tell(EdgeEvent(kind, timestamp_ns, 0, 0, 0))


class Board:
    """The chips of a test, by path: a label and lines, or the error that opening one raises."""

    def __init__(self):
        self.chips, self.lines = {}, {}

    def line(self, offset):
        return self.lines.setdefault(offset, Line())


BOARD = Board()


class Chip:
    def __init__(self, path):
        found = BOARD.chips.get(path)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if isinstance(found, OSError):
            raise found
        self._label = found

    def __enter__(self):
        return self

    def __exit__(self, exc_type, exc_value, traceback):
        return None

    def get_info(self):
        return ChipInfo("gpiochip", self._label, 54)

    def get_line_info(self, line):
        return LineInfo(BOARD.line(line).holder or "")


class LineRequest:
    def __init__(self, offset):
        self._line, self._ends, self._events = BOARD.line(offset), os.pipe(), []
        self._line.request = self

    def _tell(self, event):
        self._events.append(event)
        os.write(self._ends[1], b"\0")

    @property
    def fd(self):
        return self._ends[0]

    def get_value(self, line):
        return Value.ACTIVE if BOARD.line(line).level else Value.INACTIVE

    def set_value(self, line, value):
        BOARD.line(line).level = value is Value.ACTIVE
        BOARD.line(line).log.append(value)

    def reconfigure_lines(self, config):
        ((offset, settings),) = config.items()
        _apply(offset, settings)

    def read_edge_events(self, max_events=None):
        os.read(self._ends[0], 1)
        return [self._events.pop(0)]

    def release(self):
        self._line.holder = self._line.request = None
        for end in self._ends:
            os.close(end)


def request_lines(path, config, consumer=None, event_buffer_size=None, output_values=None):
    ((offset, settings),) = config.items()
    line = BOARD.line(offset)
    if line.holder is not None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
    line.holder = consumer
    request = LineRequest(offset)
    _apply(offset, settings)
    return request


def _apply(offset, settings):
    line = BOARD.line(offset)
    line.settings = settings
    if settings.direction is Direction.OUTPUT:
        line.level = settings.output_value is Value.ACTIVE
    line.log.append(settings)
