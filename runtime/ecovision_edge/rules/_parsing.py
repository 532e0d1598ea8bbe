"""Parse a file of rules, TOML or JSON, and name places in it by their key path.

A text that the parser refuses is named by its line, as the parser tells it.
"""

from __future__ import annotations

import datetime
import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ecovision_edge.base.names import quoted
from ecovision_edge.errors import RulesError

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover - the same library under its own name
    import tomli as tomllib

__all__ = ["MAX_DEPTH", "KeyPath", "Source", "dotted", "parse", "show"]

KeyPath: TypeAlias = "tuple[str | int, ...]"
"""Keys from the root down; an integer is a place in a list, from 0."""

MAX_DEPTH = 16
"""Parts of a key path at most; rules need three, `costs.battery.bio`."""

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


def dotted(path: KeyPath) -> str:
    """Return a key path as TOML writes it: `costs.battery.bio`, `bins.paper[1]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            shown = part if re.fullmatch("[A-Za-z0-9_-]{1,60}", part) else show(part)
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
        raise RulesError(f"{where}:1: the whole", expected="an object", found=show(data))
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


def show(value: object) -> str:
    """Write a foreign value, short."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return str(value) if isinstance(value, (datetime.date, datetime.time)) else quoted(value)
