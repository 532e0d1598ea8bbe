"""The root of trust: a new repository with its keys, other keys for a role, and a later expiry."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from ecovision_edge.base.files import is_folder, is_there, replace_file, sync_folder, write_file
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.errors import EcovisionError, OptionError, ReleaseError
from ecovision_edge.releases.expiry import DEFAULT_DAYS, days_of, set_days
from ecovision_edge.releases.keys import OFFLINE, ROLES, KeyStore, Passphrases, short_id
from ecovision_edge.releases.repository import Repository
from ecovision_edge.releases.session import Outcome, Session, utc_now
from ecovision_edge.releases.signing import AnyMetadata, sign

__all__ = ["Quorum", "StartOptions", "renew", "rotate", "start"]

_MAX_KEYS = 20
_UNFINISHED = "init-unfinished"
_BESIDE = ".init"  # in the repository: on its disk, and the folder itself may be where one is mounted


@dataclass(frozen=True, slots=True)
class Quorum:
    """How many keys a role has, and how many of them have to sign."""

    keys: int = 1
    threshold: int = 1

    def check(self, role: str) -> None:
        """Refuse what cannot be.

        Raises:
            OptionError: more signatures than keys, none, or too many.
        """
        if not 1 <= self.threshold <= self.keys <= _MAX_KEYS:
            raise OptionError(
                f"keys of {role}",
                expected=f"1 to {_MAX_KEYS} keys, and a threshold of at least 1 and at most their number",
                found=f"{self.keys} keys, threshold {self.threshold}",
            )


@dataclass(frozen=True, slots=True)
class StartOptions:
    """What a new repository is to be like: keys of the roles, and days until their metadata expires."""

    quorums: Mapping[str, Quorum] = field(default_factory=lambda: {"root": Quorum(2, 1)})
    days: Mapping[str, int | None] = field(default_factory=lambda: dict(DEFAULT_DAYS))


def start(
    folder: Path,
    keys_folder: Path,
    passphrases: Passphrases,
    options: StartOptions | None = None,
    now: Callable[[], datetime] = utc_now,
) -> Root:
    """Make a repository without a channel, and all its keys.

    The keys come first, into a folder that is marked as unfinished until the repository is in its place: one
    that was killed is begun again, or found to be whole.

    Args:
        folder: The repository's, new or empty.
        keys_folder: The keys', new or empty, and outside of the repository.
        passphrases: For the offline keys.
        options: Keys and days.
        now: The time.

    Raises:
        OptionError: a folder is not new or empty, or the keys would be served.
        ReleaseError: it cannot be written.
        SigningKeyError: a key cannot be written, or the passphrase is too short.
    """
    options = options or StartOptions()
    root = Root(version=1)
    set_days(root, options.days)
    for role in ROLES:
        options.quorums.get(role, Quorum()).check(role)
    folder, keys_folder = folder.absolute(), keys_folder.absolute()
    passphrases.new()
    try:
        if _is_whole(folder, keys_folder):
            shutil.rmtree(folder / _BESIDE, ignore_errors=True)
            (keys_folder / _UNFINISHED).unlink()
            return Repository(folder).load().root.signed
        _prepare(folder, keys_folder)
        keys = KeyStore([keys_folder], passphrases)
        for role in ROLES:
            quorum = options.quorums.get(role, Quorum())
            for _ in range(quorum.keys):
                root.add_key(keys.create(role).public_key, role)
            root.roles[role].threshold = quorum.threshold
        _write(folder, keys_folder, root, keys, now())
        (keys_folder / _UNFINISHED).unlink()
        sync_folder(keys_folder, if_possible=True)
    except OSError as e:
        if isinstance(e, EcovisionError):
            raise
        raise ReleaseError(
            f"cannot make {folder}", found=reason_of(e), fix="run the same command again"
        ) from e
    return root


def _is_whole(folder: Path, keys_folder: Path) -> bool:
    """Return whether all was done but for removing the mark, when the process was killed."""
    first = Repository(folder).root_path(1)
    if not (is_there(keys_folder / _UNFINISHED) and is_there(first)):
        return False
    return all(is_there(pin) and pin.read_bytes() == first.read_bytes() for pin in _pins(keys_folder))


def _pins(keys_folder: Path) -> tuple[Path, Path]:
    """Return where the first root lies with the keys: what the repository holds is verified by it."""
    return keys_folder / "offline" / "1.root.json", keys_folder / "online" / "1.root.json"


def _prepare(folder: Path, keys_folder: Path) -> None:
    if keys_folder.resolve().is_relative_to(folder.resolve()):
        raise OptionError(
            f"--keys {keys_folder}",
            expected="a folder outside of the repository, which everybody can read",
            found="one inside",
        )
    if is_there(keys_folder / _UNFINISHED) and not is_there(folder / "metadata"):
        _empty(keys_folder)
        shutil.rmtree(folder / _BESIDE, ignore_errors=True)
    for path, option in ((folder, "REPOSITORY"), (keys_folder, "--keys")):
        if is_there(path, link=True) and not (is_folder(path) and not any(path.iterdir())):
            raise OptionError(
                f"{option} {path}", expected="a new or empty folder", found="something that is there already"
            )
    keys_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_file(keys_folder / _UNFINISHED, b"", fsync=True)


def _empty(folder: Path) -> None:
    """Remove what is in a folder, and not the folder: it may be where a stick is mounted."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != _UNFINISHED:
            path.unlink()
    (folder / _UNFINISHED).unlink()


