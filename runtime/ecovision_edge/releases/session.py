"""One publisher at work: signs what is new, and shows it to devices in an order that they never refuse.

A device reads `N+1.root.json` if it is there, then `timestamp.json`, and what that leads to. So
`timestamp.json` is written last; and before a root with other keys is shown, those keys sign what is there
already. It is good by the old root and by the new one, and at no moment would a device refuse it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from ecovision_edge.errors import ReleaseError
from ecovision_edge.releases.channel import Channel, channel_target
from ecovision_edge.releases.describing import channel_changes, root_changes
from ecovision_edge.releases.expiry import days_of
from ecovision_edge.releases.keys import KeyStore
from ecovision_edge.releases.listing import listed_files
from ecovision_edge.releases.reading import parse
from ecovision_edge.releases.repository import Repository, StagedRole, State
from ecovision_edge.releases.signing import AnyMetadata, Demand, Missing, is_signed, sign

__all__ = ["STAGED", "Outcome", "Session", "utc_now"]

STAGED: tuple[StagedRole, ...] = ("root", "targets")
"""Roles whose changes may wait for signatures, in the order in which they are published."""


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(timezone.utc)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a change.

    Args:
        published: Devices see it; else it waits for signatures.
        lines: What was changed, and what it waits for, for people.
    """

    published: bool
    lines: tuple[str, ...]


