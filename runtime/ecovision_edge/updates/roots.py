"""The roots that a device keeps: whom it trusts, from one key rotation to the next."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from ecovision_edge.base.files import read_regular_file

__all__ = ["MAX_ROOT_BYTES", "kept_roots", "parse_metadata", "parse_root"]

MAX_ROOT_BYTES = 512_000
"""Size of one root at most, as python-tuf has it."""

_ROOT_NAME = re.compile(r"(\d{1,9})\.root\.json")


def kept_roots(folder: Path) -> dict[int, bytes]:
    """Return the roots that are here and whole, by version."""
    found = {}
    with contextlib.suppress(OSError):
        for path in (folder / "root_history").iterdir():
            match = _ROOT_NAME.fullmatch(path.name)
            data = read_regular_file(path, MAX_ROOT_BYTES) if match is not None else b""
            root = parse_root(data)
            if match is not None and root is not None and root.version == int(match[1]):
                found[root.version] = data
    return found


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
