"""What a change means, in lines that a person reads before signing it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tuf.api.metadata import Root

from ecovision_edge.bundle.identity import BundleIdentity
from ecovision_edge.releases.channel import Channel, Release
from ecovision_edge.releases.keys import ROLES, short_id

__all__ = ["channel_changes", "percent", "root_changes", "titled"]


def titled(release: Release) -> str:
    """Return name, version and the beginning of the id of a bundle."""
    return str(BundleIdentity(release.name, release.version, release.bundle))


def percent(rollout: float) -> str:
    """Return a rollout as a person writes it, `10%`."""
    return f"{rollout * 100:.6f}".rstrip("0").rstrip(".") + "%"


def channel_changes(before: Mapping[str, Channel], after: Mapping[str, Channel]) -> Iterator[str]:
    """Yield one line per release that differs."""
    for name in sorted({*before, *after}):
        old = {r.bundle: r for r in before.get(name, Channel(name)).releases}
        new = {r.bundle: r for r in after.get(name, Channel(name)).releases}
        for bundle in [*old, *(bundle for bundle in new if bundle not in old)]:
            line = _release_change(old.get(bundle), new.get(bundle))
            if line is not None:
                yield f"{name}: {line}"


def _release_change(old: Release | None, new: Release | None) -> str | None:
    if new is None:
        return None if old is None else f"{titled(old)} is not listed any more"
    if old is None:
        state = "withdrawn" if new.withdrawn else f"released to {percent(new.rollout)} of the fleet"
        return f"{titled(new)} {state}"
    if old.withdrawn != new.withdrawn:
        return f"{titled(new)} {'withdrawn' if new.withdrawn else 'no longer withdrawn'}"
    if old.rollout != new.rollout:
        return f"{titled(new)} rollout {percent(old.rollout)} -> {percent(new.rollout)}"
    return None if old == new else f"{titled(new)} changed in other ways: {old} -> {new}"


def root_changes(before: Root, after: Root) -> Iterator[str]:
    """Yield one line per key or threshold that differs, and the new expiry."""
    for role in ROLES:
        old, new = before.roles[role], after.roles[role]
        for mark, ids, others in (("-", old.keyids, new.keyids), ("+", new.keyids, old.keyids)):
            for keyid in ids:
                if keyid not in others:
                    yield f"{role}: {mark} key {short_id(keyid)}"
        if old.threshold != new.threshold:
            yield f"{role}: threshold {old.threshold} -> {new.threshold}"
    if before.unrecognized_fields != after.unrecognized_fields:
        yield f"settings: {before.unrecognized_fields} -> {after.unrecognized_fields}"
    yield f"root: version {after.version}, until {after.expires:%Y-%m-%d}"
