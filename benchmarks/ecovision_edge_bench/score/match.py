"""Which event belongs to which item: found, missed, doubled, false.

Counted as MLPerf Tiny counts detections of its streaming wake word benchmark (MLCommons, mlcommons/tiny,
`benchmark/runner/streaming_ww_utils.py`, `calc_detection_stats`): a detection from
the begin of a true window to one second after its end finds it, and of what is left as false, whatever comes
within one second after a detection that counts is the same one. There any number of detections in a window is
one; a bin that acts twice on one item has done harm, so here the same second is applied within a window too,
and what is left beyond it is a doubled item. What was merged is told beside it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from ecovision_edge.errors import OptionError
from ecovision_edge.simulation.truth import TrueItem, Truth

if TYPE_CHECKING:
    from ecovision_edge.rules import Rules

__all__ = ["Decision", "FalseEvent", "ItemScore", "MatchOptions", "Score", "Verdict", "match"]


class Verdict(str, Enum):
    """What the first event of an item is worth."""

    RIGHT = "right"
    RIGHT_BIN = "right bin, other label"
    WRONG_BIN = "wrong bin"
    UNKNOWN = "unknown"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Decision:
    """An event, as far as it is scored.

    Args:
        at_s: When it came, seconds from the first frame.
        label: The class; None is unknown.
        bin: Where the thing went.
        reason: Why, in one line; may be empty.
    """

    at_s: float
    label: str | None
    bin: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchOptions:
    """Seconds; the defaults are those of MLPerf Tiny.

    Args:
        grace: Time after an item left in which an event still belongs to it, unless the next item is there.
        debounce: Time after an event that counts in which others are the same event; 0 counts each.
    """

    grace: float = 1.0
    debounce: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is out of range.

        Raises:
            OptionError: the option, its range, and what was given.
        """
        for name in ("grace", "debounce"):
            if not 0 <= getattr(self, name) <= 3600:
                raise OptionError(name, expected="0 to 3600 s", found=f"{getattr(self, name):g}")


@dataclass(frozen=True, slots=True)
class ItemScore:
    """One item, and what was made of it.

    Args:
        item: The truth.
        bin: Where it belongs; None where neither truth nor rules say so.
        events: Those that count, in order; none is missed, more than one is doubled.
        merged: Events within the debounce of one that counts.
        verdict: Of the first event; None for a missed item.
        cost: Of the first event, by the rules; None without rules, or where nothing was decided.
    """

    item: TrueItem
    bin: str | None
    events: tuple[Decision, ...]
    merged: int = 0
    verdict: Verdict | None = None
    cost: float | None = None

    @property
    def found(self) -> bool:
        """At least one event."""
        return bool(self.events)

    @property
    def doubled(self) -> bool:
        """More than one."""
        return len(self.events) > 1

    @property
    def since_arrival_s(self) -> float | None:
        """From its arrival to its first event."""
        return self.events[0].at_s - self.item.arrives_s if self.events else None

    @property
    def since_rest_s(self) -> float | None:
        """From when it lay still; below 0 where it was decided before. None where that is not known."""
        if not self.events or self.item.rests_s is None:
            return None
        return self.events[0].at_s - self.item.rests_s


@dataclass(frozen=True, slots=True)
class FalseEvent:
    """An event without an item, and the distractor that was there: its kind, or `nothing`."""

    decision: Decision
    during: str


