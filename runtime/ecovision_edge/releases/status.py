"""What is published, which keys there are and where, and what expires when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.releases.channel import Channel
from ecovision_edge.releases.expiry import days_of
from ecovision_edge.releases.keys import OFFLINE, ROLES, short_id
from ecovision_edge.releases.session import Session
from ecovision_edge.releases.signing import AnyMetadata
from ecovision_edge.releases.staging import waiting

__all__ = ["RepositoryStatus", "RoleStatus", "read_status"]

Level = Literal["ok", "warn", "fail"]

WARN_DAYS = 60
"""Days before root or targets expire from which on there is a warning: a walk to a drawer takes planning."""


@dataclass(frozen=True, slots=True)
class RoleStatus:
    """One role: its version, when it expires, and which keys sign it.

    Args:
        role: root, targets, snapshot or timestamp.
        version: Of its newest metadata.
        expires: When that expires.
        left: Days until then; negative if it has.
        threshold: How many of the keys have to sign.
        keys: Ids of the keys, each with its file if that is here.
        level: warn if it expires soon, fail if it has.
    """

    role: str
    version: int
    expires: datetime
    left: float
    threshold: int
    keys: tuple[tuple[str, Path | None], ...]
    level: Level

    @property
    def advice(self) -> str | None:
        """What to do about it; None if it is well."""
        if self.level == "ok":
            return None
        command = f"renew {self.role}" if self.role in OFFLINE else "refresh"
        state = "has expired: devices refuse it" if self.level == "fail" else "expires soon"
        return f"{self.role} {state}; run `ecovision-edge release {command}`"

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {
            "role": self.role,
            "version": self.version,
            "expires": f"{self.expires:%Y-%m-%dT%H:%M:%SZ}",
            "days_left": round(self.left, 2),
            "threshold": self.threshold,
            "keys": [{"id": keyid, "file": None if path is None else str(path)} for keyid, path in self.keys],
            "level": self.level,
        }


@dataclass(frozen=True, slots=True)
class RepositoryStatus:
    """A whole repository, whose signatures were verified.

    Args:
        roles: The four roles.
        channels: What is released.
        missing: Targets whose files are not there, or not of the size that was signed.
        waiting: What waits for signatures, in lines.
        unused: Files of private keys that no role has.
    """

    roles: tuple[RoleStatus, ...]
    channels: tuple[Channel, ...]
    missing: tuple[str, ...]
    waiting: tuple[str, ...]
    unused: tuple[Path, ...]

    @property
    def ok(self) -> bool:
        """Whether devices take it: nothing has expired, no file is missing."""
        return not self.missing and all(role.level != "fail" for role in self.roles)

    def advice(self) -> Iterator[str]:
        """Yield what to do, one line each."""
        yield from (advice for role in self.roles if (advice := role.advice) is not None)
        if self.missing:
            yield f"{len(self.missing)} files are missing or damaged: {self.missing[0]}; copy them back"
        if self.waiting:
            yield "a change waits for signatures; run `ecovision-edge release sign` with the other keys"

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {
            "ok": self.ok,
            "roles": [role.to_json() for role in self.roles],
            "channels": {c.name: [r.to_json() for r in c.releases] for c in self.channels},
            "missing": list(self.missing),
            "waiting": list(self.waiting),
            "unused_keys": [str(path) for path in self.unused],
            "advice": list(self.advice()),
        }


def read_status(session: Session) -> RepositoryStatus:
    """Look at everything.

    Raises:
        ReleaseError: a file is not the one that was signed.
    """
    used = {short_id(keyid) for keyid in session.root.keys}
    targets = session.state.targets.signed.targets
    return RepositoryStatus(
        roles=tuple(_role(session, role) for role in ROLES),
        channels=tuple(session.channels().values()),
        missing=tuple(p for p, target in targets.items() if not session.repository.has_target(target)),
        waiting=waiting(session),
        unused=tuple(p for p in session.keys.files() if p.stem.rpartition("-")[2] not in used),
    )


def _role(session: Session, role: str) -> RoleStatus:
    newest: AnyMetadata = getattr(session.state, role)
    keys, days = session.root.roles[role], days_of(session.root)[role]
    left = session.days_left(role)
    soon = min(WARN_DAYS, days / 3) if role in OFFLINE else days / 3
    return RoleStatus(
        role=role,
        version=newest.signed.version,
        expires=newest.signed.expires,
        left=left,
        threshold=keys.threshold,
        keys=tuple((keyid, session.keys.path_of(keyid)) for keyid in keys.keyids),
        level="fail" if left <= 0 else "warn" if left < soon else "ok",
    )
