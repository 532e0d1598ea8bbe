"""What an update store remembers, `state.json`: the active bundle, what came before it, what was refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from datetime import datetime, timezone
from typing import TypeVar

from ecovision_edge.base.fields import Fields, JsonValue, canonical_json, parse_json
from ecovision_edge.base.records import dataclass

__all__ = [
    "MAX_STATE_BYTES",
    "Activation",
    "LastCheck",
    "Probation",
    "Refusal",
    "State",
    "as_date",
]

SCHEMA, SCHEMA_VERSION = "ecovision-edge/updates", 1
MAX_STATE_BYTES = 2**20

_MOST_HISTORY = 32
_MOST_REFUSED = 256
_MOST_REASON = 500  # characters
_LAST = 253402300799.0  # Unix seconds, the end of 9999
_LONGEST = 1e12  # seconds of a probation
_SHA256, _SHA256_WORDS = "[0-9a-f]{64}", "64 hexadecimal digits"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Activation:
    """A bundle that became the active one, and when (Unix seconds)."""

    bundle: str
    at: float

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {"bundle": self.bundle, "at": as_date(self.at)}

    @classmethod
    def from_fields(cls, f: Fields) -> Activation:
        """Read and validate; raises ContractError."""
        made = cls(_bundle(f), _time(f, "at"))
        f.done()
        return made


@dataclass(frozen=True, slots=True)
class Refusal:
    """A bundle that this device does not take (again), why, and since when (Unix seconds).

    Args:
        bundle: Its id.
        reason: One line for people.
        at: Unix seconds.
        name: The bundle's name, for people; may be empty.
        version: The bundle's version, likewise.
    """

    bundle: str
    reason: str
    at: float
    name: str = ""
    version: str = ""

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {
            "bundle": self.bundle,
            "reason": _one_line(self.reason) or "no reason was given",
            "at": as_date(self.at),
            "name": _one_line(self.name)[:200] or None,
            "version": _one_line(self.version)[:200] or None,
        }

    @classmethod
    def from_fields(cls, f: Fields) -> Refusal:
        """Read and validate; raises ContractError."""
        made = cls(
            _bundle(f),
            f.text("reason"),
            _time(f, "at"),
            f.text_or_none("name") or "",
            f.text_or_none("version") or "",
        )
        f.done()
        return made


@dataclass(frozen=True, slots=True)
class Probation:
    """The time in which a new bundle has to prove itself.

    Args:
        bundle: The id of the bundle; it is the active one.
        since: Unix seconds.
        until: Unix seconds.
        starts: How often a program has started with it since then.
        figures: What whoever watches it keeps from start to start: JSON values.
    """

    bundle: str
    since: float
    until: float
    starts: int = 0
    figures: Mapping[str, JsonValue] = field(default_factory=dict)

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {
            "bundle": self.bundle,
            "since": as_date(self.since),
            "until": as_date(self.until),
            "starts": self.starts,
            "figures": dict(self.figures),
        }

    @classmethod
    def from_fields(cls, f: Fields) -> Probation:
        """Read and validate; raises ContractError."""
        made = cls(
            _bundle(f),
            _time(f, "since"),
            _time(f, "until"),
            f.integer("starts", 0, 2**31),
            f.free("figures"),
        )
        f.done()
        return made


@dataclass(frozen=True, slots=True)
class LastCheck:
    """When the repository was asked last (Unix seconds), and what came of it, in one line."""

    at: float
    outcome: str

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {"at": as_date(self.at), "outcome": _one_line(self.outcome) or "nothing was said"}

    @classmethod
    def from_fields(cls, f: Fields) -> LastCheck:
        """Read and validate; raises ContractError."""
        made = cls(_time(f, "at"), f.text("outcome"))
        f.done()
        return made


@dataclass(frozen=True, slots=True)
class State:
    """All that a store remembers. Times are Unix seconds.

    Args:
        active: Id of the bundle that is to run; None for the one that the program was installed with.
        history: What was active, oldest first, the active one last; at most 32.
        probation: Of the active bundle, while it lasts.
        refused: What this device does not take again, oldest first; at most 256.
        pinned: Id of the bundle that stays active whatever is released.
        checked: The last question to the repository.
        seen: The latest time that was certain: no clock before it is right.
        unproved: Seconds that each bundle has to prove itself which gave way to another one on probation; of
            at most 32.
    """

    active: str | None = None
    history: tuple[Activation, ...] = ()
    probation: Probation | None = None
    refused: tuple[Refusal, ...] = ()
    pinned: str | None = None
    checked: LastCheck | None = None
    seen: float = 0.0
    unproved: Mapping[str, float] = field(default_factory=dict)

    def refusal(self, bundle: str) -> Refusal | None:
        """Return why a bundle is not taken; None if it may be."""
        return next((refusal for refusal in self.refused if refusal.bundle == bundle), None)

    def dumps(self) -> bytes:
        """Return the text of `state.json`."""
        return canonical_json(
            {
                "schema": SCHEMA,
                "schema_version": SCHEMA_VERSION,
                "active": self.active,
                "history": [activation.to_json() for activation in self.history[-_MOST_HISTORY:]],
                "probation": None if self.probation is None else self.probation.to_json(),
                "refused": [refusal.to_json() for refusal in self.refused[-_MOST_REFUSED:]],
                "pinned": self.pinned,
                "checked": None if self.checked is None else self.checked.to_json(),
                "seen": as_date(self.seen),
                "unproved": dict(list(self.unproved.items())[-_MOST_HISTORY:]),
            }
        )

    @classmethod
    def loads(cls, data: bytes) -> State:
        """Read and validate `state.json`.

        Raises:
            ContractError: malformed, or of a newer ecovision-edge.
        """
        f = parse_json(data, "state.json", fix="remove it")
        f.choice("schema", (SCHEMA,))
        f.schema_version(SCHEMA_VERSION)
        state = cls(
            active=_bundle(f, "active") if f.has("active") else None,
            history=_list(f, "history", _MOST_HISTORY, Activation.from_fields),
            probation=Probation.from_fields(f.sub("probation")) if f.has("probation") else None,
            refused=_list(f, "refused", _MOST_REFUSED, Refusal.from_fields),
            pinned=_bundle(f, "pinned") if f.has("pinned") else None,
            checked=LastCheck.from_fields(f.sub("checked")) if f.has("checked") else None,
            seen=_time(f, "seen"),
            unproved=_unproved(f) if f.has("unproved") else {},
        )
        f.done()
        return state


def as_date(time: float) -> str:
    """Write Unix seconds, from 1970 to 9999, as a date in UTC to the second."""
    bounded = min(max(time, 0.0), _LAST)  # what a wrong clock says must not end a program
    return datetime.fromtimestamp(bounded, timezone.utc).isoformat(timespec="seconds")


def _time(f: Fields, key: str) -> float:
    text = f.text(key, most=40)
    try:
        time = datetime.fromisoformat(text)
    except ValueError as e:
        raise f.wrong(key, "a date and a time") from e
    if time.tzinfo is None:
        raise f.wrong(key, "a date and a time with its offset from UTC")
    if not 0 <= time.timestamp() <= _LAST:
        raise f.wrong(key, "a date and a time from 1970 to 9999")
    return time.timestamp()


def _bundle(f: Fields, key: str = "bundle") -> str:
    return f.text(key, pattern=_SHA256, what=_SHA256_WORDS)


def _list(f: Fields, key: str, most: int, read: Callable[[Fields], _T]) -> tuple[_T, ...]:
    values = f.items(key, most=most)
    return tuple(read(Fields.of(value, f"{f.at(key)}[{i}]")) for i, value in enumerate(values))


def _unproved(f: Fields) -> dict[str, float]:
    seconds = f.sub("unproved")
    return {bundle: seconds.number(bundle, 0, _LONGEST) for bundle in f.free("unproved")}


def _one_line(text: str) -> str:
    """Return foreign words as `Fields.text` takes them."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)[:_MOST_REASON]
