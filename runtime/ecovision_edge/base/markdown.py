"""Foreign text in Markdown, tables, and parts of a text that are rewritten later."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["plain", "replace_section", "section", "table"]

MOST_CHARACTERS = 200  # of one foreign text; a label or a bundle's name has no more

# What Markdown, the tables and formulas of its dialects, or HTML give a meaning to inside a line. An
# underscore between letters has none.
_SPECIAL = re.compile(r"[\\`*\[\]|~$#!]|(?<![^\W_])_|_(?![^\W_])")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def plain(text: str, most: int = MOST_CHARACTERS) -> str:
    """Make foreign text plain: one line, no markup, no HTML, at most `most` characters of it.

    For the inside of a sentence, a heading or a cell of a table: not for the start of a line, nor for code.
    """
    shown = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))
    if len(shown) > most:
        shown = shown[: most - 1] + "\u2026"
    return "".join(_HTML.get(c, c) for c in _SPECIAL.sub(r"\\\g<0>", shown))


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a head and rows; each cell is Markdown already."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return [head, "|---" * len(rows[0]) + "|", *body]


def section(name: str, lines: Sequence[str]) -> list[str]:
    """Return the lines between marks that no page shows, for `replace_section` to find."""
    start, end = _marks(name)
    return [start, *lines, end]


def replace_section(text: bytes, name: str, lines: Sequence[str]) -> bytes:
    """Put other lines between the marks of `name`; a text without them, or with several, stays as it is.

    A mark is a line of its own: one that a foreign name holds, in the front matter of a card, does not count.
    """
    places = [
        [m.span() for m in re.finditer(b"^%s$" % re.escape(mark.encode()), text, re.MULTILINE)]
        for mark in _marks(name)
    ]
    if [len(found) for found in places] != [1, 1] or places[0][0] > places[1][0]:
        return text
    (start, _), (_, end) = places[0][0], places[1][0]
    return text[:start] + "\n".join(section(name, lines)).encode() + text[end:]


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- ecovision-edge: {name} -->", f"<!-- ecovision-edge: end of {name} -->"
