"""Names and foreign values in messages: which name may have been meant, and what is long cut short."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["SHOWN", "closest", "hinted", "printable", "quoted", "short"]

_COMPARED = 60  # characters; comparing takes time that grows with their square, and a label may have 200
SHOWN = 30  # names that a message lists; a model may have 1,000 labels


def closest(name: str, candidates: Sequence[str]) -> str | None:
    """Return the candidate most like `name`, whatever the case, if any is like it at all."""
    import difflib  # only a message needs it

    folded = {candidate[:_COMPARED].casefold(): candidate for candidate in reversed(candidates)}
    close = difflib.get_close_matches(name[:_COMPARED].casefold(), folded, n=1)
    return folded[close[0]] if close else None


def hinted(names: Sequence[str], candidates: Sequence[str]) -> str:
    """List names, each with the candidate that may have been meant."""
    close = {name: closest(name, candidates) for name in names[:SHOWN]}
    return short(
        [f"{name[:60]} (close to {close[name]})" if close.get(name) else name[:60] for name in names]
    )


def printable(text: str) -> str:
    """Escape what is not printable in foreign text, so that it may go to a terminal, or into a page."""
    return text if text.isprintable() else ascii(text)[1:-1]


def short(names: Iterable[str]) -> str:
    """Join names with commas, the first thirty of them."""
    every = list(names)
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return (", ".join(every[:SHOWN]) or "none") + more


def quoted(value: object, most: int = 60) -> str:
    """Write a foreign value as Python does, for any terminal: ASCII, at most `most` characters."""
    try:
        text = ascii(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits; lists nested too deep
        text = f"a {type(value).__name__}"
    return text if len(text) <= most else f"{text[: most - 3]}..."
