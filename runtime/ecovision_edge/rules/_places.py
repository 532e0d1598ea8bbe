"""On which line of a TOML or JSON text each key and each element of a list stands.

Neither `tomllib` nor `json` tells. These scanners read no more of a text than is needed to find keys; the
values come from the real parser alone. In a text that the real parser accepts they find every key; in another
they go at least as far as it does, or raise a ValueError.

They also bound the depth: a key of ten thousand parts, `a.a.a...`, keeps `tomllib` busy for seconds, because
the work grows with the square of the parts. So the scanner of TOML goes before the parser.
"""

from __future__ import annotations

import json
import re
import sys
from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import TypeAlias

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover - the same library under its own name
    import tomli as tomllib

__all__ = ["MAX_DEPTH", "KeyPath", "TooDeepError", "json_lines", "line_of", "toml_lines"]

KeyPath: TypeAlias = "tuple[str | int, ...]"
"""Keys from the root down; an integer is a place in a list, from 0."""

MAX_DEPTH = 16
"""Parts of a key path at most; rules need three, `costs.battery.bio`."""

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_LITERAL = re.compile(r"'[^'\n]*'")
# A quote or two may stand inside, and right before the three that end it.
_LONG_BASIC = re.compile(r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}', re.DOTALL)
_LONG_LITERAL = re.compile(r"'''(?:[^']|'{1,2}(?!'))*'{3,5}")
_SCALAR = re.compile(r"[^,\]}#\n]+")  # a date may have a space in it
_REST = re.compile(r"[^\n]*")

_JSON_SPACE = re.compile(r"[ \t\r\n]*")
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_JSON_SCALAR = re.compile(r"[^\s,\]}]+")


def line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int:
    """The line of `path`, or of what is nearest above it; 1 for the root."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return 1


class TooDeepError(ValueError):
    """A key path has more than `MAX_DEPTH` parts; `path` is its beginning, `line` where it stands."""

    def __init__(self, path: KeyPath, line: int) -> None:
        super().__init__(f"line {line}: more than {MAX_DEPTH} parts")
        self.path, self.line = path, line


class _Scanner:
    """A text, a place in it, and the lines found so far; a ValueError where the text is not as promised."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self._newlines = [m.start() for m in re.finditer("\n", text)]

    def line(self) -> int:
        """The line of the current place, from 1."""
        return bisect_right(self._newlines, self.at - 1) + 1

    def note(self, path: KeyPath) -> None:
        """`path` stands here, unless it stood somewhere before; raises TooDeepError."""
        if len(path) > MAX_DEPTH:
            raise TooDeepError(path[:MAX_DEPTH], self.line())
        self.lines.setdefault(path, self.line())

    def take(self, pattern: re.Pattern[str]) -> str:
        """What `pattern` matches here."""
        match = pattern.match(self.text, self.at)
        if match is None:
            raise ValueError(f"line {self.line()}: no {pattern.pattern}")
        self.at = match.end()
        return match[0]

    def starts(self, *texts: str) -> bool:
        """Whether one of `texts` stands here."""
        return self.text.startswith(texts, self.at)

    def accept(self, text: str) -> bool:
        """Go past `text` if it stands here."""
        if not self.starts(text):
            return False
        self.at += len(text)
        return True

    def expect(self, text: str) -> None:
        """Go past `text`, which has to stand here."""
        if not self.accept(text):
            raise ValueError(f"line {self.line()}: no {text}")

    def elements(self, space: re.Pattern[str], end: str, element: Callable[[int], None]) -> None:
        """What stands between an opening bracket, just passed, and `end`; with commas between."""
        count = 0
        self.take(space)
        while not self.accept(end):
            element(count)
            count += 1
            self.take(space)
            if not self.accept(","):
                self.expect(end)
                return
            self.take(space)