@dataclass(frozen=True, slots=True)
class Score:
    """The whole count.

    Args:
        items: In the order of the truth.
        false: Events without an item, those that count.
        false_merged: Within the debounce of one of these.
        seconds: From the first frame to the last.
    """

    items: tuple[ItemScore, ...]
    false: tuple[FalseEvent, ...]
    false_merged: int
    seconds: float

    @property
    def found(self) -> int:
        """Items with at least one event."""
        return sum(one.found for one in self.items)

    @property
    def missed(self) -> int:
        """Items without."""
        return len(self.items) - self.found

    @property
    def doubled(self) -> int:
        """Items with more than one event."""
        return sum(one.doubled for one in self.items)

    @property
    def merged(self) -> int:
        """Events that count for nothing, since they came within the debounce of one that does."""
        return self.false_merged + sum(one.merged for one in self.items)

    def count(self, verdict: Verdict) -> int:
        """Items whose first event is so."""
        return sum(one.verdict is verdict for one in self.items)

    @property
    def mean_cost(self) -> float | None:
        """The mean cost of the items that were found, by the rules; None without rules."""
        costs = [one.cost for one in self.items if one.cost is not None]
        return sum(costs) / len(costs) if costs else None


def match(
    truth: Truth,
    decisions: Iterable[Decision],
    rules: Rules | None = None,
    options: MatchOptions | None = None,
) -> Score:
    """Give each event to its item, and count.

    An event belongs to the item that arrived last, until `grace` after it left: whatever a flap does then, it
    does to that one. So an event for an item that was swapped meanwhile counts for the new one.

    Args:
        truth: What lay there.
        decisions: The events, in any order.
        rules: Where each label belongs and what a mistake costs; None makes each label a bin of its own, as
            `BinDecider` without rules does.
        options: Grace and debounce.
    """
    given = options or MatchOptions()
    arrivals = [item.arrives_s for item in truth.items]
    of_item: list[list[Decision]] = [[] for _ in truth.items]
    of_none: list[Decision] = []
    for decision in sorted(decisions, key=lambda one: one.at_s):
        k = bisect_right(arrivals, decision.at_s) - 1
        if k >= 0 and decision.at_s <= truth.items[k].leaves_s + given.grace:
            of_item[k].append(decision)
        else:
            of_none.append(decision)
    false, false_merged = _debounced(of_none, given.debounce)
    return Score(
        tuple(
            _score(item, found, rules, given.debounce)
            for item, found in zip(truth.items, of_item, strict=True)
        ),
        tuple(FalseEvent(one, truth.during(one.at_s, given.grace)) for one in false),
        false_merged,
        truth.seconds,
    )


def _debounced(decisions: Sequence[Decision], debounce: float) -> tuple[tuple[Decision, ...], int]:
    """Select the decisions that count, and count the others, within `debounce` of one that counts."""
    kept: list[Decision] = []
    for decision in decisions:
        if not kept or debounce == 0 or decision.at_s - kept[-1].at_s > debounce:
            kept.append(decision)
    return tuple(kept), len(decisions) - len(kept)


def _score(item: TrueItem, found: Sequence[Decision], rules: Rules | None, debounce: float) -> ItemScore:
    home = _home(item, rules)
    events, merged = _debounced(found, debounce)
    if not events:
        return ItemScore(item, home, ())
    first = events[0]
    return ItemScore(item, home, events, merged, _verdict(item, home, first), _cost(item, home, first, rules))


def _home(item: TrueItem, rules: Rules | None) -> str | None:
    if item.bin is not None:
        return item.bin
    if rules is None:
        return item.label
    return rules.default if item.label is None else rules.bin_of.get(item.label)


def _verdict(item: TrueItem, home: str | None, first: Decision) -> Verdict:
    if first.label == item.label and (first.label is None or home is None or first.bin == home):
        return Verdict.RIGHT
    if first.label is None:
        return Verdict.UNKNOWN
    return Verdict.RIGHT_BIN if home is not None and first.bin == home else Verdict.WRONG_BIN


def _cost(item: TrueItem, home: str | None, first: Decision, rules: Rules | None) -> float | None:
    """Say what the first event costs; as unknown, what the rules say of that."""
    if rules is None:
        return None
    if first.label is None:
        return 0.0 if item.label is None else rules.unknown_cost
    if first.bin == home:
        return 0.0
    known = item.label is not None and item.label in rules.bin_of and first.bin in rules.bins
    return rules.cost(item.label, first.bin) if known and item.label is not None else rules.wrong_cost
