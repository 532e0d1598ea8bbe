"""Durations as a person writes them."""

from __future__ import annotations

import re

from ecovision_edge.errors import OptionError

__all__ = ["parse_duration"]

_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def parse_duration(text: str, option: str = "a duration") -> float:
    """Read `200ms`, `90`, `90s`, `30m` or `2h` as seconds, 0 or more.

    Raises:
        OptionError: none of these; `option` is what it calls it.
    """
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,12})?)\s*(ms|s|m|h|min|)", text.strip().lower())
    if match is None:
        raise OptionError(option, expected="seconds, or like 200ms, 90s, 30m, 2h", found=text)
    return float(match[1]) * _UNITS[match[2]]
