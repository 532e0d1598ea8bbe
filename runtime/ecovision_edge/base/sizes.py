"""Amounts of bytes as a person writes them."""

from __future__ import annotations

import re

from ecovision_edge.errors import OptionError

__all__ = ["parse_size"]

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def parse_size(text: str, option: str = "a size") -> int:
    """Read `500MB`, `2GB`, `512MiB` or plain bytes as a whole number of bytes above 0.

    Raises:
        OptionError: none of these; `option` is what it calls it.
    """
    match = re.fullmatch(r"(\d{1,15}(?:\.\d+)?)\s*([KMG]I?B|B|)", text.strip().upper())
    size = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if size <= 0:
        raise OptionError(option, expected="bytes, or like 500MB, 2GB, 512MiB", found=text)
    return size
