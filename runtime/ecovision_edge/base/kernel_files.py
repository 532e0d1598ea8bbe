"""Small files of the kernel's, in `/proc` and `/sys`; what is not there, or cannot be read, is None."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["read_number", "read_text"]


def read_text(path: Path) -> str | None:
    """Return what a file says, without NULs and space around it; None if it is empty or cannot be read."""
    try:
        return path.read_text(errors="replace").strip("\0 \t\r\n") or None
    except OSError:
        return None


def read_number(path: Path) -> float | None:
    """Return the whole decimal number that a file holds; None if it holds none, or cannot be read."""
    text = read_text(path)
    return float(text) if text is not None and re.fullmatch(r"-?\d+", text) else None
