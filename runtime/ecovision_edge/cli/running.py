"""What `run` needs around its loop: who gets the results, the log, and the signals that end it."""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Protocol, TypeAlias

from ecovision_edge.cli.output import tell
from ecovision_edge.service import sd_notify, watchdog_interval

if TYPE_CHECKING:
    from ecovision_edge.camera import Health
    from ecovision_edge.classifier import Classifier
    from ecovision_edge.cli.screens import Screen
    from ecovision_edge.events import BinEvent
    from ecovision_edge.loop import CameraLoop, LoopResult
    from ecovision_edge.sinks import Sink
    from ecovision_edge.sinks.update_report import UpdateReport
    from ecovision_edge.smart_bin import SmartBin
    from ecovision_edge.updates.running import Follower
    from ecovision_edge.web import Board, PageServer

__all__ = ["Consumers", "Stoppable", "learns_by_signal", "log_to_stderr", "stopped_by_signals"]

PATIENCE = 15.0
"""Seconds that a loop has for its end after a signal; then the process ends without it.

Sinks with events that wait have ten of them, and one more to return (`SmartBin.close`, `Sink.close`); systemd
kills after 20 (`TimeoutStopSec` of the service).
"""


AGAIN = 1.0
"""Seconds in which a second signal is still the first: terminal, `timeout` and parent may each send one."""


_SIGNALS = tuple(getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n))
"""What ends it. SIGHUP comes when a terminal or an ssh session is closed; Windows has none."""
_Handler: TypeAlias = "Callable[[int, FrameType | None], object] | int | signal.Handlers | None"


class Stoppable(Protocol):
    """Whatever a signal ends."""

    def stop(self) -> None:
        """End it; from any thread."""
        ...


class Consumers:
    """Everyone who gets each result, or each state of the source, in order."""

    def __init__(self, stack: contextlib.ExitStack, *, only_checked: bool = False) -> None:
        """Nobody yet.

        Args:
            stack: Closes those that need it.
            only_checked: Their options are checked, but none of them is opened.
        """
        self.stack, self.only_checked = stack, only_checked
        self.on_result: list[Callable[[LoopResult], object]] = []
        self.on_health: list[Callable[[Health], object]] = []
        self.on_event: list[Callable[[BinEvent], object]] = []
        self._boards: list[Board] = []
        self._alive = _Alive()
        stack.enter_context(self._alive)

    def add(self, screen: Screen) -> None:
        """Show results on a screen, from its entering to its leaving."""
        self.stack.enter_context(screen)
        self.on_result.append(screen.result)
        self.on_health.append(screen.health)
        self.on_event.append(screen.event)

    def add_page(self, board: Board, server: PageServer) -> None:
        """Serve the live page from now on; its log says where."""
        if self.only_checked:
            return
        self.stack.enter_context(server)
        self.on_result.append(board.publish)
        self.on_health.append(board.set_health)
        self._boards.append(board)

    def show_bin(self, smart_bin: SmartBin) -> None:
        """Have the pages show the bin too."""
        for board in self._boards:
            board.set_bin(lambda: smart_bin.report)

    def follow(self, follower: Follower, machine: SmartBin | CameraLoop, sinks: Sequence[Sink]) -> None:
        """Have the store followed, its pages and sinks told of it, and an update started when one asks."""
        from ecovision_edge.sinks.update_report import TellsUpdates

        telling = [sink for sink in sinks if isinstance(sink, TellsUpdates)]
        for board in self._boards:
            board.set_update(lambda: follower.report)
        for sink in telling:
            sink.offer_updates(follower.report, follower.install)
        self.on_event.append(follower.event)

        def tell_report(report: UpdateReport) -> None:
            for sink in telling:
                sink.show_update(report)

        def changed(classifier: Classifier) -> None:
            for board in self._boards:
                board.set_bundle(classifier.identity)

        follower.follow(machine, tell_report, changed)

    def result(self, result: LoopResult) -> None:
        """Hand on a result."""
        self._alive.tell()
        for consumer in self.on_result:
            consumer(result)

    def health(self, health: Health) -> None:
        """Hand on a state."""
        for consumer in self.on_health:
            consumer(health)

    def wait(self) -> None:
        """Hear that no frame comes, but the loop goes on."""
        self._alive.tell()

    def event(self, event: BinEvent) -> None:
        """Hand on an event."""
        for consumer in self.on_event:
            consumer(event)


class _Alive:
    """Tells systemd, where it started us, that the loop goes on; nothing where it did not."""

    def __init__(self) -> None:
        self._every = watchdog_interval()
        self._last = -math.inf

    def __enter__(self) -> _Alive:
        return self

    def __exit__(self, *_: object) -> None:
        sd_notify("STOPPING=1")

    def tell(self) -> None:
        """Tell systemd of a turn of the loop; the first one says that we are ready."""
        now = time.monotonic()
        if self._last == -math.inf:
            sd_notify("READY=1")
        elif self._every is None or now - self._last < self._every:
            return
        self._last = now
        if self._every is not None:
            sd_notify("WATCHDOG=1")


