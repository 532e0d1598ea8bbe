"""`ecovision-edge release`: its commands for keys and for what expires."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecovision_edge.cli.output import printable
from ecovision_edge.cli.release_options import (
    KeyFolders,
    PassphraseFiles,
    RepositoryFolder,
    keys_beside,
    need_tuf,
    open_session,
    read_passphrases,
    show,
)
from ecovision_edge.errors import OptionError

__all__ = ["init", "renew", "rotate_key"]


def init(
    repository: Annotated[Path, typer.Argument(help="A new or empty folder: all in it is public.")],
    keys: Annotated[
        Path | None, typer.Option("--keys", "-k", help="A new folder for keys; default: REPOSITORY.keys.")
    ] = None,
    passphrase_file: PassphraseFiles = None,
    root_keys: Annotated[int, typer.Option(help="How many root keys there are.")] = 2,
    root_threshold: Annotated[int, typer.Option(help="How many of them have to sign.")] = 1,
    targets_keys: Annotated[int, typer.Option(help="How many targets keys there are.")] = 1,
    targets_threshold: Annotated[int, typer.Option(help="How many of them have to sign.")] = 1,
    root_days: Annotated[int, typer.Option(help="Days that a root is good for.")] = 730,
    targets_days: Annotated[int, typer.Option(help="Days that a list of releases is good for.")] = 365,
    snapshot_days: Annotated[int, typer.Option(help="Days that a snapshot is good for.")] = 30,
    timestamp_days: Annotated[int, typer.Option(help="Days without `refresh` until devices refuse.")] = 7,
) -> int:
    """Make a repository, and its keys.

    Examples:

      ecovision-edge release init /srv/bins --root-keys 3 --root-threshold 2
    """
    need_tuf()
    from ecovision_edge.releases.roots import Quorum, StartOptions, start

    keys = keys or keys_beside(repository)
    options = StartOptions(
        {"root": Quorum(root_keys, root_threshold), "targets": Quorum(targets_keys, targets_threshold)},
        {"root": root_days, "targets": targets_days, "snapshot": snapshot_days, "timestamp": timestamp_days},
    )
    start(repository, keys, read_passphrases(passphrase_file), options)
    print(f"{printable(str(repository))}: serve this folder; all of it is public")
    print(f"{printable(str(keys / 'offline'))}: move to a stick, make a copy, and lock both away")
    print(f"{printable(str(keys / 'online'))}: keep on the machine that runs `refresh` each day")
    print(f"{printable(str(keys / 'offline' / '1.root.json'))}: copy to each device, for --root-file")
    return 0


def rotate_key(
    role: Annotated[str, typer.Argument(help="root, targets, snapshot or timestamp.")],
    drop: Annotated[
        list[str] | None,
        typer.Option(help="A key that is lost or stolen, by its file's name; may be repeated; default: all."),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Drop none: only add keys.")] = False,
    count: Annotated[int | None, typer.Option(help="How many keys there are then; default: as many.")] = None,
    threshold: Annotated[
        int | None, typer.Option(help="How many of them have to sign; default: as many.")
    ] = None,
    repository: RepositoryFolder = Path(),
    keys: KeyFolders = None,
    passphrase_file: PassphraseFiles = None,
) -> int:
    """Give a role new keys; the root keys sign that. Devices follow by themselves.

    Examples:

      ecovision-edge release rotate-key targets --keys /media/stick

      ecovision-edge release rotate-key root --drop root-1f0c2a9b7d3e --keys /media/stick

      ecovision-edge release rotate-key root --keep --count 3 --threshold 2 --keys /media/stick
    """
    need_tuf()
    from ecovision_edge.releases.keys import ROLES
    from ecovision_edge.releases.roots import Quorum, rotate

    if keep and drop:
        raise OptionError("--keep", expected="it or --drop", found="both")
    if role not in ROLES:
        raise OptionError("ROLE", expected=f"one of {', '.join(ROLES)}", found=role)
    with open_session(repository, keys, read_passphrases(passphrase_file)) as session:
        there = session.root.roles[role]
        quorum = Quorum(count or len(there.keyids), threshold or there.threshold)
        return show(rotate(session, role, drop=[] if keep else drop, quorum=quorum))


def renew(
    roles: Annotated[list[str] | None, typer.Argument(help="root, targets; default: both.")] = None,
    root_days: Annotated[int | None, typer.Option(help="Days that a root is good for.")] = None,
    targets_days: Annotated[
        int | None, typer.Option(help="Days that a list of releases is good for.")
    ] = None,
    snapshot_days: Annotated[int | None, typer.Option(help="Days that a snapshot is good for.")] = None,
    timestamp_days: Annotated[
        int | None, typer.Option(help="Days without `refresh` until devices refuse.")
    ] = None,
    repository: RepositoryFolder = Path(),
    keys: KeyFolders = None,
    passphrase_file: PassphraseFiles = None,
) -> int:
    """Sign root and targets once more, so that they expire later.

    Examples:

      ecovision-edge release renew --keys /media/stick

      ecovision-edge release renew root --timestamp-days 3 --keys /media/stick
    """
    need_tuf()
    from ecovision_edge.releases import roots
    from ecovision_edge.releases.keys import OFFLINE

    days = {
        "root": root_days,
        "targets": targets_days,
        "snapshot": snapshot_days,
        "timestamp": timestamp_days,
    }
    with open_session(repository, keys, read_passphrases(passphrase_file)) as session:
        return show(roots.renew(session, roles or OFFLINE, days))
