"""What one device asks for, by the code that asks on a device, as the server's log has it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ecovision_edge.bundle.folder import MANIFEST_NAME, Bundle
from ecovision_edge.errors import ServeError
from ecovision_edge.releases import publisher, roots
from ecovision_edge.releases.keys import KeyStore, Passphrases
from ecovision_edge.releases.repository import Repository
from ecovision_edge.releases.session import Session
from ecovision_edge.updates.asking import Limits, Outcome, Question
from ecovision_edge.updates.fetching import fetch
from ecovision_edge.updates.store import BundleStore
from ecovision_edge_bench.fleet.nginx import Asked

__all__ = ["FIRST", "NEW", "NOTHING", "Fleet", "Visit", "ask"]

FIRST = "everything is new"
NOTHING = "nothing is new"
NEW = "a new bundle.json"

_CHANNEL = "stable"
_PASSPHRASE = "of a repository that is gone with this process"  # noqa: S105 - guards nothing


@dataclass(frozen=True, slots=True)
class Visit:
    """What a device asked for, once.

    Args:
        what: What there was for it.
        asked: Its requests, in order.
    """

    what: str
    asked: tuple[Asked, ...]

    @property
    def connections(self) -> int:
        """How many connections it opened."""
        return len({one.connection for one in self.asked})

    @property
    def sent(self) -> int:
        """Bytes that the server sent, with the heads of its answers."""
        return sum(one.sent for one in self.asked)

    @property
    def received(self) -> int:
        """Bytes of the requests."""
        return sum(one.received for one in self.asked)


class Fleet:
    """A repository of releases by the publisher's own code.

    Args:
        folder: For the repository, its keys and the bundles; there, and empty.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self.repository, self._keys = folder, folder / "repository", folder / "keys"
        roots.start(self.repository, self._keys, Passphrases([_PASSPHRASE]))
        self.root = next(self.repository.rglob("1.root.json"))

    def release(self, bundle: Path) -> None:
        """Release a bundle to every device."""
        keys = KeyStore((self._keys,), Passphrases([_PASSPHRASE]))
        with Session.open(Repository(self.repository), keys) as session:
            publisher.add(session, Bundle.open(bundle), _CHANNEL, 1.0)

    def reworked(self, bundle: Path, version: str) -> Path:
        """Return a copy of a bundle with another `bundle.json`, as one with new thresholds has."""
        folder = self._folder / version
        shutil.copytree(bundle, folder)
        manifest = replace(Bundle.open(folder).manifest, version=version)
        (folder / MANIFEST_NAME).write_bytes(manifest.dumps())
        return folder


def ask(
    fleet: Fleet, bundle: Path, device: Path, url: str, asked: Callable[[], list[Asked]]
) -> Iterator[Visit]:
    """Release a bundle, then one with a new `bundle.json`; one device asks, and each visit is yielded.

    Args:
        fleet: The publisher; nothing is released yet.
        bundle: What to release.
        device: Folder of the device, which knows nothing of the bundle; made.
        url: Where the repository is served.
        asked: Returns what the server was asked for since it was called last.

    Raises:
        EcovisionError: a release cannot be made or fetched.
        ServeError: the device found something else than there was for it.
    """
    store, base = BundleStore(device / "store"), device / "base"
    base.mkdir(parents=True)

    def visit(what: str, expected: Outcome) -> Visit:
        question = Question(
            url=url,
            store=str(store.root),
            channel=_CHANNEL,
            device="bin-00000",
            running=store.current() or "0" * 64,
            base=str(base),
            root=str(fleet.root),
            limits=Limits(),
        )
        asked()
        found = fetch(question)
        if found.outcome != expected:
            raise ServeError(f"a device where {what}", expected=expected, found=found.outcome)
        if found.outcome == "fetched":
            store.activate(found.bundle)
        return Visit(what, tuple(asked()))

    fleet.release(bundle)
    yield visit(FIRST, "fetched")
    yield visit(NOTHING, "current")
    fleet.release(fleet.reworked(bundle, "reworked"))
    yield visit(NEW, "fetched")
