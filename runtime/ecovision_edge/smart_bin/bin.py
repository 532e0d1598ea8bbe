"""`SmartBin`: camera, classifier, decider and sinks together, in ten lines of a controller's code."""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ecovision_edge.base.closing import ClosedAtEnd
from ecovision_edge.camera.health import Health
from ecovision_edge.camera.source import CapturedFrame, FrameSource
from ecovision_edge.decision.decider import BinDecider
from ecovision_edge.decision.options import DeciderOptions
from ecovision_edge.decision.presence import PresenceGate
from ecovision_edge.decision.status import BinStatus
from ecovision_edge.decision.tray_file import TrayFile
from ecovision_edge.decision.verdict import EveryLabel, Sorting
from ecovision_edge.errors import OptionError
from ecovision_edge.events import BinEvent, BinState
from ecovision_edge.loop.camera_loop import CameraLoop
from ecovision_edge.loop.options import LoopOptions
from ecovision_edge.loop.result import LoopResult
from ecovision_edge.loop.summary import LoopSummary
from ecovision_edge.observation import Observation
from ecovision_edge.sinks._checks import check_sinks
from ecovision_edge.sinks.base import Sink
from ecovision_edge.sinks.bin_report import BinReport
from ecovision_edge.sinks.telling import STOPPED
from ecovision_edge.smart_bin.clock import BinClock
from ecovision_edge.smart_bin.defaults import bins_of, choose_decision, fit_options, identity_of
from ecovision_edge.smart_bin.status_board import StatusBoard
from ecovision_edge.triggers.base import Trigger, check_trigger

if TYPE_CHECKING:
    from ecovision_edge.classifier import Classifier

__all__ = ["SmartBin"]


