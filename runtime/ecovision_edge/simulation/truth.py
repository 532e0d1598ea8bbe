"""What really lay on the tray, and when: the truth that events are scored against.

A JSON file, by hand or from the generator (times are seconds from the first frame of the recording)::

    {
      "schema": "ecovision-edge/bin-truth",
      "schema_version": 1,
      "seconds": 60.0,
      "items": [
        {"id": 0, "label": "glass", "arrives_s": 2.1, "rests_s": 2.6, "leaves_s": 7.4},
        {"id": 1, "label": null, "arrives_s": 9.0, "leaves_s": 13.5, "bin": "residual"}
      ],
      "distractors": [{"kind": "hand", "begins_s": 20.0, "ends_s": 21.2}]
    }

`rests_s`, `bin` and `distractors` may be left out. A `label` of null is a thing that the model has no class
for: to call it unknown is right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ecovision_edge.base.fields import Fields, JsonValue, canonical_json, parse_json
from ecovision_edge.base.files import read_regular_file
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.errors import ContractError, EcovisionError

__all__ = ["SCHEMA", "SCHEMA_VERSION", "Distractor", "TrueItem", "Truth", "TruthError", "read_document"]

SCHEMA = "ecovision-edge/bin-truth"
SCHEMA_VERSION = 1
MAX_BYTES = 64 * 2**20
MOST_ITEMS = 1_000_000
MOST_SECONDS = 1e9

_FIX = "mend the file"


class TruthError(EcovisionError, ValueError):
    """A file of truth, of events or with a script is malformed, or does not fit what it is about."""

    exit_status = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueItem:
    """A thing that lay on the tray. Times are seconds from the first frame.

    Args:
        id: Unlike that of any other item.
        label: Its class; None is a thing that the model has no class for.
        arrives_s: When the first of it comes into view.
        leaves_s: When the last of it has left.
        rests_s: Time from which it lies still with nothing over it; None where nobody knows.
        bin: Where it belongs; None is as the rules say.
    """

    id: int
    label: str | None
    arrives_s: float
    leaves_s: float
    rests_s: float | None = None
    bin: str | None = None

    def to_json(self) -> dict[str, JsonValue]:
        """Return a JSON object without what is not known."""
        return {
            "id": self.id,
            "label": self.label,
            "arrives_s": self.arrives_s,
            **({} if self.rests_s is None else {"rests_s": self.rests_s}),
            "leaves_s": self.leaves_s,
            **({} if self.bin is None else {"bin": self.bin}),
        }


@dataclass(frozen=True, slots=True)
class Distractor:
    """Something that is no item, and must give no event.

    Args:
        kind: `hand`, `light`, or any other word.
        begins_s, ends_s: Seconds from the first frame.
    """

    kind: str
    begins_s: float
    ends_s: float

    def to_json(self) -> dict[str, JsonValue]:
        """Return a JSON object."""
        return {"kind": self.kind, "begins_s": self.begins_s, "ends_s": self.ends_s}


@dataclass(frozen=True, slots=True)
class Truth:
    """All of it. Items are in the order of their arrival, and never two on the tray at once.

    Args:
        items: What lay on the tray.
        seconds: Seconds from the first frame to the last.
        distractors: What else happened.

    Raises:
        TruthError: it contradicts itself.
    """

    items: tuple[TrueItem, ...]
    seconds: float
    distractors: tuple[Distractor, ...] = ()

    def __post_init__(self) -> None:
        """Refuse times that cannot be."""
        last, ids = -math.inf, set[int]()
        for item in self.items:
            where = f"item {item.id} of the truth"
            if item.id in ids:
                raise TruthError(where, expected="each id once", found="it twice")
            ids.add(item.id)
            if not item.arrives_s < item.leaves_s:
                raise TruthError(
                    where,
                    expected="arrives_s before leaves_s",
                    found=f"{item.arrives_s:g} and {item.leaves_s:g}",
                )
            if item.rests_s is not None and not item.arrives_s <= item.rests_s <= item.leaves_s:
                raise TruthError(
                    where, expected="rests_s between arrives_s and leaves_s", found=f"{item.rests_s:g}"
                )
            if item.arrives_s < last:
                raise TruthError(
                    where,
                    expected=f"to arrive after the one before it left, at {last:g} s",
                    found=f"{item.arrives_s:g}",
                    fix="items stand in the order of their arrival, one on the tray at a time",
                )
            last = item.leaves_s
        for distractor in self.distractors:
            if not distractor.begins_s <= distractor.ends_s:
                raise TruthError(
                    f"a {distractor.kind} of the truth",
                    expected="begins_s before ends_s",
                    found=f"{distractor.begins_s:g} and {distractor.ends_s:g}",
                )

    def check(self, labels: Sequence[str], bins: Sequence[str] | None) -> None:
        """Refuse labels that the model does not have, and bins that the rules do not have.

        Raises:
            TruthError: there is one.
        """
        for item in self.items:
            if item.label is not None and item.label not in labels:
                raise TruthError(
                    f"label of item {item.id} of the truth",
                    expected=f"one of {', '.join(labels)}, or null",
                    found=item.label,
                )
            if item.bin is not None and bins is not None and item.bin not in bins:
                raise TruthError(
                    f"bin of item {item.id} of the truth",
                    expected=f"one of {', '.join(bins)}",
                    found=item.bin,
                )

    def during(self, at_s: float, slack: float) -> str:
        """Return the distractor's kind at that time, or up to `slack` seconds before; `nothing` for none."""
        for distractor in reversed(self.distractors):
            if distractor.begins_s <= at_s <= distractor.ends_s + slack:
                return distractor.kind
        return "nothing"

    def dumps(self) -> bytes:
        """Write the file."""
        return canonical_json(
            {
                "schema": SCHEMA,
                "schema_version": SCHEMA_VERSION,
                "seconds": self.seconds,
                "items": [item.to_json() for item in self.items],
                "distractors": [distractor.to_json() for distractor in self.distractors],
            }
        )

    @classmethod
    def load(cls, path: Path) -> Truth:
        """Read a file of truth.

        Raises:
            TruthError: it cannot be read, is malformed, or contradicts itself.
        """
        return cls.loads(read_document(path, "truth"), str(path))

    @classmethod
    def loads(cls, data: bytes, where: str = "truth") -> Truth:
        """Read the bytes of such a file; `where` is its name for messages.

        Raises:
            TruthError: as `load`.
        """
        try:
            return cls._read(parse_json(data, where, fix=_FIX))
        except ContractError as e:
            raise TruthError(e.message) from e

    @classmethod
    def _read(cls, f: Fields) -> Truth:
        f.choice("schema", (SCHEMA,))
        f.schema_version(SCHEMA_VERSION)
        items = tuple(
            _item(Fields.of(value, f"{f.at('items')}[{i}]"))
            for i, value in enumerate(f.items("items", most=MOST_ITEMS))
        )
        distractors: tuple[Distractor, ...] = ()
        if f.has("distractors"):
            distractors = tuple(
                _distractor(Fields.of(value, f"{f.at('distractors')}[{i}]"))
                for i, value in enumerate(f.items("distractors", most=MOST_ITEMS))
            )
        truth = cls(items, f.number("seconds", 0, MOST_SECONDS), distractors)
        f.done()
        return truth


