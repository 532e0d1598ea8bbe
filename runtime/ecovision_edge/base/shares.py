"""Parts of a whole as a person writes them."""

from __future__ import annotations

import re

from ecovision_edge.base.names import quoted
from ecovision_edge.errors import OptionError

__all__ = ["parse_share"]


def parse_share(text: str, option: str = "a share", most: float = 1.0) -> float:
    """Read `25%` or `0.25` as 0.25, from 0 to `most`.

    Raises:
        OptionError: neither, or out of range; `option` is what it calls it.
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*(%?)", text.strip())
    share = float(match[1]) / (100 if match[2] else 1) if match else -1.0
    if not 0 <= share <= most:
        raise OptionError(option, expected=f"0% to {most:.0%}, or 0 to {most:g}", found=quoted(text))
    return share