class SmartBin(ClosedAtEnd):
    """Looks at a tray, decides what lies on it, and tells its sinks: one item, one event.

        >>> from ecovision_edge import Classifier
        >>> from ecovision_edge.camera import open_source
        >>> from ecovision_edge.smart_bin import SmartBin
        >>> with SmartBin(Classifier.load(), open_source("demo:?frames=100")) as smart_bin:
        ...     summary = smart_bin.run()
        >>> smart_bin.events[0].item
        0

    The decider is stepped on the loop's thread with each result, also while no frame comes. Of each frame the
    part that the item covers is classified, if there is one (`LoopResult.region`). Nothing that a sink does
    holds it up. The state is `starting` until the empty tray is learnt, and `fault` while the camera gives
    nothing and at the end, for sinks too. In files time goes by frames, however fast they are read: by the
    `fps` given to the source, or 15 a second.

    Args:
        classifier: What looks at the frames; its contract's thresholds are kept.
        source: Where they come from.
        rules: Which bin each label goes to (`ecovision_edge.rules.Rules`); None makes each label a bin.
        sinks: Told of events and states; started and closed with the bin.
        options: When a decision is made; None is what the rules say, and the defaults where they say nothing.
        trigger: Tells that an item came; started and closed with the bin, which waits for it whatever
            `options.gate` is. None without `options` is that of the rules.
        loop_options: Pace and limits of the loop.
        on_event: Called with each event, on the loop's thread, after the sinks have it. What it raises ends
            the bin.
        on_result, on_health, on_wait: As of `CameraLoop`.
        device: What the device calls itself; None is its host name.

    Raises:
        OptionError: a sink can never carry one of the names, or two would use the same file, line or pin.
        MissingDependencyError: the library of the rules' trigger is not installed.
    """

    def __init__(
        self,
        classifier: Classifier,
        source: FrameSource,
        rules: Sorting | None = None,
        *,
        sinks: Sequence[Sink] = (),
        options: DeciderOptions | None = None,
        trigger: Trigger | None = None,
        loop_options: LoopOptions | None = None,
        on_event: Callable[[BinEvent], None] | None = None,
        on_result: Callable[[LoopResult], None] | None = None,
        on_health: Callable[[Health], None] | None = None,
        on_wait: Callable[[], None] | None = None,
        device: str | None = None,
        tray: Path | None = None,
    ) -> None:
        self._sinks = tuple(sinks)
        self._on_event, self._on_result = on_event, on_result
        self._on_health, self._on_wait = on_health, on_wait
        device = platform.node() if device is None else device
        check_sinks(
            self._sinks,
            labels=classifier.labels,
            bins=bins_of(rules or EveryLabel(), classifier.labels),
            device=device,
        )
        options, self._trigger = choose_decision(rules, options, trigger, device)
        if self._trigger is not None:
            check_trigger(self._trigger, self._sinks)
        self._options = options
        options = fit_options(options, classifier)
        identity = identity_of(classifier)
        self._other: tuple[Classifier, Callable[[], object] | None] | None = None
        self._tray = None if tray is None else TrayFile(tray)
        self._gate = PresenceGate(options.presence, None if self._tray is None else self._tray.load())
        self._learn_asked = False
        self._decider = BinDecider(
            classifier.labels,
            rules,
            options,
            gate=self._gate,
            thresholds=classifier.contract.thresholds,
            views=classifier.contract.views,
            device=device,
            bundle=identity,
        )
        self._classifier = classifier
        for sink in self._sinks:
            sink.announce(identity)
        self._clock = BinClock(source)
        self._lock = threading.RLock()  # a sink that is shown a state may ask for the status
        self._board = StatusBoard(self._decider, self._trigger, self._sinks, self._lock)
        self._loop = CameraLoop(
            classifier,
            source,
            loop_options,
            on_result=self._result,
            on_health=self._health,
            on_wait=self._wait,
            observe=self._observe,
            reduce=self._reduction,
        )

    def __repr__(self) -> str:
        return f"<SmartBin {self.status.state}: {self._loop.health.state}>"

    @property
    def loop(self) -> CameraLoop:
        """The camera loop."""
        return self._loop

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """The sinks that are told of events and states."""
        return self._sinks

    @property
    def status(self) -> BinStatus:
        """What the bin is doing, and why nothing is decided; a fault while camera or trigger give nothing."""
        return self._board.status

    @property
    def report(self) -> BinReport:
        """What there is to say of it and its sinks now; from any thread."""
        return self._board.report

    @property
    def events(self) -> tuple[BinEvent, ...]:
        """The last events, 1,000 at most."""
        return self._board.events

    def run(self) -> LoopSummary:
        """Run to the end on this thread.

        Raises:
            TriggerError: the trigger cannot be used.
            BaseException: as `CameraLoop`; and what `on_event` raises.
        """
        try:
            self._start_others()
            return self._loop.run()
        finally:
            self._close_trigger()
            self._board.tell(BinState.FAULT, STOPPED)

    def start(self) -> None:
        """Run in a thread of its own; returns at once. Raises TriggerError."""
        self._start_others()
        self._loop.start()

    def stop(self) -> None:
        """Ask it to end; returns at once. From any thread."""
        self._loop.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for a bin that was started to end; as `CameraLoop.wait`."""
        return self._loop.wait(timeout)

    def exchange(self, classifier: Classifier, done: Callable[[], object] | None = None) -> None:
        """Judge by another classifier as soon as the tray is empty; from any thread, returns at once.

        Each item is judged by one classifier alone, no frame is lost, and the camera goes on as it is. What
        was asked for before, and has not begun, is forgotten.

        Args:
            classifier: The other one, of the same labels.
            done: Called on the loop's thread when the change is made; must be quick.

        Raises:
            OptionError: its labels are others: sinks and rules were checked for those of before.
        """
        if classifier.labels != self._classifier.labels:
            raise OptionError(
                "labels of another classifier",
                expected=", ".join(self._classifier.labels),
                found=", ".join(classifier.labels),
                fix="start again with it",
            )
        with self._lock:
            self._other = classifier, done

    def trigger(self) -> bool:
        """A sensor says that an item came; see `BinDecider.trigger`. From any thread."""
        with self._lock:
            began = self._decider.trigger(self._clock.now())
            self._board.tell_status()
        return began

    def clear(self) -> None:
        """A sensor says that the tray is empty; see `BinDecider.clear`. From any thread."""
        with self._lock:
            self._decider.clear(self._clock.now())
            self._board.tell_status()

    def learn(self) -> None:
        """The tray is empty, says an operator: with the next frame its picture is learnt again.

        From any thread, and from a signal's handler; see `BinDecider.learn`.
        """
        self._learn_asked = True  # no lock: whom a signal interrupts may have it

    def close(self, timeout: float = 10.0) -> None:
        """Stop, tell the sinks, and close them, `timeout` seconds at most; raises as `CameraLoop.close`."""
        try:
            self._close_trigger()
            self._loop.close(timeout)
        finally:
            self._board.tell(BinState.FAULT, STOPPED)
            closers = [threading.Thread(target=sink.close, args=(timeout,)) for sink in self._sinks]
            for closer in closers:  # together: one that is stuck must not take the others' time
                closer.start()
            for closer in closers:
                closer.join()
            if self._tray is not None:
                self._tray.close()

    def _start_others(self) -> None:
        for sink in self._sinks:
            sink.start()
        self._board.tell(BinState.STARTING, "starting")
        if self._trigger is not None:
            # The trigger may say at once that it is ready; the camera is not.
            self._board.wait_for_camera()
            self._trigger.start(self.trigger, self._board.tell_status)

    def _close_trigger(self) -> None:
        if self._trigger is not None:
            self._trigger.close()

    def _reduction(self, height: int, width: int) -> int:
        """Return how small a JPEG may be decoded for the gate and for the part that is likely classified."""
        with self._lock:
            part = self._decider.expected(height, width)
        look = self._gate.reduction(height, width)
        return look if part is None else min(look, self._classifier.reduction(*part.size_in(height, width)))

    def _observe(self, frame: CapturedFrame) -> Observation:
        """Look at a frame that is to be classified; `_result` follows with what was seen."""
        with self._lock:
            at = self._clock.time_of(frame)
            self._learn_if_asked(at)
            self._exchange_between_items()
            return self._decider.observe_bgr(frame.picture, at)

    def _result(self, result: LoopResult) -> None:
        with self._lock:
            self._board.see_frame(result.frame.captured_at)
            at = self._clock.time_of(result.frame)
            event = self._decider.step(result.observation, at)
            if self._tray is not None:
                self._tray.see(self._gate, at, empty=self._decider.status.state is BinState.EMPTY)
            self._board.tell_status()
        self._emit(event)
        if self._on_result is not None:
            self._on_result(result)

    def _learn_if_asked(self, now: float) -> None:
        if self._learn_asked:
            self._learn_asked = False
            self._decider.learn(now)

    def _exchange_between_items(self) -> None:
        """Change to the classifier that was asked for, if no item is in hand; whoever calls has the lock."""
        if self._other is None or not self._decider.between_items:
            return
        (classifier, done), self._other = self._other, None
        identity = identity_of(classifier)
        self._decider.exchange(
            classifier.labels,
            fit_options(self._options, classifier),
            thresholds=classifier.contract.thresholds,
            views=classifier.contract.views,
            bundle=identity,
        )
        self._classifier = classifier
        self._loop.exchange(classifier)
        for sink in self._sinks:
            sink.announce(identity)
        if done is not None:
            done()

    def _wait(self) -> None:
        if self._on_wait is not None:
            self._on_wait()
        if not self._clock.runs:
            return
        with self._lock:
            self._exchange_between_items()
            event = self._decider.step(None, self._clock.now())
            self._board.tell_status()
        self._emit(event)

    def _health(self, health: Health) -> None:
        self._board.see_health(health)
        if self._on_health is not None:
            self._on_health(health)

    def _emit(self, event: BinEvent | None) -> None:
        if event is None:
            return
        event = replace(event, health=str(self._loop.health.state))
        self._board.add(event)
        for sink in self._sinks:
            sink.put(event)
        if self._on_event is not None:
            self._on_event(event)
