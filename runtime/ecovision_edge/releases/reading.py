"""Read metadata, and verify it as a device would."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from ecovision_edge.base.reasons import reason_of
from ecovision_edge.errors import ReleaseError

__all__ = ["Payload", "altered", "parse", "verify"]

Payload = TypeVar("Payload", Root, Targets, Snapshot, Timestamp)


def parse(data: bytes, name: str, kind: type[Payload]) -> Metadata[Payload]:
    """Read metadata of one kind; `name` is what errors call it.

    Raises:
        ReleaseError: malformed, or of another kind.
    """
    parse = cast("Callable[[bytes], Metadata[Payload]]", Metadata.from_bytes)
    try:
        loaded = parse(data)
    except RepositoryError as e:
        raise altered(name, reason_of(e)) from e
    if not isinstance(loaded.signed, kind):
        raise altered(name, f"it is metadata of the role {loaded.signed.type}")
    return loaded


def verify(root: Root, role: str, loaded: Metadata[Payload], name: str) -> None:
    """Check the signatures of metadata by a root.

    Raises:
        ReleaseError: not enough of its keys have signed.
    """
    try:
        root.verify_delegate(role, loaded.signed_bytes, loaded.signatures)
    except RepositoryError as e:
        raise altered(name, reason_of(e)) from e


def altered(name: str, found: str) -> ReleaseError:
    """Return the error over what nobody who has the keys can have written."""
    return ReleaseError(
        f"{name} is not what a publisher of this repository wrote",
        found=found,
        fix="nothing was signed; bring the folder back from a copy that you trust",
    )