def _write(folder: Path, keys_folder: Path, root: Root, keys: KeyStore, now: datetime) -> None:
    """Write the first metadata of each role into a folder of its own, and rename that into place."""
    expires = {role: now + timedelta(days=days) for role, days in days_of(root).items()}
    root.expires = expires["root"]
    payloads = (
        root,
        Targets(expires=expires["targets"]),
        Snapshot(expires=expires["snapshot"], meta={"targets.json": MetaFile(1)}),
        Timestamp(expires=expires["timestamp"], snapshot_meta=MetaFile(1)),
    )
    made = Repository(folder / _BESIDE)
    for payload in payloads:
        signed: AnyMetadata = Metadata(payload)
        missing = sign(signed, [(root, payload.type)], keys)
        assert not missing, "all keys were just made"
        made.put(signed)
    first = made.root_path(1).read_bytes()
    for pin in _pins(keys_folder):
        replace_file(pin, [first], fsync=True, mode=0o644)
    (made.folder / "metadata").rename(folder / "metadata")
    sync_folder(folder, if_possible=True)
    made.folder.rmdir()


def rotate(
    session: Session,
    role: str,
    *,
    drop: Sequence[str] | None = None,
    quorum: Quorum | None = None,
) -> Outcome:
    """Give a role new keys in place of old ones; the keys of root sign it.

    Args:
        session: The publisher's.
        role: root, targets, snapshot or timestamp.
        drop: Beginnings of the ids of keys that are lost or stolen; None drops all keys of the role.
        quorum: How many keys there are then, and how many have to sign; None as before.

    Raises:
        OptionError: no such role or key, or a number of keys that cannot be.
        ReleaseError: a root waits for signatures already, or cannot be written.
        SigningKeyError: a key cannot be opened or written.
    """
    if role not in ROLES:
        raise OptionError("role", expected=f"one of {', '.join(ROLES)}", found=role)
    session.refuse_if_staged("root")
    root = copy.deepcopy(session.root)
    there = root.roles[role]
    quorum = quorum or Quorum(len(there.keyids), there.threshold)
    quorum.check(role)
    dropped = list(there.keyids) if drop is None else [_key_like(there.keyids, text) for text in drop]
    kept = [keyid for keyid in there.keyids if keyid not in dropped]
    if len(kept) > quorum.keys:
        raise OptionError(
            f"keys of {role}",
            expected=f"at most {quorum.keys} that stay",
            found=len(kept),
            fix="say by --drop which are to go",
        )
    session.open_keys("root")
    for keyid in dropped:
        root.revoke_key(keyid, role)
    for _ in range(quorum.keys - len(kept)):
        root.add_key(session.keys.create(role, session.root.roles[role].keyids).public_key, role)
    root.roles[role].threshold = quorum.threshold
    return session.submit_root(root)


def renew(session: Session, roles: Sequence[str], days: Mapping[str, int | None] | None = None) -> Outcome:
    """Sign root or targets once more, so that they expire later, and change for how long signatures are good.

    Args:
        session: The publisher's.
        roles: `root`, `targets`, or both.
        days: Other days per role, of which the root holds a list; None leaves those of a role.

    Raises:
        OptionError: no such role, or days out of range.
        ReleaseError, SigningKeyError: as `rotate`.
    """
    for role in roles:
        if role not in OFFLINE:
            fix = "`ecovision-edge release refresh` signs the others"
            raise OptionError("role", expected=f"one of {', '.join(OFFLINE)}", found=role, fix=fix)
    outcomes = []
    if "root" in roles or any(value is not None for value in (days or {}).values()):
        root = copy.deepcopy(session.root)
        set_days(root, days or {})
        outcomes.append(session.submit_root(root))
    if "targets" in roles:
        outcomes.append(session.renew_targets())
    return Outcome(all(o.published for o in outcomes), tuple(line for o in outcomes for line in o.lines))


def _key_like(keyids: Sequence[str], text: str) -> str:
    wanted = text.rpartition("-")[2].removesuffix(".pem").lower()
    found = [keyid for keyid in keyids if wanted and keyid.startswith(wanted)]
    if len(found) != 1:
        names = ", ".join(map(short_id, keyids))
        raise OptionError(f"--drop {text}", expected=f"the beginning of one of {names}", found=len(found))
    return found[0]