def _item(f: Fields) -> TrueItem:
    item = TrueItem(
        id=f.integer("id", 0, 2**53),
        label=None if f.value("label") is None else f.text("label"),
        arrives_s=f.number("arrives_s", 0, MOST_SECONDS),
        leaves_s=f.number("leaves_s", 0, MOST_SECONDS),
        rests_s=f.number("rests_s", 0, MOST_SECONDS) if f.has("rests_s") else None,
        bin=f.text_or_none("bin"),
    )
    f.done()
    return item


def _distractor(f: Fields) -> Distractor:
    distractor = Distractor(
        f.text("kind", most=40), f.number("begins_s", 0, MOST_SECONDS), f.number("ends_s", 0, MOST_SECONDS)
    )
    f.done()
    return distractor


def read_document(path: Path, what: str) -> bytes:
    """Read the bytes of a file that a person names.

    Raises:
        TruthError: it cannot be read, or is too large.
    """
    try:
        data = read_regular_file(path, MAX_BYTES)
    except (OSError, ValueError) as e:  # ValueError: a zero byte in the name
        reason = reason_of(e)
        raise TruthError(f"cannot read {path}", expected=f"a file of {what}", found=reason) from e
    if len(data) > MAX_BYTES:
        raise TruthError(f"{path} is too large", expected=f"at most {MAX_BYTES} bytes")
    return data
