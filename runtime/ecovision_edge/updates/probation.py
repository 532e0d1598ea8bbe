"""Probation: a new bundle proves itself while it runs, or the one before takes its place.

Each start is counted before anything of the bundle is loaded, so one that cannot be loaded, is killed for
its memory, or dies after a minute is found by the starts that follow, whoever makes them. What tells them
from a device that is switched off and on: three in a row that neither lasted nor ended in order, or ten in
all. And the items that it calls unknown are held against those of the bundle before (`updates.unknowns`).

The time of probation is time in which the bundle ran: a clock that is wrong cannot end it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from ecovision_edge.base.fields import Fields, JsonValue
from ecovision_edge.base.records import dataclass
from ecovision_edge.errors import ContractError, StoreError
from ecovision_edge.updates.state import Probation
from ecovision_edge.updates.store import BundleStore
from ecovision_edge.updates.unknowns import Counts, UnknownsTest

__all__ = ["LASTED", "Figures", "Watch", "begin"]

LASTED = 600.0
"""Seconds after which a start counts as one that went well, however it ends."""

_IN_A_ROW, _IN_ALL = 3, 10  # starts that ended badly
_KEEP_EVERY = 300.0  # seconds between two writes of what is counted: a card wears out
_MOST = 2**31

_LOGGER = logging.getLogger("ecovision_edge")


@dataclass(frozen=True, slots=True)
class Figures:
    """What is kept of a probation from start to start.

    Args:
        orderly: Starts that ended in order.
        good: Number of the last start, from 1, that ended in order or lasted.
        seconds: How long the bundle has run.
        items: What it made of its items.
    """

    orderly: int = 0
    good: int = 0
    seconds: float = 0.0
    items: Counts = Counts()

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {
            "orderly": self.orderly,
            "good": self.good,
            "seconds": round(self.seconds, 1),
            "items": self.items.items,
            "unknowns": self.items.unknowns,
        }

    @classmethod
    def of(cls, figures: Mapping[str, JsonValue]) -> Figures:
        """Read them; of what is malformed, or not there yet, those of the beginning."""
        f = Fields.of(dict(figures), "figures")
        try:
            return cls(
                f.integer("orderly", 0, _MOST),
                f.integer("good", 0, _MOST),
                f.number("seconds", 0, 1e12),
                Counts(f.integer("items", 0, _MOST), f.integer("unknowns", 0, _MOST)),
            )
        except ContractError:
            return cls()


def begin(store: BundleStore) -> str | None:
    """Count a start, and return the bundle to load; None for the one that the program was installed with.

    If the starts before this one say that the bundle on probation cannot run, it is the one before. What
    cannot be counted cannot be tried: where the store cannot be written it is the last one that proved
    itself, as one that dies would be started for ever. Raises nothing: the log tells it.
    """
    current = store.repair()
    try:
        probation = store.started()
        if probation is not None and (reason := _cannot_run(probation)) is not None:
            _LOGGER.warning("bundle %s %s: going back", probation.bundle[:12], reason)
            store.refuse(probation.bundle, reason)
            return store.current()
    except StoreError as e:
        _LOGGER.warning("%s: starts are not counted, so no bundle on probation runs", e)
        probation = store.state().probation
        if probation is not None and probation.bundle == current:
            return store.proved_before()
    return current


def _cannot_run(probation: Probation) -> str | None:
    """Return what the starts before the present one say against a bundle; None for nothing."""
    figures = Figures.of(probation.figures)
    before = probation.starts - 1
    in_a_row, in_all = before - figures.good, before - figures.orderly
    if in_a_row >= _IN_A_ROW:
        return f"died within {LASTED / 60:g} minutes of {in_a_row} starts in a row"
    if in_all >= _IN_ALL:
        return f"died in {in_all} of {before} starts"
    return None


class Watch:
    """Watches the bundle that runs while it is on probation. `see` may be called from another thread.

    Args:
        store: Keeps what is counted.
        probation: Of the bundle that runs.
        old: What the bundle before made of its items.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        store: BundleStore,
        probation: Probation,
        old: Counts,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.bundle = probation.bundle
        """The id of the bundle."""
        self.whole = max(0.0, probation.until - probation.since)
        """How long it has to run, seconds."""
        self.starts = probation.starts
        """How often a program has started with it."""
        self._store, self._clock = store, clock
        self._before = Figures.of(probation.figures)
        self._items, self._judged = self._before.items, -1
        self._test = UnknownsTest(old)
        self._since = self._kept_at = clock()

    @property
    def figures(self) -> Figures:
        """What is known so far."""
        ran = self._clock() - self._since
        return Figures(
            self._before.orderly,
            max(self._before.good, self.starts if ran >= LASTED else 0),
            self._before.seconds + ran,
            self._items,
        )

    @property
    def over(self) -> bool:
        """Whether it has proved itself."""
        return self.figures.seconds >= self.whole

    def see(self, *, unknown: bool) -> None:
        """Count an item that the bundle decided."""
        self._items = self._items.plus(unknown=unknown)

    def verdict(self) -> str | None:
        """Return why the bundle has to go, in one line; None if nothing is to be said against it."""
        items = self._items
        if items.items == self._judged:
            return None
        self._judged = items.items
        if not self._test.is_worse(items):
            return None
        return f"called {items.words} unknown, {self._test.old.words} before"

    def keep(self) -> None:
        """Write what is known, if that was not done for minutes; raises StoreError."""
        now = self._clock()
        if now - self._kept_at >= _KEEP_EVERY:
            self._kept_at = now  # a disk that says no is not asked at once again
            self._store.watch(self.bundle, self.figures.to_json())

    def end(self) -> None:
        """Note that this start ended in order; raises StoreError."""
        f = self.figures
        ended = Figures(f.orderly + 1, self.starts, f.seconds, f.items)
        self._store.watch(self.bundle, ended.to_json())