class Session:
    """One publisher at work on a repository, which is locked meanwhile: `Session.open`."""

    def __init__(
        self, repository: Repository, keys: KeyStore, state: State, now: Callable[[], datetime]
    ) -> None:
        self.repository, self.keys, self.state, self._now = repository, keys, state, now

    @classmethod
    @contextlib.contextmanager
    def open(
        cls, repository: Repository, keys: KeyStore, now: Callable[[], datetime] | None = None
    ) -> Iterator[Session]:
        """Lock a repository, read and verify it.

        Args:
            repository: The repository.
            keys: The keys that are here.
            now: The time; None is the system's clock.

        Raises:
            ReleaseError: there is none, it is in use, or it is not what a publisher wrote; or the clock is
                behind that of a publisher before.
        """
        with repository.locked():
            session = cls(repository, keys, repository.load(keys.pins()), now or utc_now)
            session._refuse_a_clock_behind()
            yield session

    @property
    def root(self) -> Root:
        """The newest root."""
        return self.state.root.signed

    def channels(self) -> dict[str, Channel]:
        """Read what devices see of the channels, by name."""
        return self.repository.channels(self.state.targets.signed)

    def today(self) -> str:
        """Return the day, `YYYY-MM-DD` in UTC."""
        return f"{self._now():%Y-%m-%d}"

    def expires(self, role: str, root: Root | None = None) -> datetime:
        """Return when metadata of a role expires that is signed now."""
        return self._now() + timedelta(days=days_of(root or self.root)[role])

    def days_left(self, role: str) -> float:
        """Return the days until the newest metadata of a role expires; negative if it has."""
        expires: datetime = getattr(self.state, role).signed.expires
        return (expires - self._now()) / timedelta(days=1)

    def open_keys(self, role: str) -> None:
        """Open as many keys of a role as have to sign: a wrong passphrase is told before anything is made.

        Raises:
            SigningKeyError: one cannot be opened.
        """
        there, opened = self.root.roles[role], 0
        for keyid in there.keyids:
            if opened < there.threshold:
                opened += self.keys.signer(self.root.keys[keyid]) is not None

    def submit_channels(self, channels: dict[str, Channel]) -> Outcome:
        """Sign a list of targets that has these channels and their files, and publish it if that is enough.

        Raises:
            ReleaseError: a change waits for signatures already, or a file cannot be written.
            SigningKeyError: a key cannot be opened.
        """
        self.refuse_if_staged("targets")
        lines = tuple(channel_changes(self.channels(), channels))
        stored = {
            (path := channel_target(name)): self.repository.put_target(path, channel.dumps())
            for name, channel in channels.items()
        }
        files = listed_files(channels.values())
        return self._submit_targets(Targets(targets={**stored, **files}), lines)

    def renew_targets(self) -> Outcome:
        """Sign the list of targets that is there once more, so that it expires later.

        Raises:
            ReleaseError, SigningKeyError: as `submit_channels`.
        """
        self.refuse_if_staged("targets")
        return self._submit_targets(Targets(targets=self.state.targets.signed.targets), ())

    def _submit_targets(self, payload: Targets, lines: tuple[str, ...]) -> Outcome:
        payload.version = self.state.targets.signed.version + 1
        payload.expires = self.expires("targets")
        signed: Metadata[Targets] = Metadata(payload)
        missing = sign(signed, [(self.root, "targets")], self.keys)
        if missing:
            return self.stage(signed, lines, missing)
        return self._publish_targets(signed, lines)

    def submit_root(self, payload: Root) -> Outcome:
        """Sign a root, with the keys of the one before too, and publish it if that is enough.

        Raises:
            ReleaseError: a root waits for signatures already, or cannot be written.
            SigningKeyError: a key cannot be opened.
        """
        self.refuse_if_staged("root")
        payload.version = self.root.version + 1
        payload.expires = self.expires("root", payload)
        lines = tuple(root_changes(self.root, payload))
        signed: Metadata[Root] = Metadata(payload)
        missing = sign(signed, self.demands(signed), self.keys)
        if missing:
            return self.stage(signed, lines, missing)
        return self._publish_root(signed, lines)

    def refresh(self) -> Outcome:
        """Publish what has all its signatures by now, and sign timestamp and, if it is time, snapshot again.

        Raises:
            ReleaseError: a key of them is not here, or a file cannot be written.
            SigningKeyError: a key cannot be opened.
        """
        lines: list[str] = []
        for role in STAGED:
            staged = self.staged(role)
            if staged is not None and is_signed(staged, self.demands(staged)):
                lines += self.publish(staged).lines
        renewed = self.days_left("snapshot") < days_of(self.root)["snapshot"] / 2
        missing = self._put_snapshot() if renewed else self._put_timestamp()
        if missing:
            raise ReleaseError(
                "cannot refresh",
                found="; ".join(map(str, missing)),
                fix="name the folder of the online keys by --keys",
            )
        if renewed:
            lines.append(f"snapshot: until {self.state.snapshot.signed.expires:%Y-%m-%d %H:%M} UTC")
        lines.append(f"timestamp: until {self.state.timestamp.signed.expires:%Y-%m-%d %H:%M} UTC")
        return Outcome(True, tuple(lines))

    def refuse_if_staged(self, role: StagedRole) -> None:
        """Refuse another change while one waits for signatures.

        Raises:
            ReleaseError: one does.
        """
        if self.staged(role) is not None:
            raise ReleaseError(
                f"a change of {role} waits for signatures already",
                fix="run `ecovision-edge release sign` with the other keys, or give it up with --discard",
            )

    def _refuse_a_clock_behind(self) -> None:
        """Refuse to sign what devices would take for expired, on a board that has no clock of its own."""
        newest = max((r.added for channel in self.channels().values() for r in channel.releases), default="")
        if self.today() < newest:
            raise ReleaseError(
                "the clock of this machine",
                expected=f"{newest} or later, the day of the newest release",
                found=self.today(),
                fix="set it, or wait until it is synchronized",
            )

    def staged(self, role: StagedRole) -> AnyMetadata | None:
        """Return what waits; what was published meanwhile, or made obsolete, does not."""
        data = self.repository.staged(role)
        if data is None:
            return None
        current = self.state.root if role == "root" else self.state.targets
        kind: Any = Root if role == "root" else Targets
        staged: AnyMetadata = parse(data, f"staged/{role}.json", kind)
        if staged.signed.version == current.signed.version + 1:
            return staged
        self.repository.unstage(role)
        return None

    def demands(self, signed: AnyMetadata) -> list[Demand]:
        """Return whose signatures a root or a list of targets needs."""
        if isinstance(signed.signed, Root):
            return [(self.root, "root"), (signed.signed, "root")]
        return [(self.root, "targets")]

    def stage(self, signed: AnyMetadata, lines: Iterable[str], missing: Iterable[Missing]) -> Outcome:
        """Keep what is not signed enough, and say by whom it is to be."""
        self.repository.stage(signed)
        waits = [f"waits for {what}" for what in dict.fromkeys(map(str, missing))]
        return Outcome(False, (*lines, *waits))

    def publish(self, signed: AnyMetadata, lines: tuple[str, ...] = ()) -> Outcome:
        """Show devices a root or a list of targets that is signed enough; no lines are those of its changes.

        Raises:
            ReleaseError: it cannot be written.
            SigningKeyError: a key of what has to be signed with it cannot be opened.
        """
        if isinstance(signed.signed, Root):
            return self._publish_root(signed, lines or tuple(root_changes(self.root, signed.signed)))
        return self._publish_targets(
            signed,
            lines or tuple(channel_changes(self.channels(), self.repository.channels(signed.signed))),
        )

    def _publish_targets(self, signed: Metadata[Targets], lines: tuple[str, ...]) -> Outcome:
        missing = self._put_snapshot(signed)
        if missing:
            return self.stage(signed, lines, missing)
        self.repository.unstage("targets")
        until = f"targets: version {signed.signed.version}, until {signed.signed.expires:%Y-%m-%d}"
        return Outcome(True, (*lines, until))

    def _publish_root(self, signed: Metadata[Root], lines: tuple[str, ...]) -> Outcome:
        state = self.state
        others: tuple[AnyMetadata, ...] = (state.targets, state.snapshot, state.timestamp)
        changed = [other for other in others if not is_signed(other, [(signed.signed, other.signed.type)])]
        missing = [m for o in changed for m in sign(o, [(signed.signed, o.signed.type)], self.keys)]
        if missing:
            return self.stage(signed, lines, missing)
        for other in changed:
            self.repository.put(other)
        self.repository.put(signed)
        self.repository.unstage("root")
        self.state = replace(state, root=signed)
        return Outcome(True, lines)

    def _put_snapshot(self, targets: Metadata[Targets] | None = None) -> list[Missing]:
        """Publish a new snapshot, of a new list of targets if one is given; nothing if a key is missing."""
        listed = targets or self.state.targets
        snapshot: Metadata[Snapshot] = Metadata(
            Snapshot(
                self.state.snapshot.signed.version + 1,
                expires=self.expires("snapshot"),
                meta={"targets.json": MetaFile(listed.signed.version)},
            )
        )
        missing = sign(snapshot, [(self.root, "snapshot")], self.keys)
        timestamp = self._timestamp_of(snapshot.signed)
        missing += sign(timestamp, [(self.root, "timestamp")], self.keys)
        if not missing:
            if targets is not None:
                self.repository.put(targets)
            self.repository.put(snapshot)
            self.repository.put(timestamp)
            self.state = State(self.state.root, listed, snapshot, timestamp)
        return missing

    def _put_timestamp(self) -> list[Missing]:
        """Publish a new timestamp of the snapshot that is there; nothing if its key is missing."""
        timestamp = self._timestamp_of(self.state.snapshot.signed)
        missing = sign(timestamp, [(self.root, "timestamp")], self.keys)
        if not missing:
            self.repository.put(timestamp)
            self.state = replace(self.state, timestamp=timestamp)
        return missing

    def _timestamp_of(self, snapshot: Snapshot) -> Metadata[Timestamp]:
        return Metadata(
            Timestamp(
                self.state.timestamp.signed.version + 1,
                expires=self.expires("timestamp"),
                snapshot_meta=MetaFile(snapshot.version),
            )
        )
