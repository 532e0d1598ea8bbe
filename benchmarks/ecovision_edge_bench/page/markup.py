"""Markup that is escaped by construction, and figures as text."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping

from ecovision_edge.base.fields import JsonValue

__all__ = [
    "UNMEASURED",
    "Html",
    "escape",
    "join",
    "milliseconds",
    "named",
    "quantity",
    "span",
    "tag",
    "unbroken",
]

UNMEASURED = "not measured"


class Html(str):
    """Markup, safe as it is. A plain `str` is foreign text, and escaped wherever it goes in."""

    __slots__ = ()


def escape(text: str) -> Html:
    """Foreign text as markup; what is not printable (controls, bidirectional overrides) is spelled out."""
    if isinstance(text, Html):
        return text
    return Html(html.escape("".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)))


def join(parts: Iterable[str], between: str = "") -> Html:
    """Return the parts one after the other, with escaped text `between`."""
    return Html(escape(between).join(escape(p) for p in parts))


def tag(name: str, attributes: Mapping[str, str | float] | None = None, *children: str) -> Html:
    """Return an element; numbers among the attributes are written short, empty attributes are left out."""
    written = "".join(
        f' {key}="{escape(value) if isinstance(value, str) else f"{value:.6g}"}"'
        for key, value in (attributes or {}).items()
        if value != ""
    )
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def span(kind: str, *children: str) -> Html:
    """Return a `<span>` of a class."""
    return tag("span", {"class": kind}, *children)


def unbroken(text: str) -> Html:
    """Return a sentence in which no line begins with a per cent sign."""
    return Html(escape(text).replace(" %", "&nbsp;%"))


def milliseconds(value: float) -> str:
    """Without the unit: hundredths, from a second on whole ones."""
    return f"{value:.2f}" if value < 1000 else f"{value:.0f}"


def quantity(value: JsonValue, unit: str, digits: int = 0, missing: str = "not readable") -> str:
    """Return a number of a result with its unit; `missing` for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return missing
    return f"{value:.{digits}f} {unit}"


def named(value: JsonValue, missing: str = "not readable") -> str:
    """Return any value of a result as text."""
    if value is None or value == "":
        return missing
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(named(v) for v in value) or "none"
    if isinstance(value, dict):
        return "; ".join(f"{k}: {named(v)}" for k, v in value.items()) or "none"
    return str(value)
