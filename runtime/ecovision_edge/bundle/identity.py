"""Which bundle is it: a name and a version for people, and an id that no other bundle has.

The version stands in the manifest's provenance, the one place in which a runtime that is older than versions
passes over what it does not know: it reads a bundle with one as it reads any other.
"""

from __future__ import annotations

import hashlib
import re
from datetime import date

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.records import dataclass

__all__ = [
    "VERSION_WORDS",
    "BundleIdentity",
    "dated_version",
    "is_version",
    "revised_version",
]

VERSION_WORDS = "1 to 64 letters, digits and any of . _ - +, the first a letter or digit"
_MOST = 64
_VERSION = re.compile(rf"[0-9A-Za-z][0-9A-Za-z._+-]{{0,{_MOST - 1}}}")
_DIGEST, _SHORT = 8, 12  # hexadecimal digits: of a version's content, of an id that is shown


@dataclass(frozen=True, slots=True)
class BundleIdentity:
    """What a bundle is called.

    Args:
        name: Its name, 1 to 200 printable characters; several versions share it.
        version: The one it was given; of a bundle without one the first 12 digits of `id`.
        id: The sha256 of the bytes of its `bundle.json`, 64 hexadecimal digits. That file has the sha256 of
            every other one, so no two bundles that differ share it.
    """

    name: str
    version: str
    id: str

    @classmethod
    def of(cls, name: str, version: str | None, manifest: bytes) -> BundleIdentity:
        """Return that of a bundle whose `bundle.json` has the bytes `manifest`."""
        digest = hashlib.sha256(manifest).hexdigest()
        return cls(name, version or digest[:_SHORT], digest)

    def __str__(self) -> str:
        short = self.id[:_SHORT]
        return f"{self.name} {short}" if self.version == short else f"{self.name} {self.version} ({short})"

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {"name": self.name, "version": self.version, "id": self.id}


def is_version(text: str) -> bool:
    """Check whether `text` can be a version: `VERSION_WORDS`."""
    return _VERSION.fullmatch(text) is not None


def dated_version(day: date, content: bytes) -> str:
    """Return the version of a bundle that is given none: the day, and what tells apart two of one day.

    Args:
        day: Of the export, in UTC.
        content: The manifest's bytes without a version: the same content has the same version.
    """
    return f"{day:%Y.%m.%d}+{_digest(content)}"


def revised_version(version: str, content: bytes) -> str:
    """Return the version of a bundle that was made of another one: the other one's, and a new ending.

    `2.1` becomes `2.1+3f2a90bc`, and that `2.1+77e01d5a`: what follows a `+` tells builds of one version
    apart, as in semantic versions.

    Args:
        version: Of the one that it was made of.
        content: As of `dated_version`.
    """
    ending = f"+{_digest(content)}"
    return version.partition("+")[0][: _MOST - len(ending)] + ending


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGEST]
