"""Follows a store while a loop runs: exchanges the classifier, and watches a new bundle.

All of it happens on one thread beside the loop's, which does no more than take another classifier. Nothing of
python-tuf is ever loaded in this process.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ecovision_edge.base.threads import Worker
from ecovision_edge.bundle.folder import embedded_bundle_path
from ecovision_edge.errors import EcovisionError, InferenceError, OptionError, StoreError
from ecovision_edge.sinks.update_report import ProbationReport, UpdateReport
from ecovision_edge.updates.choice import Choice, short
from ecovision_edge.updates.memory import shortage
from ecovision_edge.updates.probation import Watch
from ecovision_edge.updates.questions import Questions
from ecovision_edge.updates.rates import Rates
from ecovision_edge.updates.store import BundleStore

if TYPE_CHECKING:
    from ecovision_edge.bundle.identity import BundleIdentity
    from ecovision_edge.classifier import Classifier
    from ecovision_edge.events import BinEvent

__all__ = ["Follower", "Machine"]

_LOOK, _LOOK_BUSY = 5.0, 0.5  # seconds between looks at the store; while an update runs
_AGAIN = 60.0  # until a change that failed is tried again
_LAST = 5.0  # seconds that it has to end: a model that it loads is of no use any more
_KEEP_RATES = 300.0  # seconds between two writes of them

_LOGGER = logging.getLogger("ecovision_edge")


class Machine(Protocol):
    """A loop that runs: `CameraLoop`, or `SmartBin`, which changes between items alone."""

    def exchange(self, classifier: Classifier, done: Callable[[], object] | None = None) -> None:
        """Classify by another one; `done` is called on the loop's thread when the change is made."""
        ...

    def stop(self) -> None:
        """End the loop."""
        ...


