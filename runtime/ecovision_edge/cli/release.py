"""`ecovision-edge release` and its commands: publish bundles to a fleet, signed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecovision_edge.cli import release_keys
from ecovision_edge.cli.output import printable, tell, write_json
from ecovision_edge.cli.release_options import (
    ChannelName,
    KeyFolders,
    PassphraseFiles,
    RepositoryFolder,
    need_tuf,
    open_session,
    read_passphrases,
    show,
)
from ecovision_edge.errors import ReleaseError

if TYPE_CHECKING:
    from ecovision_edge.releases.status import RepositoryStatus

__all__ = ["release"]

release = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@release.callback()
def _release() -> None:
    """Publish bundles to a fleet: a folder of signed files, for any web server.

    Devices take a release by `ecovision-edge update`. The keys that say what a fleet runs are offline and
    encrypted; those that say, each day, that nothing newer is out are on the machine that does so.

    Examples:

      ecovision-edge release init /srv/bins

      ecovision-edge release add build/mine --repository /srv/bins --channel stable --rollout 10%

      ecovision-edge release promote 1.4 --repository /srv/bins --rollout 100%

      ecovision-edge release withdraw 1.4 --repository /srv/bins

      ecovision-edge release refresh --repository /srv/bins

      ecovision-edge release rotate-key targets --repository /srv/bins --keys /media/stick

      ecovision-edge release status --repository /srv/bins
    """


release.command("init")(release_keys.init)


@release.command("add")
def _add(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    channel: ChannelName = "stable",
    rollout: Annotated[str, typer.Option(help="Part of the fleet that takes it, 0% to 100%.")] = "100%",
    repository: RepositoryFolder = Path(),
    keys: KeyFolders = None,
    passphrase_file: PassphraseFiles = None,
) -> int:
    """Release a bundle to a part of a fleet; it is verified first, as `verify` does.

    The same devices are in a part until it grows: whoever is in 10% is in 50% too.

    Examples:

      ecovision-edge release add build/mine --channel stable --rollout 10%
    """
    need_tuf()
    from ecovision_edge.bundle.folder import Bundle
    from ecovision_edge.releases import publisher
    from ecovision_edge.releases.channel import check_channel_name, parse_rollout

    check_channel_name(channel)
    part = parse_rollout(rollout)
    opened = Bundle.open(bundle)
    publisher.refuse_several_sizes(opened)
    with open_session(repository, keys, read_passphrases(passphrase_file)) as session:
        publisher.refuse_if_released(session, opened.identity, channel)
        _verify(bundle)
        return show(publisher.add(session, opened, channel, part))


@release.command("promote")
def _promote(
    bundle: Annotated[str, typer.Argument(help="Its version, the beginning of its id, or its folder.")],
    channel: ChannelName = "stable",
    rollout: Annotated[str, typer.Option(help="Part of the fleet that takes it, 0% to 100%.")] = "100%",
    source: Annotated[
        str | None, typer.Option("--from", help="Channel that has it; default: the same channel.")
    ] = None,
    repository: RepositoryFolder = Path(),
    keys: KeyFolders = None,
    passphrase_file: PassphraseFiles = None,
) -> int:
    """Release a bundle to more of a fleet, or to another channel.

    Examples:

      ecovision-edge release promote 1.4 --rollout 50%

      ecovision-edge release promote 1.4 --from beta --channel stable --rollout 10%
    """
    need_tuf()
    from ecovision_edge.releases import publisher
    from ecovision_edge.releases.channel import parse_rollout

    part = parse_rollout(rollout)
    with open_session(repository, keys, read_passphrases(passphrase_file)) as session:
        return show(publisher.promote(session, _named(bundle), channel, part, source))


@release.command("withdraw")
def _withdraw(
    bundle: Annotated[str, typer.Argument(help="Its version, the beginning of its id, or its folder.")],
    channel: Annotated[
        str | None, typer.Option("--channel", "-c", help="The one to take it from; default: all.")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Bring back what was withdrawn.")] = False,
    repository: RepositoryFolder = Path(),
    keys: KeyFolders = None,
    passphrase_file: PassphraseFiles = None,
) -> int:
    """Take a release back: devices that run it go back to the newest one before it.

    Examples:

      ecovision-edge release withdraw 1.4
    """
    need_tuf()
    from ecovision_edge.releases import publisher

    with open_session(repository, keys, read_passphrases(passphrase_file)) as session:
        return show(publisher.withdraw(session, _named(bundle), channel, undo=undo))


@release.command("refresh")
def _refresh(repository: RepositoryFolder = Path(), keys: KeyFolders = None) -> int:
    """Sign, with the online keys alone, that what is published is still the newest: each day, by cron.

    It also publishes what was signed elsewhere, and tells on standard error what expires soon.

    Examples:

      ecovision-edge release refresh --repository /srv/bins --keys /srv/bins.keys
    """
    need_tuf()
    from ecovision_edge.releases.status import read_status

    with open_session(repository, keys, None) as session:
        status = show(session.refresh())
        for line in read_status(session).advice():
            tell(f"ecovision-edge: {line}\n")
        return status


release.command("rotate-key")(release_keys.rotate_key)
release.command("renew")(release_keys.renew)


@release.command("sign")
def _sign(
    discard: Annotated[bool, typer.Option("--discard", help="Give up what waits, in place of it.")] = False,
    repository: RepositoryFolder = Path(),
    keys: KeyFolders = None,
    passphrase_file: PassphraseFiles = None,
) -> int:
    """Add the signatures that a change waits for, where more than one key has to sign.

    It says first what the change is.

    Examples:

      ecovision-edge release sign --keys /media/second-stick

      ecovision-edge release sign --discard
    """
    need_tuf()
    from ecovision_edge.releases import staging

    with open_session(repository, keys, read_passphrases(passphrase_file)) as session:
        if discard:
            return show(staging.discard(session))
        for line in staging.waiting(session):
            print(f"to be signed: {printable(line)}", flush=True)
        return show(staging.sign_waiting(session))


@release.command("status")
def _status(
    repository: RepositoryFolder = Path(),
    keys: KeyFolders = None,
    json: Annotated[Path | None, typer.Option(help="Write the status here; - is stdout.")] = None,
) -> int:
    """Show what is published, the keys, and what expires when. Exit status 1 if devices would refuse it.

    Examples:

      ecovision-edge release status --repository /srv/bins
    """
    need_tuf()
    from ecovision_edge.releases.status import read_status

    with open_session(repository, keys, None) as session:
        found = read_status(session)
    if json is not None:
        write_json(found.to_json(), json)
    if str(json) != "-":
        for line in _status_lines(found):
            print(printable(line))
    return 0 if found.ok else 1


def _status_lines(found: RepositoryStatus) -> Iterator[str]:
    from ecovision_edge.releases.describing import percent, titled
    from ecovision_edge.releases.keys import short_id

    marks = {"ok": "ok    ", "warn": "warn  ", "fail": "FAILED"}
    for role in found.roles:
        yield (
            f"{marks[role.level]} {role.role}: version {role.version}, until {role.expires:%Y-%m-%d %H:%M} "
            f"UTC ({role.left:.0f} days), signed by {role.threshold} of {len(role.keys)}"
        )
        for keyid, path in role.keys:
            yield f"         {role.role}-{short_id(keyid)}: {path or 'not here'}"
    for channel in found.channels:
        yield f"channel {channel.name}:"
        for one in reversed(channel.releases):
            state = "withdrawn" if one.withdrawn else percent(one.rollout)
            yield f"         {titled(one)}, {one.added}: {state}, {one.bytes / 1e6:.1f} MB"
    yield from (f"waits for signatures: {line}" for line in found.waiting)
    yield from (f"no role has the key {path}: delete it" for path in found.unused)
    yield from found.advice()


def _named(bundle: str) -> str:
    """Return the id of the bundle in a folder; any other text as it is."""
    from ecovision_edge.base.files import is_file
    from ecovision_edge.bundle.folder import MANIFEST_NAME, Bundle

    return Bundle.open(bundle).identity.id if is_file(Path(bundle) / MANIFEST_NAME) else bundle


def _verify(bundle: Path) -> None:
    from ecovision_edge.verify import verify_bundle

    report = verify_bundle(bundle, probe=True)
    if not report.ok:
        failed = [check for check in report.checks if check.checked and not check.ok]
        raise ReleaseError(
            f"{bundle} is not released, for it does not verify",
            found="; ".join(f"{check.name}: {check.detail}" for check in failed),
            fix=f"see `ecovision-edge verify {bundle}`",
        )
    for check in report.checks:
        if not check.checked:
            tell(f"ecovision-edge: {check.name}: {check.detail}\n")
