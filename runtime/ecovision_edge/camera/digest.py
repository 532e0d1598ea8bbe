"""HTTP's Digest authentication (RFC 7616, and RFC 2617 of older cameras): no password goes over the line."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from urllib.request import parse_http_list, parse_keqv_list

__all__ = ["digest_answer"]

_HASHES = {"SHA-512-256": "sha512_256", "SHA-256": "sha256", "SHA": "sha1", "MD5": "md5"}  # best first


def digest_answer(challenges: Sequence[str], credentials: tuple[str, str], target: str) -> str | None:
    """Return what answers the best of a server's challenges to a GET.

    A camera often offers several, one an algorithm.

    Args:
        challenges: What follows `Digest` in each.
        credentials: User and password.
        target: Path and query that are asked for.

    Returns:
        What follows `Digest` in the header `Authorization`; None if none of them can be answered.
    """
    offered: dict[str, tuple[str, dict[str, str]]] = {}
    for challenge in challenges:
        try:
            terms = {
                name.lower(): value for name, value in parse_keqv_list(parse_http_list(challenge)).items()
            }
        except (ValueError, IndexError):  # no sound one
            continue
        name = terms.get("algorithm", "MD5")
        ways = [way.strip().lower() for way in terms["qop"].split(",")] if "qop" in terms else ["auth"]
        if "realm" in terms and "nonce" in terms and "auth" in ways:
            offered.setdefault(name.upper().removesuffix("-SESS"), (name, terms))
    for algorithm, hash_name in _HASHES.items():
        if algorithm in offered and hash_name in hashlib.algorithms_available:
            return _answer(*offered[algorithm], hash_name, credentials, target)
    return None


def _answer(
    algorithm: str, terms: dict[str, str], hash_name: str, credentials: tuple[str, str], target: str
) -> str:
    def digest(*parts: str) -> str:
        return hashlib.new(hash_name, ":".join(parts).encode(), usedforsecurity=False).hexdigest()

    realm, nonce, client = terms["realm"], terms["nonce"], secrets.token_hex(8)
    secret = digest(credentials[0], realm, credentials[1])
    if algorithm.lower().endswith("-sess"):
        secret = digest(secret, nonce, client)
    counted = ("00000001", client, "auth") if "qop" in terms else ()
    fields = [
        ("username", _quoted(credentials[0])),
        ("realm", _quoted(realm)),
        ("nonce", _quoted(nonce)),
        ("uri", _quoted(target)),
        ("response", _quoted(digest(secret, nonce, *counted, digest("GET", target)))),
    ]
    if "algorithm" in terms:
        fields.append(("algorithm", algorithm))
    if "opaque" in terms:
        fields.append(("opaque", _quoted(terms["opaque"])))
    if counted:
        fields += [("qop", "auth"), ("nc", counted[0])]
    if counted or algorithm.lower().endswith("-sess"):
        fields.append(("cnonce", _quoted(client)))
    return ", ".join(f"{name}={value}" for name, value in fields)


def _quoted(text: str) -> str:
    """Write a quoted string of HTTP (RFC 9110, 5.6.4)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
