"""The roots that a device keeps: whom it trusts, from one key rotation to the next."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from ecovision_edge.base.files import read_regular_file

__all__ = ["MAX_ROOT_BYTES", "kept_root", "newest_root", "parse_metadata", "parse_root"]

MAX_ROOT_BYTES = 512_000
"""Size of one root at most, as python-tuf has it."""

_HISTORY = "root_history"  # python-tuf's own name
_ROOT_NAME = re.compile(r"(\d{1,9})\.root\.json")


def newest_root(folder: Path) -> tuple[Root, bytes] | None:
    """Return the newest root that is here and whole, and its bytes; None if there is none."""
    versions = []
    with contextlib.suppress(OSError):
        names = [path.name for path in (folder / _HISTORY).iterdir()]
        versions = [int(match[1]) for name in names if (match := _ROOT_NAME.fullmatch(name))]
    for version in sorted(versions, reverse=True):
        data = kept_root(folder, version)
        root = None if data is None else parse_root(data)
        if data is not None and root is not None and root.version == version:
            return root, data
    return None


def kept_root(folder: Path, version: int) -> bytes | None:
    """Return the bytes of a version of the root; None if they are not here."""
    with contextlib.suppress(OSError):
        return read_regular_file(folder / _HISTORY / f"{version}.root.json", MAX_ROOT_BYTES)
    return None


def parse_metadata(data: bytes) -> Metadata[Any]:
    """Read metadata of any role; raises python-tuf's RepositoryError where it is malformed."""
    return Metadata.from_bytes(data)


def parse_root(data: bytes) -> Root | None:
    """Return a root that is signed by its own keys; None if it is not one: a power cut cut it off, say."""
    try:
        metadata = parse_metadata(data)
        root = metadata.signed
        if not isinstance(root, Root):
            return None
        root.verify_delegate("root", metadata.signed_bytes, metadata.signatures)
    except RepositoryError:
        return None
    return root
