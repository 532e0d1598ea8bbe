"""Read a file of rules: parse it, check every value, and name the key path of each error.

A text that the parser refuses is named by its line, as the parser tells it.
"""

from __future__ import annotations

import datetime
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ecovision_edge.base.names import closest, quoted, short
from ecovision_edge.decision.settings import SETTINGS, DecisionSettings, SettingValue
from ecovision_edge.errors import RulesError

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover - the same library under its own name
    import tomli as tomllib

__all__ = ["MAX_DEPTH", "KeyPath", "Read", "Source", "parse", "read_rules"]

KeyPath: TypeAlias = "tuple[str | int, ...]"
"""Keys from the root down; an integer is a place in a list, from 0."""

MAX_DEPTH = 16
"""Parts of a key path at most; rules need three, `costs.battery.bio`."""

MAX_BINS = 100
MAX_LABELS = 1000
MAX_COST = 1e6  # keeps every sum of costs finite
RULES_SCHEMA_VERSION = 1

_KEYS = ("schema", "name", "region", "date", "default", "bins", "costs", "decision")
_SCALAR_COSTS = ("wrong", "unknown")
_KEY_PART = (
    r'"""(?:[^"\\]|\\.|"(?!""))*(?:"{3,5})?'
    r"|'''(?:[^']|'(?!''))*(?:'{3,5})?"
    r'|"(?:[^"\\\n]|\\.)*"?'
    r"|'[^'\n]*'?"
    "|[A-Za-z0-9_-]+"
)
_KEY = re.compile(rf"#[^\n]*|(?:{_KEY_PART})(?:[ \t]*\.[ \t]*(?:{_KEY_PART}))*", re.DOTALL)
"""A comment, or whatever looks like a dotted key: a text and a number do too."""
_AT_LINE = re.compile(r"\s*\(at line (\d+), column (\d+)\)")


@dataclass(frozen=True, slots=True)
class Source:
    """Where rules came from: the file's name for messages, and whether its values have been checked."""

    where: str = "rules"
    checked: bool = False

    def error(
        self,
        path: KeyPath,
        problem: str | None = None,
        *,
        expected: object = None,
        found: object = None,
        fix: str | None = None,
    ) -> RulesError:
        """Return the error about what stands at `path`; without a `problem` it is about `path` itself."""
        what = problem or dotted(path) or "the whole"
        return RulesError(f"{self.where}: {what}", expected=expected, found=found, fix=fix)


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


