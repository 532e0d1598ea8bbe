"""Read the values of a file of rules: check every one, and name the key path of each error."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ecovision_edge.base.names import closest, short
from ecovision_edge.decision.settings import SETTINGS, DecisionSettings, SettingValue
from ecovision_edge.rules._parsing import KeyPath, Source, dotted, show

__all__ = ["RULES_SCHEMA_VERSION", "Read", "read_rules"]

MAX_BINS = 100
MAX_LABELS = 1000
MAX_COST = 1e6  # keeps every sum of costs finite
RULES_SCHEMA_VERSION = 1

_KEYS = ("schema", "name", "region", "date", "default", "bins", "costs", "decision")
_SCALAR_COSTS = ("wrong", "unknown")


@dataclass(slots=True)
class Read:
    """The values of a file of rules, checked."""

    name: str = ""
    region: str = ""
    date: str = ""
    default: str = ""
    bins: list[str] = field(default_factory=list)
    bin_of: dict[str, str] = field(default_factory=dict)
    wrong: float = 1.0
    unknown: float = 0.3
    costs: dict[str, dict[str, float]] = field(default_factory=dict)
    decision: DecisionSettings = field(default_factory=DecisionSettings)


def read_rules(data: Mapping[str, object], at: Source) -> Read:
    """Check every value of `data`.

    Raises:
        RulesError: the first thing that is wrong, with its key path.
    """
    _refuse_unknown(data, _KEYS, (), at)
    _check_schema(data, at)
    read = Read(
        name=_text(data, "name", at),
        region=_text(data, "region", at) if "region" in data else "",
        date=_date(data, at) if "date" in data else "",
    )
    _read_bins(data, read, at)
    read.default = _text(data, "default", at)
    if read.default not in read.bins:
        raise at.error(
            ("default",), expected=f"one of the bins {short(read.bins)}", found=_hint(read.default, read.bins)
        )
    if "costs" in data:
        _read_costs(_table(data, "costs", (), at), read, at)
    if "decision" in data:
        read.decision = _decision(_table(data, "decision", (), at), at)
    return read


def _check_schema(data: Mapping[str, object], at: Source) -> None:
    version = _value(data, "schema", at)
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise at.error(("schema",), expected=RULES_SCHEMA_VERSION, found=show(version))
    if version > RULES_SCHEMA_VERSION:
        from ecovision_edge.base.installation import upgrade_fix

        raise at.error(
            ("schema",), expected=f"at most {RULES_SCHEMA_VERSION}", found=show(version), fix=upgrade_fix()
        )


def _read_bins(data: Mapping[str, object], read: Read, at: Source) -> None:
    bins = _table(data, "bins", (), at)
    if not 1 <= len(bins) <= MAX_BINS:
        raise at.error(("bins",), expected=f"1 to {MAX_BINS} bins", found=len(bins))
    first: dict[str, KeyPath] = {}
    for name, labels in bins.items():
        path: KeyPath = ("bins", name)
        _check_name(name, path, at, "a bin's name")
        read.bins.append(name)
        if not isinstance(labels, list):
            raise at.error(path, expected="a list of labels", found=show(labels))
        for i, label in enumerate(labels):
            here: KeyPath = (*path, i)
            label = _check_name(label, here, at, "a label")  # noqa: PLW2901 - the same, of a known type
            if label in first:
                raise at.error(
                    here,
                    expected="each label in one bin",
                    found=f"{label} again, which is in {dotted(first[label])} already",
                )
            first[label] = here
            read.bin_of[label] = name
    if len(read.bin_of) > MAX_LABELS:
        raise at.error(("bins",), expected=f"at most {MAX_LABELS} labels", found=len(read.bin_of))


def _read_costs(costs: Mapping[str, object], read: Read, at: Source) -> None:
    for key, value in costs.items():
        path: KeyPath = ("costs", key)
        if key == "wrong":
            read.wrong = _cost(value, path, at)
        elif key == "unknown":
            read.unknown = _cost(value, path, at)
        elif key in read.bin_of:
            read.costs[key] = _label_costs(key, _table(costs, key, ("costs",), at), read, at)
        else:
            known = (*_SCALAR_COSTS, *read.bin_of)
            raise at.error(path, expected=f"one of {short(known)}", found=_hint(key, known))


def _label_costs(label: str, table: Mapping[str, object], read: Read, at: Source) -> dict[str, float]:
    costs: dict[str, float] = {}
    for bin, value in table.items():
        path: KeyPath = ("costs", label, bin)
        if bin not in read.bins:
            raise at.error(path, expected=f"one of the bins {short(read.bins)}", found=_hint(bin, read.bins))
        cost = _cost(value, path, at)
        if bin == read.bin_of[label]:
            if cost:
                raise at.error(path, expected=f"0 or none: {label} belongs into {bin}", found=show(value))
            continue
        costs[bin] = cost
    return costs


def _decision(table: Mapping[str, object], at: Source) -> DecisionSettings:
    _refuse_unknown(table, tuple(SETTINGS), ("decision",), at)
    values: dict[str, SettingValue] = {}
    for key, given in table.items():
        setting = SETTINGS[key]
        value = setting.read(given)
        if value is None:
            raise at.error(("decision", key), expected=setting.expected, found=show(given))
        values[key] = value
    return DecisionSettings.of(values)


def _cost(value: object, path: KeyPath, at: Source) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MAX_COST:
        raise at.error(path, expected=f"a number from 0 to {MAX_COST:g}", found=show(value))
    return float(value)


def _value(data: Mapping[str, object], key: str, at: Source) -> object:
    if key not in data:
        raise at.error((), "the rules", expected=f"a key {key}", found=short(data))
    return data[key]


def _table(data: Mapping[str, object], key: str, path: KeyPath, at: Source) -> Mapping[str, object]:
    value = _value(data, key, at)
    if not isinstance(value, dict):
        raise at.error((*path, key), expected="a table", found=show(value))
    return value


def _text(data: Mapping[str, object], key: str, at: Source) -> str:
    return _check_name(_value(data, key, at), (key,), at, "text")


def _check_name(value: object, path: KeyPath, at: Source, what: str) -> str:
    if (
        not isinstance(value, str)
        or not 0 < len(value) <= 200
        or not value.isprintable()
        or value != value.strip()
    ):
        raise at.error(
            path,
            expected=f"{what}, 1 to 200 printable characters, no leading or trailing spaces",
            found=show(value),
        )
    return value


def _date(data: Mapping[str, object], at: Source) -> str:
    """Read a date of TOML, or a text of that form, as text."""
    value = data["date"]
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, str) and re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        try:
            return datetime.date.fromisoformat(value).isoformat()
        except ValueError:
            pass
    raise at.error(("date",), expected="a date, as 2026-01-31", found=show(value))


def _refuse_unknown(data: Mapping[str, object], known: Sequence[str], path: KeyPath, at: Source) -> None:
    for key in data:
        if key not in known:
            raise at.error((*path, key), expected=f"only the keys {short(known)}", found=_hint(key, known))


def _hint(name: str, candidates: Sequence[str]) -> str:
    close = closest(name, candidates)
    return f"{name[:60]} (did you mean {close}?)" if close else show(name)
