"""What the commands of `ecovision-edge release` share: options, keys, and the repository at work."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecovision_edge.base.extras import require
from ecovision_edge.cli.output import printable
from ecovision_edge.errors import OptionError

if TYPE_CHECKING:
    from ecovision_edge.releases.keys import Passphrases
    from ecovision_edge.releases.session import Outcome, Session

__all__ = [
    "ChannelName",
    "KeyFolders",
    "PassphraseFiles",
    "RepositoryFolder",
    "keys_beside",
    "need_tuf",
    "open_session",
    "read_passphrases",
    "show",
]

PASSPHRASE_VARIABLE = "ECOVISION_EDGE_PASSPHRASE"  # noqa: S105 - its name

RepositoryFolder = Annotated[
    Path, typer.Option("--repository", "-r", help="The repository's folder; default: the current one.")
]
KeyFolders = Annotated[
    list[Path] | None,
    typer.Option(
        "--keys", "-k", help="A folder with keys, a stick, say; may be given again; beside REPOSITORY.keys."
    ),
]
PassphraseFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--passphrase-file",
        help="A file with a passphrase in its first line; may be given again; default: "
        f"{PASSPHRASE_VARIABLE}, or to be typed.",
    ),
]
ChannelName = Annotated[str, typer.Option("--channel", "-c", help="stable, beta, or another name.")]


def need_tuf() -> None:
    """Refuse to go on without the libraries that sign.

    Raises:
        MissingDependencyError: one is not installed.
    """
    require("tuf", "update", "7")
    require("cryptography", "update")


@contextlib.contextmanager
def open_session(
    repository: Path, keys: list[Path] | None, passphrases: Passphrases | None
) -> Iterator[Session]:
    """Lock and read a repository, with the keys in some folders and in the one beside it.

    Raises:
        OptionError: there is no such folder of keys.
        ReleaseError: as `Session.open`.
    """
    from ecovision_edge.base.files import is_folder
    from ecovision_edge.releases.keys import KeyStore
    from ecovision_edge.releases.repository import Repository
    from ecovision_edge.releases.session import Session

    for folder in keys or ():
        if not is_folder(folder):
            raise OptionError(f"--keys {folder}", expected="a folder", found="none")
    store = KeyStore([*(keys or ()), keys_beside(repository)], passphrases)
    with Session.open(Repository(repository), store) as session:
        yield session


def keys_beside(repository: Path) -> Path:
    """Return where the keys of a repository are by default."""
    whole = repository.resolve()
    return whole.with_name(f"{whole.name}.keys")


def read_passphrases(files: list[Path] | None) -> Passphrases:
    """Return where passphrases come from: files, else the environment, else a person at a terminal."""
    from ecovision_edge.base.secrets import read_secret
    from ecovision_edge.releases.keys import Passphrases

    given = [read_secret(str(path), "--passphrase-file") for path in files or ()]
    from_environment = os.environ.get(PASSPHRASE_VARIABLE)
    if not given and from_environment:
        given = [from_environment]
    return Passphrases(given, _ask if sys.stdin is not None and sys.stdin.isatty() else None)


def _ask(what: str, new: bool) -> str:
    answer: str = typer.prompt(
        what[0].upper() + what[1:], hide_input=True, confirmation_prompt=new, err=True, show_default=False
    )
    return answer


def show(outcome: Outcome) -> int:
    """Print what became of a change; return the exit status."""
    for line in outcome.lines:
        print(printable(line))
    print("published" if outcome.published else "not published yet")
    return 0