def dotted(path: KeyPath) -> str:
    """Return a key path as TOML writes it: `costs.battery.bio`, `bins.paper[1]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            shown = part if re.fullmatch("[A-Za-z0-9_-]{1,60}", part) else _show(part)
            text += f".{shown}" if text else shown
    return text


def parse(text: str, where: str, kind: Literal["toml", "json"]) -> tuple[Mapping[str, object], Source]:
    """Read the values of a text, unchecked but for the length of their key paths.

    Raises:
        RulesError: it is no TOML, or no JSON, or nested deeper than `MAX_DEPTH`.
    """
    text = text.removeprefix("\ufeff")  # some editors put a byte order mark first
    try:
        if kind == "toml":
            _refuse_long_keys(text, where)
            data: object = tomllib.loads(text)
        else:
            data = json.loads(text, object_pairs_hook=_once)
    except RulesError:
        raise
    except json.JSONDecodeError as e:
        raise RulesError(f"{where}:{e.lineno}: not valid JSON", found=f"{e.msg}, column {e.colno}") from e
    except (ValueError, RecursionError) as e:  # also tomllib's, and integers of thousands of digits
        line, reason = _parser_line(str(e), text)
        here = text.split("\n")[line - 1 : line]
        foreign = kind == "toml" and any(not part.isascii() for part in here)
        raise RulesError(
            f"{where}:{line}: not valid {kind.upper()}",
            found=reason,
            fix="a key with letters beyond A to Z needs quotes around it" if foreign else None,
        ) from e
    source = Source(where, checked=True)
    _check_paths(data, (), source)
    if not isinstance(data, dict):
        raise RulesError(f"{where}:1: the whole", expected="an object", found=_show(data))
    return data, source


def _refuse_long_keys(text: str, where: str) -> None:
    """Refuse a key of too many parts before the parser meets it.

    One of ten thousand, `a.a.a...`, keeps `tomllib` busy for seconds: its work grows with the square of the
    parts.
    """
    for match in _KEY.finditer(text):
        if match[0].count(".") < MAX_DEPTH or match[0].startswith("#"):
            continue
        parts = re.findall(_KEY_PART, match[0], re.DOTALL)
        if len(parts) > MAX_DEPTH:
            line = text.count("\n", 0, match.start()) + 1
            raise _too_deep(f"{where}:{line}: {'.'.join(parts[:3])}")


def _check_paths(value: object, path: KeyPath, at: Source) -> None:
    """Refuse what is nested too deep, and a key of JSON that stands in its object twice."""
    if len(path) > MAX_DEPTH:
        raise _too_deep(f"{at.where}: {dotted(path[:3])}")
    if isinstance(value, _Twice):
        raise at.error((*path, value.key), expected="each key once", found="a second one")
    for key, inner in value.items() if isinstance(value, dict) else _elements(value):
        _check_paths(inner, (*path, key), at)


def _elements(value: object) -> Iterable[tuple[int, object]]:
    return enumerate(value) if isinstance(value, list) else ()


def _too_deep(what: str) -> RulesError:
    return RulesError(f"{what}...", expected=f"a key of at most {MAX_DEPTH} parts", found="a deeper one")


@dataclass(frozen=True, slots=True)
class _Twice:
    """Stands for an object of JSON with a key twice, until its path is known."""

    key: str


def _once(pairs: list[tuple[str, object]]) -> dict[str, object] | _Twice:
    """Make an object of JSON; note a key that stands in it twice."""
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            return _Twice(key)
        found[key] = value
    return found


def _parser_line(message: str, text: str) -> tuple[int, str]:
    """Return the line that a parser's message names, and the message without it."""
    match = _AT_LINE.search(message)
    if match is not None:
        rest = message[: match.start()] + message[match.end() :]
        return int(match[1]), f"{rest[:120]}, column {match[2]}"
    if "at end of document" in message:
        return text.count("\n") + (not text.endswith("\n")), message[:120]
    return 1, message[:120]


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
        raise at.error(("schema",), expected=RULES_SCHEMA_VERSION, found=_show(version))
    if version > RULES_SCHEMA_VERSION:
        from ecovision_edge.base.installation import upgrade_fix

        raise at.error(
            ("schema",), expected=f"at most {RULES_SCHEMA_VERSION}", found=_show(version), fix=upgrade_fix()
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
            raise at.error(path, expected="a list of labels", found=_show(labels))
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
                raise at.error(path, expected=f"0 or none: {label} belongs into {bin}", found=_show(value))
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
            raise at.error(("decision", key), expected=setting.expected, found=_show(given))
        values[key] = value
    return DecisionSettings.of(values)


def _cost(value: object, path: KeyPath, at: Source) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MAX_COST:
        raise at.error(path, expected=f"a number from 0 to {MAX_COST:g}", found=_show(value))
    return float(value)


def _value(data: Mapping[str, object], key: str, at: Source) -> object:
    if key not in data:
        raise at.error((), "the rules", expected=f"a key {key}", found=short(data))
    return data[key]


def _table(data: Mapping[str, object], key: str, path: KeyPath, at: Source) -> Mapping[str, object]:
    value = _value(data, key, at)
    if not isinstance(value, dict):
        raise at.error((*path, key), expected="a table", found=_show(value))
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
            found=_show(value),
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
    raise at.error(("date",), expected="a date, as 2026-01-31", found=_show(value))


def _refuse_unknown(data: Mapping[str, object], known: Sequence[str], path: KeyPath, at: Source) -> None:
    for key in data:
        if key not in known:
            raise at.error((*path, key), expected=f"only the keys {short(known)}", found=_hint(key, known))


def _hint(name: str, candidates: Sequence[str]) -> str:
    close = closest(name, candidates)
    return f"{name[:60]} (did you mean {close}?)" if close else _show(name)


def _show(value: object) -> str:
    """Write a foreign value, short."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return str(value) if isinstance(value, (datetime.date, datetime.time)) else quoted(value)
