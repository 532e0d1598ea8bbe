"""Secrets, which are never in an address: anyone can read a command line's arguments."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from ecovision_edge.errors import OptionError

__all__ = ["read_secret"]

_log = logging.getLogger("ecovision_edge")


def read_secret(path: str, option: str = "secret_file") -> str:
    """Read the first line of a file; warn where others can read the file.

    Raises:
        OptionError: it cannot be read, or is empty.
    """
    expected = "a file with the secret in its first line"
    try:
        with Path(path).open(encoding="utf-8") as stream:
            others = os.fstat(stream.fileno()).st_mode & stat.S_IROTH
            secret = stream.readline(10_000).rstrip("\r\n")
    except (OSError, ValueError) as e:
        found = e.strerror if isinstance(e, OSError) else "no UTF-8"
        raise OptionError(f"{option} {path}", expected=expected, found=found) from e
    if not secret:
        raise OptionError(f"{option} {path}", expected=expected, found="an empty line")
    if others:
        _log.warning("%s %s can be read by every user; run: chmod 600 %s", option, path, path)
    return secret
