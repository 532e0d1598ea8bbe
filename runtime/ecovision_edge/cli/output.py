"""What commands print: JSON to a file or to standard output."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ecovision_edge._fields import JsonValue, canonical_json
from ecovision_edge.errors import OptionError

__all__ = ["printable", "write_json"]


def printable(text: str) -> str:
    """Foreign text as it may go to a terminal: what is not printable is escaped."""
    return text if text.isprintable() else ascii(text)[1:-1]


def write_json(value: JsonValue, target: Path) -> None:
    """Write JSON to the file `target`, whole or not at all; `-` is standard output.

    Raises:
        OptionError: the file cannot be written.
    """
    data = canonical_json(value)
    if str(target) == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(data)  # JSON is UTF-8, whatever the terminal is
        sys.stdout.buffer.flush()
        return
    part = target.parent / f".{target.name}.{os.getpid()}.tmp"
    try:
        part.write_bytes(data)
        part.replace(target)
    except OSError as e:
        part.unlink(missing_ok=True)
        raise OptionError(f"--json {target}", expected="a file to write to", found=e.strerror) from e
