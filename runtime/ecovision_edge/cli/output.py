"""What commands print: JSON to a file or to standard output."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ecovision_edge._fields import JsonValue, canonical_json
from ecovision_edge.errors import OptionError

__all__ = ["write_json"]


def write_json(value: JsonValue, target: Path) -> None:
    """Write JSON to the file `target`, whole or not at all; `-` is standard output.

    Raises:
        OptionError: the file cannot be written.
    """
    data = canonical_json(value)
    if str(target) == "-":
        sys.stdout.write(data.decode())
        sys.stdout.flush()
        return
    part = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        part.write_bytes(data)
        part.replace(target)
    except OSError as e:
        part.unlink(missing_ok=True)
        raise OptionError(f"--json {target}", expected="a file to write to", found=e.strerror) from e
