"""The address of a repository of releases, and other text of a question that another process has to read."""

from __future__ import annotations

from urllib.parse import urlsplit

from ecovision_edge.base.names import quoted
from ecovision_edge.errors import OptionError

__all__ = ["MOST_TEXT", "check_text", "check_url"]

MOST_TEXT = 4096
"""Characters of a path, or of an address."""


def check_url(url: str, option: str = "--from") -> str:
    """Return the address of a repository with a slash at its end.

    Raises:
        OptionError: not of `http` or `https`, or one with a password, a query or a fragment. What may be a
            password is not repeated.
    """
    expected = "an address such as https://updates.local/bins"
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good or not url.isprintable() or " " in url or len(url) > MOST_TEXT:
        raise OptionError(option, expected=expected, found="one with an @" if "@" in url else quoted(url))
    if parts.username is not None or parts.query or parts.fragment:
        raise OptionError(option, expected="an address without user, password, query and fragment")
    return url if url.endswith("/") else f"{url}/"


def check_text(text: str, option: str, most: int = MOST_TEXT) -> str:
    """Return a name or a path, of 1 to `most` characters, all printable.

    Raises:
        OptionError: another one; `option` is what it calls it.
    """
    if not 0 < len(text) <= most or not text.isprintable():
        raise OptionError(option, expected=f"1 to {most} printable characters", found=quoted(text))
    return text