class _StderrHandler(logging.Handler):
    """Writes to whatever standard error is at the time: a live screen puts its own in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        tell(f"ecovision-edge: {record.getMessage()}\n")


@contextlib.contextmanager
def log_to_stderr() -> Iterator[None]:
    """Print what the library logs from INFO on, one line each."""
    log = logging.getLogger("ecovision_edge")
    handler, level = _StderrHandler(), log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


@contextlib.contextmanager
def learns_by_signal(learn: Callable[[], object]) -> Iterator[None]:
    """Learn the empty tray again at SIGUSR1: an operator's word, which needs no network and no page.

    Args:
        learn: Is called in the signal's handler; must take no lock.
    """
    number = getattr(signal, "SIGUSR1", None)
    if number is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        learn()

    before = signal.signal(number, handle)
    try:
        yield
    finally:
        signal.signal(number, before)


@contextlib.contextmanager
def stopped_by_signals(
    loop: Stoppable, abandon: Callable[[], object] = lambda: None
) -> Iterator[Callable[[], bool]]:
    """End the loop cleanly at SIGINT, SIGTERM, SIGHUP; a second, `AGAIN` later, or `PATIENCE` the process.

    SIGHUP is left alone where it is ignored: by `nohup`. Gives a function that tells whether one came.

    Args:
        loop: What is to end.
        abandon: What has to be done all the same before the process is ended; must not wait for anything.
    """
    if threading.current_thread() is not threading.main_thread():  # signals are not ours then
        yield lambda: False
        return
    numbers = [number for number in _SIGNALS if not _kept_off(number)]
    watch = _Watch(loop, abandon, numbers)
    before = {number: signal.signal(number, watch.handle) for number in numbers}
    try:
        yield lambda: watch.first is not None
    finally:
        watch.close()
        first = watch.first
        for number, handler in before.items():
            signal.signal(number, handler if first is None else _after(first, handler))
        if first is not None:
            atexit.register(_ignore_signals)


class _Watch:
    """Sees each signal, stops the loop at the first, and ends the process if the loop does not end.

    Python calls a signal's handler in the main thread, between two of its instructions. That may be never:
    the system may give several signals in quick succession to another thread, which does not wake a main
    thread that waits; and a driver may not return to Python. So the part of Python in C tells of the signal:
    it runs at once, in whatever thread gets the signal, and writes the number to a socket.

    One thread reads the socket and another stops the loop. Both wait from the beginning: stopping takes locks
    and time, starting a thread takes locks, and the handler may have interrupted whoever holds them.

    Args:
        loop: What is to end.
        abandon: What has to be done before the process is ended.
        numbers: The signals that end it.
    """

    def __init__(self, loop: Stoppable, abandon: Callable[[], object], numbers: Sequence[int]) -> None:
        self.first: float | None = None
        """When the first signal came, of `time.monotonic`; None before."""
        self._loop, self._abandon, self._numbers = loop, abandon, numbers
        self._asked, self._over = threading.Event(), threading.Event()
        self._told, self._tell = socket.socketpair()
        self._tell.setblocking(False)
        self._before = signal.set_wakeup_fd(self._tell.fileno(), warn_on_full_buffer=False)
        self._threads = [
            threading.Thread(target=self._watch, name="ecovision-signals", daemon=True),
            threading.Thread(target=self._stop, name="ecovision-stop", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Note the signal in the main thread, which may ask for `first` before the other thread has run."""
        self._note()

    def close(self) -> None:
        """Stop nothing from now on: the loop has ended."""
        self._over.set()
        signal.set_wakeup_fd(self._before)
        self._tell.close()
        self._asked.set()
        for thread in self._threads:
            thread.join(AGAIN)

    def _note(self) -> float:
        if self.first is None:
            self.first = time.monotonic()
        return self.first

    def _watch(self) -> None:
        with self._told:
            while not self._over.is_set():
                try:
                    number = self._told.recv(1)
                except TimeoutError:  # a consumer hangs: standard output that nobody reads, for instance
                    if not self._over.is_set():
                        _die(f"the loop did not end within {PATIENCE:g} s", self._abandon)
                    return
                if not number:  # closed
                    return
                if number[0] in self._numbers:  # others are SIGUSR1, or a library's
                    self._see()

    def _see(self) -> None:
        first = self._note()
        since = time.monotonic() - first
        if self._asked.is_set() and since >= AGAIN:
            _die("interrupted again", self._abandon)
        self._told.settimeout(max(0.001, PATIENCE - since))
        self._asked.set()

    def _stop(self) -> None:
        self._asked.wait()
        if not self._over.is_set():
            self._loop.stop()


def _kept_off(number: int) -> bool:
    """Return whether whoever started us wants this signal ignored."""
    # SIGINT is ignored of each job in the background of a shell's script, which nobody asked for.
    return number not in (signal.SIGINT, signal.SIGTERM) and signal.getsignal(number) is signal.SIG_IGN


def _after(first: float, then: _Handler) -> _Handler:
    """Handle what comes while the process sums up: it was asked to end already, and is about to with 0.

    Args:
        first: When it was asked, of `time.monotonic`.
        then: What handles a signal that comes `AGAIN` later.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if time.monotonic() - first >= AGAIN:
            signal.signal(number, then)
            signal.raise_signal(number)

    return handle


def _ignore_signals() -> None:
    """Ignore signals as the interpreter ends and gives handlers back: one would be the exit status."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _die(why: str, abandon: Callable[[], object]) -> None:
    try:
        with contextlib.suppress(OSError):
            os.write(2, f"ecovision-edge: {why}\n".encode())
        abandon()
    finally:
        os._exit(130)