def toml_lines(text: str) -> dict[KeyPath, int]:
    """The lines of a text of TOML.

    A table that several headers or dotted keys build up is where the first of them is.

    Raises:
        TooDeepError: a key path has more than `MAX_DEPTH` parts.
        ValueError: it is no TOML.
    """
    scan = _Scanner(text)
    table: KeyPath = ()
    arrays: dict[KeyPath, int] = {}
    scan.take(_BLANK)
    while scan.at < len(text):
        if scan.accept("[["):
            table = _header(scan, arrays, array=True)
            scan.expect("]]")
        elif scan.accept("["):
            table = _header(scan, arrays, array=False)
            scan.expect("]")
        else:
            _key_and_value(scan, table)
        scan.take(_REST)
        scan.take(_BLANK)
    return scan.lines


def _header(scan: _Scanner, arrays: dict[KeyPath, int], *, array: bool) -> KeyPath:
    """The path of a header's table: in an array of tables that of its last element."""
    path: KeyPath = ()
    names = _names(scan)
    for i, name in enumerate(names):
        path = (*path, name)
        scan.note(path)
        if array and i == len(names) - 1:
            arrays[path] = arrays.get(path, -1) + 1
        if path in arrays:
            path = (*path, arrays[path])
            scan.note(path)
    return path


def _names(scan: _Scanner) -> list[str]:
    """The parts of a dotted key."""
    names: list[str] = []
    while True:
        scan.take(_SPACE)
        if scan.starts('"', "'"):
            quoted = scan.take(_BASIC if scan.starts('"') else _LITERAL)
            names.append(str(tomllib.loads(f"k = {quoted}")["k"]))
        else:
            names.append(scan.take(_BARE_KEY))
        if len(names) > MAX_DEPTH:
            raise TooDeepError(tuple(names[:MAX_DEPTH]), scan.line())
        scan.take(_SPACE)
        if not scan.accept("."):
            return names


def _key_and_value(scan: _Scanner, table: KeyPath) -> None:
    scan.take(_SPACE)
    start, path = scan.at, table
    names = _names(scan)
    end, scan.at = scan.at, start
    for name in names:
        path = (*path, name)
        scan.note(path)
    scan.at = end
    scan.expect("=")
    scan.take(_SPACE)
    _value(scan, path)


def _value(scan: _Scanner, path: KeyPath) -> None:
    scan.note(path)
    if scan.accept("["):
        scan.elements(_BLANK, "]", lambda i: _value(scan, (*path, i)))
    elif scan.accept("{"):
        scan.elements(_BLANK, "}", lambda _: _key_and_value(scan, path))
    elif scan.starts('"""'):
        scan.take(_LONG_BASIC)
    elif scan.starts("'''"):
        scan.take(_LONG_LITERAL)
    elif scan.starts('"'):
        scan.take(_BASIC)
    elif scan.starts("'"):
        scan.take(_LITERAL)
    else:
        scan.take(_SCALAR)


def json_lines(text: str, twice: Callable[[KeyPath, int], Exception]) -> dict[KeyPath, int]:
    """The lines of a text that `json` has accepted.

    Raises:
        TooDeepError: a key path has more than `MAX_DEPTH` parts.
        ValueError: it is no JSON.
        What `twice` gives for the path and line of a key that stands in its object a second time.
    """
    scan = _Scanner(text)

    def member(path: KeyPath) -> None:
        line = scan.line()
        inner = (*path, str(json.loads(scan.take(_JSON_STRING), strict=False)))
        if inner in scan.lines:
            raise twice(inner, line)
        scan.lines[inner] = line
        scan.take(_JSON_SPACE)
        scan.expect(":")
        value(inner)

    def value(path: KeyPath) -> None:
        scan.take(_JSON_SPACE)
        scan.note(path)
        if scan.accept("{"):
            scan.elements(_JSON_SPACE, "}", lambda _: member(path))
        elif scan.accept("["):
            scan.elements(_JSON_SPACE, "]", lambda i: value((*path, i)))
        else:
            scan.take(_JSON_STRING if scan.starts('"') else _JSON_SCALAR)

    value(())
    return scan.lines
