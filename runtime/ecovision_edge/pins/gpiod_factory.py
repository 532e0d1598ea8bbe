"""Pins for gpiozero by the kernel's character device (libgpiod's package `gpiod`): all but PWM.

gpiozero's own factories need lgpio, which has no wheel for Python 3.13 and newer on Arm, or bang on the
processor's registers. A line is asked for when the pin gets a function, and given back when it is closed.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import gpiod  # type: ignore[import-not-found,unused-ignore]
from gpiod.line import Bias, Direction, Edge, Value  # type: ignore[import-not-found,unused-ignore]
from gpiozero.exc import (  # type: ignore[import-untyped,unused-ignore]
    PinFixedPull,
    PinInvalidBounce,
    PinInvalidEdges,
    PinInvalidFunction,
    PinInvalidPull,
    PinSetInput,
)
from gpiozero.pins.local import LocalPiFactory, LocalPiPin  # type: ignore[import-untyped,unused-ignore]

from ecovision_edge.base.reasons import reason_of
from ecovision_edge.errors import PinError
from ecovision_edge.pins.chips import find_header

__all__ = ["CONSUMER", "GpiodFactory", "GpiodPin"]

CONSUMER = "ecovision-edge"
"""Who holds a line, as `gpioinfo` shows it."""

_LOGGER = logging.getLogger("ecovision_edge")
_PULLS = {"up": Bias.PULL_UP, "down": Bias.PULL_DOWN, "floating": Bias.DISABLED}
_EDGES = {"both": Edge.BOTH, "rising": Edge.RISING, "falling": Edge.FALLING, "none": Edge.NONE}


class GpiodFactory(LocalPiFactory):  # type: ignore[misc,unused-ignore]
    """Makes the pins of the header.

    Raises:
        PinError: there is no such chip, or it may not be opened.
    """

    def __init__(self) -> None:
        super().__init__()
        self.chip = find_header(gpiod)
        self.pin_class = GpiodPin


class GpiodPin(LocalPiPin):  # type: ignore[misc,unused-ignore]
    """One pin: gpiozero asks and sets by the `_get_` and `_set_` methods."""

    def __init__(self, factory: GpiodFactory, info: Any) -> None:  # noqa: ANN401 - gpiozero's PinInfo, untyped
        super().__init__(factory, info)
        self._request: Any = None
        self._watcher: _Watcher | None = None
        self._reset()

    def close(self) -> None:
        """Let the line go, as an input: a relay falls off."""
        self.when_changed = None
        if self._request is not None:
            self._reset()
            with contextlib.suppress(OSError):
                self._apply()
            self._request.release()
            self._request = None

    def output_with_state(self, state: bool) -> None:
        """Become an output that has this level from the start: a relay does not click in between."""
        self._direction, self._level = Direction.OUTPUT, bool(state)
        self._apply()

    def input_with_pull(self, pull: str) -> None:
        """Become an input with this resistor."""
        self._direction = Direction.INPUT
        self._set_pull(pull)

    def _reset(self) -> None:
        self._direction, self._bias, self._level = Direction.INPUT, Bias.DISABLED, False
        self._edges, self._bounce = "both", 0.0

    def _apply(self) -> None:
        """Ask the kernel for the line as it should be now; raises PinError."""
        output = self._direction is Direction.OUTPUT
        settings = gpiod.LineSettings(
            direction=self._direction,
            bias=Bias.AS_IS if output else self._bias,
            edge_detection=Edge.NONE if self._watcher is None else _EDGES[self._edges],
            debounce_period=timedelta(seconds=0 if output else self._bounce),
            output_value=Value.ACTIVE if output and self._level else Value.INACTIVE,
        )
        try:
            if self._request is None:
                self._request = gpiod.request_lines(
                    str(self.factory.chip), config={self._number: settings}, consumer=CONSUMER
                )
            else:
                self._request.reconfigure_lines({self._number: settings})
        except OSError as e:
            raise self._error(e) from e

    def _error(self, error: OSError) -> PinError:
        chip = self.factory.chip
        if error.errno != errno.EBUSY:
            return PinError(f"{self!r} of {chip} cannot be used", found=reason_of(error))
        holder = ""
        with contextlib.suppress(OSError), gpiod.Chip(str(chip)) as opened:
            holder = opened.get_line_info(self._number).consumer
        return PinError(
            f"{self!r} of {chip} is held by another process",
            found=holder or None,
            fix="end that program, or take another pin (gpioinfo shows who holds which)",
        )

    def _get_function(self) -> str:
        return "output" if self._direction is Direction.OUTPUT else "input"

    def _set_function(self, value: str) -> None:
        if value not in ("input", "output"):
            raise PinInvalidFunction(f'invalid function "{value}" for pin {self!r}')
        self._direction = Direction.OUTPUT if value == "output" else Direction.INPUT
        self._level = False
        self._apply()

    def _get_state(self) -> bool:
        if self._request is None:
            self._apply()
        return bool(self._request.get_value(self._number) is Value.ACTIVE)

    def _set_state(self, value: float) -> None:
        if self._direction is not Direction.OUTPUT:
            raise PinSetInput(f"cannot set state of pin {self!r}")
        self._level = bool(value)
        self._request.set_value(self._number, Value.ACTIVE if self._level else Value.INACTIVE)

    def _get_pull(self) -> str:
        return next(name for name, bias in _PULLS.items() if bias is self._bias)

    def _set_pull(self, value: str) -> None:
        if value not in _PULLS:
            raise PinInvalidPull(f'invalid pull "{value}" for pin {self!r}')
        if self._direction is not Direction.INPUT:
            raise PinFixedPull(f"cannot set pull on non-input pin {self!r}")
        if self.info.pull not in (value, ""):
            raise PinFixedPull(f"{self!r} has a physical pull-{self.info.pull} resistor")
        self._bias = _PULLS[value]
        self._apply()

    def _get_bounce(self) -> float | None:
        return self._bounce or None

    def _set_bounce(self, value: float | None) -> None:
        if value is not None and value < 0:
            raise PinInvalidBounce("bounce must be 0 or greater")
        self._bounce = value or 0.0
        self._apply()

    def _get_edges(self) -> str:
        return self._edges

    def _set_edges(self, value: str) -> None:
        if value not in _EDGES:
            raise PinInvalidEdges(f'invalid edges "{value}" for pin {self!r}')
        self._edges = value
        self._apply()

    def _enable_event_detect(self) -> None:
        watcher = self._watcher = _Watcher(f"{CONSUMER} {self!r}")
        try:
            self._apply()
        except PinError:
            self._watcher = None
            watcher.stop()
            raise
        watcher.start(self._request, self._on_event)

    def _disable_event_detect(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.stop()
            self._apply()

    def _on_event(self, event: Any) -> None:  # noqa: ANN401 - gpiod's EdgeEvent
        rising = event.event_type is event.Type.RISING_EDGE
        self._call_when_changed(event.timestamp_ns / 1e9, int(rising))  # by the monotonic clock, as ticks()


class _Watcher:
    """A thread that reads the edges of one request, until it is stopped."""

    def __init__(self, name: str) -> None:
        self._ends = os.pipe()  # a byte in it ends the thread
        self._name = name
        self._left = False
        self._thread: threading.Thread | None = None

    def start(self, request: Any, call: Callable[[Any], None]) -> None:  # noqa: ANN401 - gpiod's LineRequest
        self._thread = threading.Thread(target=self._run, args=(request, call), name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Return when it reads no more; once. What it calls may stop it too: it ends as it returns."""
        if self._thread is threading.current_thread():
            self._left = True
            return
        if self._thread is not None:
            os.write(self._ends[1], b"\0")
            self._thread.join()
        self._close()

    def _run(self, request: Any, call: Callable[[Any], None]) -> None:  # noqa: ANN401 - gpiod's LineRequest
        stopped = self._ends[0]
        try:
            while stopped not in select.select([request.fd, stopped], [], [])[0]:
                for event in request.read_edge_events():
                    call(event)
                    if self._left:  # by what was called
                        self._close()
                        return
        except OSError as e:
            _LOGGER.warning("%s: no more edges: %s", self._name, reason_of(e))

    def _close(self) -> None:
        for end in self._ends:
            os.close(end)
