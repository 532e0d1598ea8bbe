"""A change that waits for more signatures: what it is, the next signature, and how it is given up."""

from __future__ import annotations

from tuf.api.metadata import Root

from ecovision_edge.errors import ReleaseError
from ecovision_edge.releases.describing import channel_changes, root_changes
from ecovision_edge.releases.keys import short_id
from ecovision_edge.releases.listing import refuse_other_targets
from ecovision_edge.releases.session import STAGED, Outcome, Session
from ecovision_edge.releases.signing import sign

__all__ = ["discard", "sign_waiting", "waiting"]


def waiting(session: Session) -> tuple[str, ...]:
    """Describe what waits for signatures: who signs is to know what.

    Raises:
        ReleaseError: it is not what a publisher would have made.
    """
    lines: list[str] = []
    root = session.staged("root")
    if root is not None:
        _refuse_exchanged_keys(session.root, root.signed)
        lines += root_changes(session.root, root.signed)
    targets = session.staged("targets")
    if targets is not None:
        channels = session.repository.channels(targets.signed)
        refuse_other_targets(targets.signed.targets, channels)
        lines += channel_changes(session.channels(), channels)
        lines.append(f"targets: version {targets.signed.version}, until {targets.signed.expires:%Y-%m-%d}")
    return tuple(lines)


def _refuse_exchanged_keys(before: Root, after: Root) -> None:
    """Refuse a root in which a key has the id of another one: it would look as if nothing had changed."""
    exchanged = [keyid for keyid, key in after.keys.items() if before.keys.get(keyid, key) != key]
    if exchanged:
        raise ReleaseError(
            "the root that waits for signatures",
            expected="the key that has this id",
            found=f"another key with the id {short_id(exchanged[0])}",
            fix="find out who wrote it; give it up with `ecovision-edge release sign --discard`",
        )


def sign_waiting(session: Session) -> Outcome:
    """Sign what waits for signatures, and publish what has all of them then.

    Raises:
        ReleaseError: nothing waits, or it cannot be written.
        SigningKeyError: a key cannot be opened.
    """
    outcomes = []
    waiting(session)
    for role in STAGED:
        staged = session.staged(role)
        if staged is None:
            continue
        missing = sign(staged, session.demands(staged), session.keys)
        outcomes.append(session.stage(staged, (), missing) if missing else session.publish(staged))
    if not outcomes:
        raise ReleaseError("nothing waits for signatures")
    return Outcome(all(o.published for o in outcomes), tuple(line for o in outcomes for line in o.lines))


def discard(session: Session) -> Outcome:
    """Give up what waits for signatures."""
    lines = []
    for role in STAGED:
        if session.repository.staged(role) is not None:
            session.repository.unstage(role)
            lines.append(f"{role}: given up")
    return Outcome(True, tuple(lines or ["nothing waited for signatures"]))
