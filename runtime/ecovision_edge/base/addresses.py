"""Addresses taken apart: the options of `?name=value&name=value`, and what the environment puts in.

`Options` are asked for one by one; what nobody asked for is an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import quote, unquote

from ecovision_edge.base.names import closest
from ecovision_edge.errors import OptionError, SourceError

__all__ = [
    "FOREIGN_PREFIX",
    "OptionProblem",
    "Options",
    "expand_variables",
    "may_be_credentials",
    "split_foreign",
    "split_options",
    "split_pairs",
]

FOREIGN_PREFIX = "ecovision."
"""Before our own options in text whose `?` belongs to somebody else: addresses and pipelines."""

OptionProblem = type[SourceError] | type[OptionError]
"""What a wrong option raises: SourceError of a source, OptionError of anything else."""

_Number = TypeVar("_Number", int, float)

_PAIRS = re.compile(r"(?:[A-Za-z][\w.-]*=[^&?/]*)(?:&[A-Za-z][\w.-]*=[^&?/]*)*")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Options:
    """The options of one address. Each getter takes one out; `done` refuses what is left over.

    Args:
        of: The source or the sink, for messages; without credentials.
        pairs: Names and values, as written.
        prefix: What stands before each name in the address, for messages.
        problem: What the getters and `done` raise.
    """

    def __init__(
        self, of: str, pairs: Mapping[str, str], prefix: str = "", *, problem: OptionProblem = SourceError
    ) -> None:
        self._of, self._left, self._prefix, self._problem = of, dict(pairs), prefix, problem
        self._known: list[str] = []

    def text(self, name: str) -> str | None:
        """Return the value as written; None if it was not given."""
        self._known.append(name)
        return self._left.pop(name, None)

    def integer(self, name: str, low: int, high: int) -> int | None:
        """Return a whole number from `low` to `high`, or None; raises `problem`."""
        return self._number(name, int, f"a whole number from {low} to {high}", low, high)

    def number(self, name: str, low: float, high: float) -> float | None:
        """Return a number above `low`, up to `high`, or None; raises `problem`."""
        expected = f"a number above {low:g}, at most {high:g}"
        value = self._number(name, float, expected, low, high)
        if value is not None and value == low:
            raise self.error(name, expected, f"{value:g}")
        return value

    def choice(self, name: str, choices: tuple[str, ...]) -> str | None:
        """Return one of `choices`, or None; raises `problem`."""
        value = self.text(name)
        if value is not None and value not in choices:
            raise self.error(name, " or ".join(choices), value or "nothing")
        return value

    def flag(self, name: str) -> bool:
        """Return whether it is 1; not given is 0. Raises `problem` for anything else."""
        return self.choice(name, ("0", "1")) == "1"

    def done(self) -> None:
        """Raise `problem` if there is an option that no getter asked for."""
        for name in self._left:
            near = closest(name, self._known)
            known = ", ".join(self._prefix + n for n in sorted(self._known))
            raise self._problem(
                f"unknown option of {self._of}",
                expected=f"one of {known}" if known else "no options",
                found=self._prefix + name,
                fix=f"did you mean {self._prefix}{near}?" if near else None,
            )

    def error(self, name: str, expected: str, found: str) -> SourceError | OptionError:
        """Return the error of a wrong value."""
        return self._problem(f"option {self._prefix}{name} of {self._of}", expected=expected, found=found)

    def _number(
        self, name: str, kind: type[_Number], expected: str, low: float, high: float
    ) -> _Number | None:
        text = self.text(name)
        if text is None:
            return None
        try:
            value = kind(text)
        except ValueError:
            raise self.error(name, expected, text or "nothing") from None
        if not (math.isfinite(value) and low <= value <= high):
            raise self.error(name, expected, text)
        return value


def split_options(uri: str, *, problem: OptionProblem = SourceError) -> tuple[str, dict[str, str]]:
    """Split `path?name=value&name=value` into path and options; a `?` before anything else is the path's.

    Raises `problem` if an option is given twice.
    """
    before, mark, after = uri.rpartition("?")
    if not mark or not _PAIRS.fullmatch(after):
        return uri, {}
    return before, split_pairs(after, problem=problem)


def split_foreign(text: str, *, problem: OptionProblem = SourceError) -> tuple[str, dict[str, str]]:
    """Split off the options in the query of an address or a pipeline that have our prefix; it is taken off.

    All else is left as it was, in its order. Raises `problem` if an option is given twice.
    """
    before, mark, query = text.rpartition("?")
    if not mark or FOREIGN_PREFIX not in query:
        return text, {}
    parts = query.split("&")
    ours = [p for p in parts if p.startswith(FOREIGN_PREFIX)]
    rest = "&".join(p for p in parts if not p.startswith(FOREIGN_PREFIX))
    mine = split_pairs("&".join(ours), prefix=FOREIGN_PREFIX, problem=problem)
    return f"{before}?{rest}" if rest else before, mine


def split_pairs(
    query: str, *, prefix: str = "", decode: bool = True, problem: OptionProblem = SourceError
) -> dict[str, str]:
    """Split `name=value&name=value`, and take the prefix off the names.

    Args:
        query: What was written, without its `?`; may be empty.
        prefix: Taken off each name.
        decode: Whether the values are percent-decoded.
        problem: What is raised if an option is given twice.
    """
    pairs: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, _, value = part.removeprefix(prefix).partition("=")
        if name in pairs:
            raise problem(f"option {prefix}{name}", expected="once", found="twice")
        pairs[name] = unquote(value) if decode else value
    return pairs


def expand_variables(
    text: str,
    environment: Mapping[str, str],
    scheme: str,
    *,
    encode: bool,
    problem: OptionProblem = SourceError,
) -> str:
    """Replace each `${NAME}` by that variable of the environment.

    Args:
        text: A part of an address.
        environment: Usually `os.environ`.
        scheme: Scheme of the address, for messages.
        encode: Whether a value is percent-encoded, whole.
        problem: What is raised if there is no such variable, or no name.
    """

    def value(match: re.Match[str]) -> str:
        found = environment.get(match[1])
        if found is None:
            raise problem(
                f"${{{match[1]}}} in a {scheme}:// address",
                expected="a variable of the environment",
                found="none of that name",
            )
        return quote(found, safe="") if encode else found

    if "${" in _VARIABLE.sub("", text):
        raise problem(
            f"${{ in a {scheme}:// address",
            expected="${NAME}, the name of letters, digits and _",
            fix="write %24 for a plain $",
        )
    return _VARIABLE.sub(value, text)


def may_be_credentials(text: str) -> bool:
    """Check whether the text before an `@` looks like `user:password`; an IPv6 host does not."""
    return ":" in re.sub(r"^\[[0-9A-Fa-f:.%]+\]", "", text)
