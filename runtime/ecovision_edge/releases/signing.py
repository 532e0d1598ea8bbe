"""Sign metadata with the keys that are here, no more of them than are needed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from tuf.api.metadata import Metadata, Root, VerificationResult

from ecovision_edge.releases.keys import KeyStore, short_id

__all__ = ["AnyMetadata", "Demand", "Missing", "is_signed", "sign"]

AnyMetadata: TypeAlias = "Metadata[Any]"
Demand: TypeAlias = "tuple[Root, str]"
"""A root, and the role whose keys in it have to sign."""


@dataclass(frozen=True, slots=True)
class Missing:
    """How many signatures of a role are missing, and the ids of the keys that could make them."""

    role: str
    count: int
    keyids: tuple[str, ...]

    def __str__(self) -> str:
        names = ", ".join(f"{self.role}-{short_id(keyid)}" for keyid in self.keyids)
        return f"{self.count} more signature{'s' * (self.count > 1)} of {self.role}, by {names or 'no key'}"


def sign(signed: AnyMetadata, demands: Iterable[Demand], keys: KeyStore) -> list[Missing]:
    """Add signatures until each demand is met, or no key that is here can add one.

    Returns:
        What is missing then; empty if all demands are met.

    Raises:
        SigningKeyError: a key that is here cannot be opened.
    """
    missing = []
    for root, role in demands:
        for keyid in root.roles[role].keyids:
            result = _verify(signed, root, role)
            if result.verified:
                break
            signer = None if keyid in result.signed else keys.signer(root.keys[keyid])
            if signer is not None:
                signed.sign(signer, append=True)
        result = _verify(signed, root, role)
        if not result.verified:
            missing.append(Missing(role, result.missing, tuple(result.unsigned)))
    return missing


def is_signed(signed: AnyMetadata, demands: Iterable[Demand]) -> bool:
    """Return whether each demand is met."""
    return all(_verify(signed, root, role).verified for root, role in demands)


def _verify(signed: AnyMetadata, root: Root, role: str) -> VerificationResult:
    return root.get_verification_result(role, signed.signed_bytes, signed.signatures)