class Follower:
    """Runs the store's current bundle, whatever becomes current.

    First `load`, which counts the start; then `with follower:` around the loop, whose way out says how the
    bundle fared, and in it `follow`.

    Args:
        store: Of the device.
        base: What runs where nothing of the store does; None for the embedded reference.
        open_bundle: Loads a bundle's folder, or the embedded reference of None.
        questions: To the repository.
        fits: Raises EcovisionError over labels that the bin's rules do not fit.
    """

    def __init__(
        self,
        store: BundleStore,
        base: Path | None,
        open_bundle: Callable[[Path | None], Classifier],
        questions: Questions,
        fits: Callable[[Sequence[str]], object] = lambda labels: None,
    ) -> None:
        self._store, self._questions = store, questions
        self._choice = Choice(store, base, open_bundle, fits)
        self._rates = Rates(store.root)
        self._kept_at = time.monotonic()
        self._running: str | None = None  # of the store; None is the base
        self._waiting: tuple[str | None] | None = None  # likewise, to run as soon as the tray is empty
        self._classifier: Classifier | None = None
        self._watch: Watch | None = None
        self._machine: Machine | None = None
        self._tell: Callable[[UpdateReport], object] = lambda report: None
        self._changed: Callable[[Classifier], object] = lambda classifier: None
        self._told = b""
        self._file: object = None  # of the store, as it was at the last look
        self._again_at = math.inf  # when a change that failed is tried again
        self.restart: str | None = None
        """Why the process has to start again; None if it has not to."""
        self._closing, self._woken, self._look = threading.Event(), threading.Event(), threading.Event()
        self._worker = Worker(self._run, "ecovision-updates")

    # Before the loop.

    def load(self, *, count: bool = True) -> Classifier:
        """Count the start, and load what is to run; of a bundle that cannot be loaded the one before.

        Args:
            count: False looks, and changes nothing.

        Raises:
            EcovisionError: as `open_bundle`, of the base.
        """
        self._running, classifier = self._choice.first(count=count)
        self._classifier = classifier
        if count:
            self._look_at_probation()
        return classifier

    # Around the loop.

    def __enter__(self) -> Follower:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if self._waiting is not None:  # it ended before the tray was empty
            self._take_back(self._waiting[0])
        watch = self._watch
        if watch is None:
            return
        try:
            if isinstance(error, InferenceError | OptionError) and self._machine is not None:
                _LOGGER.warning("bundle %s failed: going back with the next start", watch.bundle[:12])
                self._store.refuse(watch.bundle, f"failed: {error.message}")
            elif error is None or isinstance(error, EcovisionError) or not isinstance(error, Exception):
                watch.end()
        except StoreError as e:
            _LOGGER.warning("%s", e)

    def follow(
        self,
        machine: Machine,
        tell: Callable[[UpdateReport], object],
        changed: Callable[[Classifier], object],
    ) -> None:
        """Follow the store from now on, in a thread of its own.

        Args:
            machine: What runs.
            tell: Called with each new report.
            changed: Called on the loop's thread with the classifier that it has changed to.
        """
        self._machine, self._tell, self._changed = machine, tell, changed
        self._worker.start()

    def close(self) -> None:
        """Follow it no more; an update that runs is ended. Idempotent."""
        self._closing.set()
        self._woken.set()
        self._worker.join(_LAST)
        self._questions.close()
        self._rates.keep()

    # From any thread.

    def event(self, event: BinEvent) -> None:
        """Count an event of the bin."""
        if event.bundle is None:
            return
        unknown, watch = event.label is None, self._watch
        self._rates.add(event.bundle, unknown=unknown)
        if watch is not None and watch.bundle == event.bundle:
            watch.see(unknown=unknown)
            self._woken.set()

    def install(self) -> None:
        """Ask for an update now."""
        self._questions.hurry()
        self._woken.set()

    @property
    def report(self) -> UpdateReport:
        """How updates are doing."""
        running = None if self._classifier is None else self._classifier.identity
        checked, watch = self._store.state().checked, self._watch
        return UpdateReport(
            name="" if running is None else running.name,
            installed="" if running is None else running.version,
            latest=_latest(running, self._questions.latest),
            busy=self._questions.busy or self._waiting is not None,
            checked=None if checked is None else checked.at,
            outcome="" if checked is None else checked.outcome,
            probation=None if watch is None else _probation_report(watch),
        )

    # The thread.

    def _run(self) -> None:
        while not self._closing.is_set():
            for step in (self._turn, self._tell_news):
                try:
                    step()
                except EcovisionError as e:  # a disk that is full or read-only, for now
                    _LOGGER.warning("updates: %s", e)
                except Exception as e:  # noqa: BLE001 - whatever it is, the bin goes on
                    _LOGGER.error("updates: %s: %s", type(e).__name__, e)  # noqa: TRY400
            self._woken.wait(self._pause())
            self._woken.clear()

    def _tell_news(self) -> None:
        """Hand on how updates are doing, if that is another than at the last look."""
        report = self.report
        if (told := report.payload()) != self._told:
            self._told = told
            self._tell(report)

    def _pause(self) -> float:
        """Return the seconds until the next look."""
        if self._questions.busy:
            return _LOOK_BUSY
        return _LOOK if self.restart is not None else min(_LOOK, self._questions.left)

    def _turn(self) -> None:
        """Look at everything once."""
        if self.restart is not None:
            return
        if self._questions.turn():
            self._look.set()
        self._judge()
        if self._is_new():
            self._try_to_change()
        if time.monotonic() - self._kept_at >= _KEEP_RATES:
            self._kept_at = time.monotonic()
            self._rates.keep()
        if self._watch is not None:
            self._watch.keep()

    def _is_new(self) -> bool:
        """Return whether there may be something new in the store."""
        asked = self._look.is_set()
        self._look.clear()
        try:
            found = (self._store.root / "state.json").stat()
        except OSError:
            file: object = None
        else:
            file = found.st_mtime_ns, found.st_ino, found.st_size
        before, self._file = self._file, file
        return asked or file != before or time.monotonic() >= self._again_at

    def _try_to_change(self) -> None:
        """Look at the store; what fails is tried again, but not at once."""
        self._again_at = math.inf
        try:
            self._look_at_store()
        except BaseException:
            self._again_at = time.monotonic() + _AGAIN
            raise

    def _look_at_store(self) -> None:
        """Change to what is current, if that is another bundle; else see whether it is on probation."""
        assert self._machine is not None
        assert self._classifier is not None
        wanted, waiting = self._choice.wanted(), self._waiting
        if wanted == (self._running if waiting is None else waiting[0]):
            self._look_at_probation()
        elif (
            waiting is not None and wanted == self._running
        ):  # before a change was made that is not wanted any more
            self._waiting = None
            self._machine.exchange(self._classifier)
            self._take_back(waiting[0])
        else:
            self._change(self._machine, wanted)

    def _change(self, machine: Machine, wanted: str | None) -> None:
        """Load another bundle beside the one that runs, and have the loop change to it."""
        try:
            classifier = self._load_beside(wanted)
        except EcovisionError as e:
            if wanted is None:
                raise
            self._choice.pass_over(wanted, e)
            self._look.set()
            return
        if isinstance(classifier, str):
            self.restart = f"{classifier}: starting again with bundle {short(wanted)}"
            machine.stop()
            return
        self._waiting = (wanted,)
        machine.exchange(classifier, lambda: self._exchanged(wanted, classifier))

    def _load_beside(self, wanted: str | None) -> Classifier | str:
        """Load a bundle, and ask it once; return in a few words why that cannot be done beside another."""
        assert self._classifier is not None
        folder = self._choice.folder(wanted)
        why = shortage(folder or embedded_bundle_path(), self._classifier.artifact)
        if why is not None:
            return why
        if wanted is not None:
            self._store.started(wanted)  # one that ends this process is found by the next start
        starts = False
        try:
            classifier = self._choice.open_bundle(folder)
            classifier.classify(np.zeros((64, 64, 3), np.uint8))
            if classifier.labels == self._classifier.labels:
                starts = True
                return classifier
            if wanted is not None:
                self._choice.check_labels(wanted, classifier.labels)
        except MemoryError:
            return "there is no memory for a second model"
        finally:
            if not starts:
                self._take_back(wanted)
        return "it has other labels"

    def _take_back(self, bundle: str | None) -> None:
        """Take back the start of a bundle that was counted, and that this process did not die of."""
        if bundle is None:
            return
        try:
            self._store.not_started(bundle)
        except StoreError as e:
            _LOGGER.warning("%s: a start of bundle %s counts that was none", e, bundle[:12])

    def _exchanged(self, bundle: str | None, classifier: Classifier) -> None:
        """On the loop's thread: it decides by another bundle from now on."""
        self._running, self._classifier, self._waiting = bundle, classifier, None
        self._watch = None
        self._changed(classifier)
        _LOGGER.info("bundle %s runs", classifier.identity)
        self._look.set()
        self._woken.set()

    def _look_at_probation(self) -> None:
        """Watch the bundle that runs, if it is on probation."""
        probation, watch = self._store.state().probation, self._watch
        if probation is None or probation.bundle != self._running:
            self._watch = None
        elif watch is None or watch.bundle != probation.bundle:
            self._watch = Watch(self._store, probation, self._rates.of(self._choice.before()))

    def _judge(self) -> None:
        """Go back if the bundle that runs has to go; end its probation if that is over."""
        watch = self._watch
        if watch is None:
            return
        why = watch.verdict()
        if why is None and not watch.over:
            return
        self._watch = None
        self._look.set()
        if why is None:
            self._store.proved(watch.bundle)
            _LOGGER.info("bundle %s has proved itself", watch.bundle[:12])
            return
        _LOGGER.warning("bundle %s %s: going back", watch.bundle[:12], why)
        self._choice.refuse(watch.bundle, why)


def _latest(running: BundleIdentity | None, known: tuple[str, str] | None) -> str:
    """Return the version of the release that is known last; two of one version are told apart."""
    version = "" if running is None else running.version
    if known is None or (running is not None and known[0] == running.id):
        return version
    bundle, latest = known[0], known[1] or known[0][:12]
    return f"{latest}+{bundle[:8]}" if latest == version else latest


def _probation_report(watch: Watch) -> ProbationReport:
    figures = watch.figures
    return ProbationReport(
        figures.seconds, watch.whole, watch.starts, figures.items.items, figures.items.unknowns
    )
