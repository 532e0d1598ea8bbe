"""A publisher and a device for tests of releases: the library's calls, and python-tuf's client over HTTP."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest
from tests.runtime.release_repositories import FolderServer, serve_folder
from tuf.ngclient import Updater, UpdaterConfig

from ecovision_edge.bundle.folder import Bundle
from ecovision_edge.releases import pkcs8, publisher, roots, staging
from ecovision_edge.releases.channel import Channel, Release, channel_target
from ecovision_edge.releases.keys import KeyStore, Passphrases
from ecovision_edge.releases.repository import Repository
from ecovision_edge.releases.roots import Quorum, StartOptions
from ecovision_edge.releases.session import Outcome, Session, utc_now

__all__ = ["PASSPHRASE", "Device", "Publisher", "cheap_passphrases", "published"]

PASSPHRASE = "correct horse battery"


@pytest.fixture
def cheap_passphrases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guessing a passphrase, or opening a key, costs next to nothing."""
    monkeypatch.setattr(pkcs8, "_N", 2)
    monkeypatch.setattr(pkcs8, "_P", 1)


class Publisher:
    """Calls the library as the commands do, each time with what is on the disk."""

    def __init__(self, folder: Path, *sticks: Path, now: Callable[[], datetime] = utc_now) -> None:
        self.folder = folder / "repository"
        self.keys = folder / "keys"
        self.sticks = sticks or (self.keys,)
        self.now = now

    def start(self, quorums: dict[str, Quorum] | None = None) -> None:
        """Make the repository."""
        options = StartOptions(quorums=quorums) if quorums else None
        roots.start(self.folder, self.keys, Passphrases([PASSPHRASE]), options, self.now)

    @contextmanager
    def session(self, *, offline: bool = True) -> Iterator[Session]:
        """Be at work, with the keys that are on the sticks."""
        store = KeyStore(self.sticks, Passphrases([PASSPHRASE]) if offline else None)
        with Session.open(Repository(self.folder), store, self.now) as session:
            yield session

    def add(self, bundle: Path, rollout: float = 1.0, channel: str = "stable") -> Outcome:
        with self.session() as session:
            return publisher.add(session, Bundle.open(bundle), channel, rollout)

    def promote(
        self, bundle: str, rollout: float, channel: str = "stable", source: str | None = None
    ) -> Outcome:
        with self.session() as session:
            return publisher.promote(session, bundle, channel, rollout, source)

    def withdraw(self, bundle: str, channel: str | None = None, *, undo: bool = False) -> Outcome:
        with self.session() as session:
            return publisher.withdraw(session, bundle, channel, undo=undo)

    def rotate(self, role: str, drop: Sequence[str] | None = None, quorum: Quorum | None = None) -> Outcome:
        with self.session() as session:
            return roots.rotate(session, role, drop=drop, quorum=quorum)

    def renew(self, *roles: str, days: dict[str, int | None] | None = None) -> Outcome:
        with self.session() as session:
            return roots.renew(session, roles, days)

    def refresh(self) -> Outcome:
        with self.session(offline=False) as session:
            return session.refresh()

    def sign(self) -> Outcome:
        with self.session() as session:
            return staging.sign_waiting(session)

    def key_files(self, role: str) -> list[Path]:
        """The files of a role's keys, used or not."""
        return sorted(self.keys.glob(f"*/{role}-*.pem"))


class Device:
    """What python-tuf's client makes of a repository; it keeps its metadata, as a device does."""

    def __init__(self, folder: Path, url: str, root: bytes, config: UpdaterConfig | None = None) -> None:
        self.folder, self.root, self._url, self._config = folder, root, url, config
        (folder / "targets").mkdir(parents=True)

    def updater(self, bootstrap: bytes | None = None) -> Updater:
        """A client that has refreshed: it raises if it refuses what is served.

        It starts from `bootstrap`, else from the newest root that it has.
        """
        first = not (self.folder / "metadata" / "root.json").exists()
        client = Updater(
            str(self.folder / "metadata"),
            f"{self._url}metadata/",
            str(self.folder / "targets"),
            f"{self._url}targets/",
            config=self._config,
            bootstrap=self.root if first else bootstrap,
        )
        client.refresh()
        return client

    def channel(self, name: str = "stable") -> Channel:
        """What it is told of a channel; one without releases if there is none."""
        client = self.updater()
        target = client.get_targetinfo(channel_target(name))
        return Channel(name) if target is None else Channel.loads(_fetch(client, target.path))

    def take(self, release: Release) -> dict[str, bytes]:
        """Fetch the files of a release that are not here yet."""
        client = self.updater()
        return {file.file: _fetch(client, file.target) for file in release.files}


def _fetch(client: Updater, path: str) -> bytes:
    target = client.get_targetinfo(path)
    assert target is not None, path
    return Path(client.find_cached_target(target) or client.download_target(target)).read_bytes()


@contextmanager
def published(publisher: Publisher) -> Iterator[tuple[FolderServer, Callable[..., Device]]]:
    """Serve a repository; give the server, and what makes devices that trust its first root."""

    def device(config: UpdaterConfig | None = None) -> Device:
        root = (publisher.folder / "metadata" / "1.root.json").read_bytes()
        folder = Path(tempfile.mkdtemp(prefix="device", dir=publisher.folder.parent))
        return Device(folder, server.url, root, config)

    with serve_folder(publisher.folder) as server:
        yield server, device
