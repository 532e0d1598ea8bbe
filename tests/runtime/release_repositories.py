"""Signed repositories of releases for tests, and a web server on loopback that serves one and notes who asks.

`make_repository` signs with python-tuf alone, without the publisher's commands: whoever tests a device can
have it do what no publisher would.
"""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from ecovision_edge.bundle.folder import MANIFEST_NAME, Bundle
from ecovision_edge.releases.channel import Channel, Release, ReleaseFile, channel_target

__all__ = ["FolderServer", "SignedRepository", "make_repository", "release_of", "serve_folder"]

ROLES = ("root", "targets", "snapshot", "timestamp")
TODAY = "2026-11-30"


def release_of(bundle: Path, rollout: float = 1.0, *, version: str = "1", added: str = TODAY) -> Release:
    """What a channel says of the bundle in a folder."""
    manifest = Bundle.open(bundle).manifest
    names = [MANIFEST_NAME, *(a.file.file for a in manifest.artifacts), manifest.golden.file]
    files = []
    for name in names:
        data = (bundle / name).read_bytes()
        files.append(ReleaseFile(name, hashlib.sha256(data).hexdigest(), len(data)))
    return Release(files[0].sha256, manifest.name, version, rollout, False, added, tuple(files))


class SignedRepository:
    """A TUF repository with consistent snapshots: `folder/metadata` and `folder/targets`.

    One key per role, in `signers`, which may be exchanged or doubled before `publish` or `publish_root`.
    `expires` has the time until each role's metadata expires, from now; a negative one has passed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metadata, self.targets = folder / "metadata", folder / "targets"
        self.signers = {role: [CryptoSigner.generate_ed25519()] for role in ROLES}
        self.expires = dict.fromkeys(ROLES, timedelta(days=30))
        self.versions = dict.fromkeys(ROLES, 0)
        self.channels: dict[str, Channel] = {}
        for path in (self.metadata, self.targets / "files", self.targets / "channels"):
            path.mkdir(parents=True)
        self._files: dict[str, TargetFile] = {}
        self._root_signers: list[CryptoSigner] = []
        self.publish_root()

    @property
    def root_file(self) -> Path:
        """The first root: what a device is given to trust."""
        return self.metadata / "1.root.json"

    def add(
        self, bundle: Path, *, channel: str = "stable", rollout: float = 1.0, version: str = "1"
    ) -> Release:
        """Store a bundle's files, and append its release to a channel; `publish` shows it."""
        release = release_of(bundle, rollout, version=version)
        for file in release.files:
            self.put(file.target, (bundle / file.file).read_bytes())
        before = self.channels.get(channel, Channel(channel))
        self.channels[channel] = Channel(channel, (*before.releases, release))
        return release

    def change(self, bundle: str, *, channel: str = "stable", **changes: Any) -> None:
        """Change a release: `withdrawn=True`, `rollout=1.0`; `publish` shows it."""
        self.channels[channel] = Channel(
            channel,
            tuple(
                dataclasses.replace(r, **changes) if r.bundle == bundle else r
                for r in self.channels[channel].releases
            ),
        )

    def put(self, target: str, data: bytes) -> None:
        """Store a target; `publish` signs what is said of it."""
        self._files[target] = TargetFile.from_data(target, data, ["sha256"])
        folder, _, name = target.rpartition("/")
        (self.targets / folder / f"{hashlib.sha256(data).hexdigest()}.{name}").write_bytes(data)

    def stored(self, target: str) -> Path:
        """Where a target's bytes are, as the web server is asked for them."""
        folder, _, name = target.rpartition("/")
        return self.targets / folder / f"{self._files[target].hashes['sha256']}.{name}"

    def publish(self) -> None:
        """Sign new targets, snapshot and timestamp."""
        for name, channel in self.channels.items():
            self.put(channel_target(name), channel.dumps())
        self._write("targets", Targets(targets=dict(self._files)))
        self.publish_snapshot()

    def publish_snapshot(self) -> None:
        """Sign a new snapshot and timestamp of the targets that are there."""
        self._write("snapshot", Snapshot(meta={"targets.json": MetaFile(self.versions["targets"])}))
        self.publish_timestamp()

    def publish_timestamp(self) -> None:
        """Sign a new timestamp of the snapshot that is there."""
        self._write("timestamp", Timestamp(snapshot_meta=MetaFile(self.versions["snapshot"])))

    def publish_root(self) -> None:
        """Sign a new root, with the keys of the one before too, that says what the keys of each role are."""
        root = Root()
        for role in ROLES:
            for signer in self.signers[role]:
                root.add_key(signer.public_key, role)
        self._write("root", root)
        self._root_signers = list(self.signers["root"])

    def _write(self, role: str, payload: Any) -> None:
        self.versions[role] += 1
        payload.version = self.versions[role]
        payload.expires = datetime.now(timezone.utc) + self.expires[role]
        signed = Metadata(payload)
        for signer in [*self.signers[role], *(self._root_signers if role == "root" else [])]:
            signed.sign(signer, append=True)
        name = "timestamp" if role == "timestamp" else f"{payload.version}.{role}"
        (self.metadata / f"{name}.json").write_bytes(signed.to_bytes())


def make_repository(
    folder: Path, *bundles: Path, channel: str = "stable", rollout: float = 1.0
) -> SignedRepository:
    """Publish bundles to a channel, the oldest first, in a new folder."""
    repository = SignedRepository(folder)
    repository.channels[channel] = Channel(channel)
    for number, bundle in enumerate(bundles, 1):
        repository.add(bundle, channel=channel, rollout=rollout, version=str(number))
    repository.publish()
    return repository


class FolderServer:
    """What `serve_folder` gives: its address, what was asked for, and a way to answer otherwise.

    `trouble` is called with the handler of each request before the file is sent, on the server's threads; it
    answers in its own way and returns True, or leaves the request alone and returns False.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[str] = []
        self.trouble: Callable[[http.server.SimpleHTTPRequestHandler], bool] = lambda _: False


@contextmanager
def serve_folder(folder: Path) -> Iterator[FolderServer]:
    """Serve a folder by HTTP on loopback, as a static web server would."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            served.asked.append(self.path)
            if not served.trouble(self):
                super().do_GET()

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that hangs up is no error of a test's."""

    with Server(("127.0.0.1", 0), Handler) as server:
        served = FolderServer(f"http://127.0.0.1:{server.server_address[1]}/")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="folder-server")
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
