"""What a publisher does with bundles: release them to a part of a fleet, to more of it, take them back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

from ecovision_edge.base.names import quoted, short
from ecovision_edge.bundle.folder import MANIFEST_NAME, MAX_MANIFEST_BYTES, Bundle, read_file
from ecovision_edge.bundle.identity import BundleIdentity
from ecovision_edge.errors import BundleNotFoundError, IntegrityError, ReleaseError
from ecovision_edge.releases.channel import Channel, Release, ReleaseFile, check_channel_name, file_target
from ecovision_edge.releases.describing import percent, titled
from ecovision_edge.releases.session import Outcome, Session

__all__ = ["add", "promote", "refuse_if_released", "refuse_several_sizes", "withdraw"]

_CARD = "MODEL_CARD.md"
_MAX_CARD_BYTES = 2**20
_SHORTEST_ID = 6  # digits


def add(session: Session, bundle: Bundle, channel: str, rollout: float) -> Outcome:
    """Release a bundle to a part of the fleet that follows a channel.

    Args:
        session: The publisher's.
        bundle: The bundle, opened before it was verified.
        channel: Name of the channel; a new one is made.
        rollout: Part of the fleet, from 0 to 1.

    Raises:
        OptionError: this is no name of a channel.
        ReleaseError: it was released to this channel before, it has several sizes, or files cannot be
            written.
        BundleError: its files are not those of its manifest, or those that were verified.
        SigningKeyError: a key cannot be opened.
    """
    check_channel_name(channel)
    refuse_several_sizes(bundle)
    session.refuse_if_staged("targets")
    channels = session.channels()
    there = channels.get(channel, Channel(channel))
    refuse_if_released(session, bundle.identity, channel)
    files = []
    for name, data in _read(bundle):
        sha256 = hashlib.sha256(data).hexdigest()
        session.repository.put_target(file_target(sha256), data)
        files.append(ReleaseFile(name, sha256, len(data)))
    release = Release(
        bundle.identity.id,
        bundle.identity.name,
        bundle.identity.version,
        rollout,
        False,
        session.today(),
        tuple(files),
    )
    return session.submit_channels({**channels, channel: Channel(channel, (*there.releases, release))})


def refuse_if_released(session: Session, bundle: BundleIdentity, channel: str) -> None:
    """Refuse a bundle that a channel has.

    Raises:
        ReleaseError: it was released there before.
    """
    there = session.channels().get(channel)
    old = None if there is None else there.find(bundle.id)
    if old is not None:
        raise ReleaseError(
            f"{titled(old)} was released to {channel} before, on {old.added}",
            found="withdrawn since" if old.withdrawn else f"rollout {percent(old.rollout)}",
            fix="`withdraw --undo` brings it back" if old.withdrawn else "change that with `promote`",
        )


def promote(
    session: Session, bundle: str, channel: str, rollout: float, source: str | None = None
) -> Outcome:
    """Release a bundle to a larger part of the fleet, or from one channel to another.

    Args:
        session: The publisher's.
        bundle: Its id, the beginning of it, or its version.
        channel: Name of the channel.
        rollout: Part of the fleet, from 0 to 1.
        source: Channel to which it was released before; None is `channel`.

    Raises:
        OptionError: this is no name of a channel.
        ReleaseError: no such release, it was withdrawn, or the rollout is not larger; or a file cannot be
            written.
        SigningKeyError: a key cannot be opened.
    """
    check_channel_name(channel)
    session.refuse_if_staged("targets")
    channels = session.channels()
    release = _find(_channel(channels, source or channel), bundle)
    there = channels.get(channel, Channel(channel))
    old = there.find(release.bundle)
    if release.withdrawn or (old is not None and old.withdrawn):
        raise ReleaseError(f"{titled(release)} was withdrawn", fix="`withdraw --undo` brings it back")
    if old is not None and rollout <= old.rollout:
        raise ReleaseError(
            f"{titled(old)} is released to {percent(old.rollout)} of {channel}",
            expected="a larger part",
            found=percent(rollout),
            fix="to take it back from all, `withdraw` it",
        )
    if old is not None:
        releases = tuple(replace(r, rollout=rollout) if r is old else r for r in there.releases)
    else:
        releases = (*there.releases, replace(release, rollout=rollout, added=session.today()))
    return session.submit_channels({**channels, channel: Channel(channel, releases)})


def withdraw(session: Session, bundle: str, channel: str | None = None, *, undo: bool = False) -> Outcome:
    """Take a bundle back: devices that run it go back to the newest release before it.

    Args:
        session: The publisher's.
        bundle: Its id, the beginning of it, or its version.
        channel: The one channel to take it from; None is all.
        undo: Release it again, as it was before it was withdrawn.

    Raises:
        ReleaseError: no such release, it is so already, or files cannot be written.
        SigningKeyError: a key cannot be opened.
    """
    session.refuse_if_staged("targets")
    channels = session.channels()
    names = [_channel(channels, channel).name] if channel is not None else sorted(channels)
    release = _find(Channel("all", _each_once(channels[name] for name in names)), bundle)
    changed = {}
    for name in names:
        old = channels[name].find(release.bundle)
        if old is not None and old.withdrawn is undo:
            rest = tuple(replace(r, withdrawn=not undo) if r is old else r for r in channels[name].releases)
            changed[name] = Channel(name, rest)
    if not changed:
        raise ReleaseError(f"{titled(release)} {'is not withdrawn' if undo else 'was withdrawn before'}")
    outcome = session.submit_channels({**channels, **changed})
    empty = [name for name, c in changed.items() if all(r.withdrawn for r in c.releases)]
    told = (f"{name}: no release is left; its devices go back to what they ran before" for name in empty)
    return Outcome(outcome.published, (*outcome.lines, *told))


def refuse_several_sizes(bundle: Bundle) -> None:
    """Refuse a bundle that holds others: a release is one folder of files.

    Raises:
        ReleaseError: it has several sizes.
    """
    others = [size.folder for size in bundle.manifest.sizes if size.sha256 is not None]
    if others:
        raise ReleaseError(
            f"{bundle.manifest.name} has several sizes",
            expected="a bundle of one size",
            found=", ".join(others),
            fix=f"release the one that the fleet is to run, as {bundle.path / others[0]}",
        )


def _read(bundle: Bundle) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the bytes of each file that devices get, checked against the manifest."""
    manifest = read_file(bundle.path, MANIFEST_NAME, MAX_MANIFEST_BYTES)
    if hashlib.sha256(manifest).hexdigest() != bundle.identity.id:
        raise IntegrityError(f"{MANIFEST_NAME} has changed while it was verified", fix="run it again")
    yield MANIFEST_NAME, manifest
    for artifact in bundle.manifest.artifacts:
        yield artifact.file.file, bundle.read(artifact)
    yield bundle.manifest.golden.file, bundle.read(bundle.manifest.golden)
    try:
        card = read_file(bundle.path, _CARD, _MAX_CARD_BYTES)
    except BundleNotFoundError:
        return
    if card:
        yield _CARD, card


def _channel(channels: dict[str, Channel], name: str) -> Channel:
    if name not in channels:
        raise ReleaseError(
            f"no channel {quoted(name)}", expected=f"one of {short(sorted(channels))}", found="none of them"
        )
    return channels[name]


def _find(channel: Channel, text: str) -> Release:
    """Return the one release whose id begins with a text, or whose version it is."""
    folded = text.strip().lower()
    found = [
        r
        for r in channel.releases
        if text == r.version or (len(folded) >= _SHORTEST_ID and r.bundle.startswith(folded))
    ]
    if len(found) != 1:
        newest = [titled(r) for r in reversed(channel.releases)]
        raise ReleaseError(
            f"{len(found) or 'no'} release{'s' * (len(found) > 1)} like {quoted(text)}",
            expected="the version, or the beginning of the id, of one",
            found=short(newest),
        )
    return found[0]


def _each_once(channels: Iterator[Channel]) -> tuple[Release, ...]:
    """Return the releases of channels, each bundle once: one that is not withdrawn, if there is one."""
    found: dict[str, Release] = {}
    for channel in channels:
        for release in channel.releases:
            if release.bundle not in found or found[release.bundle].withdrawn:
                found[release.bundle] = release
    return tuple(found.values())
