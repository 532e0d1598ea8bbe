"""Receive a file of the hub: into a folder of ours, bounded and checked, and only then into the hub's cache.

`huggingface_hub.hf_hub_download` makes paths of what a server answers, its commit and its ETag, and takes as
many bytes as come. Here both are checked to be hashes before anything is written, the bytes are counted
as they come, and they have to have the announced hash before they get a name under which anybody finds them.

The cache stays the hub's own, as its documentation describes it: `models--OWNER--NAME/snapshots/COMMIT/FILE`,
and `refs/REVISION` with the commit. So its other tools find what is here, and the other way round.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tempfile
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ecovision_edge.base.files import replace_file
from ecovision_edge.errors import DownloadError

__all__ = ["MAX_BYTES", "Remote", "find_cached", "find_remote", "receive"]

MAX_BYTES = 2 * 1024**3
"""What a checkpoint may have, too."""

_LIBRARY = "ecovision-edge"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")  # of git's blob, or sha256 of a large file
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Remote:
    """What the hub says of a file, checked.

    Args:
        commit: The 40 digits that the revision stands for.
        etag: git's hash of the file, 40 digits, or its sha256, 64.
        size: Bytes, at most `MAX_BYTES`; None where it does not say.
        address: Where the bytes are.
    """

    commit: str
    etag: str
    size: int | None
    address: str


def find_cached(repo: str, file: str, revision: str | None) -> Path | None:
    """Find the file in the hub's cache here, if it is there; `revision` None is the default branch."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, file, cache_dir=_cache(), revision=revision)
    return Path(found) if isinstance(found, str) else None


def find_remote(repo: str, file: str, revision: str | None, timeout_s: float) -> Remote:
    """Ask the hub for a file's commit, hash, size and place; writes nothing.

    Raises:
        DownloadError: the file is larger than `MAX_BYTES`.
        FileMetadataError: the answer does not come from a hub.
        Others: those of huggingface_hub and of its HTTP library.
    """
    from huggingface_hub import file_download, hf_hub_url
    from huggingface_hub.errors import FileMetadataError

    address = hf_hub_url(repo, file, revision=revision, endpoint=os.environ.get("HF_ENDPOINT") or None)
    said = file_download.get_hf_file_metadata(address, timeout=timeout_s, library_name=_LIBRARY)
    pinned = revision is not None and _COMMIT.fullmatch(revision) and said.commit_hash != revision
    if pinned or not _matches(_COMMIT, said.commit_hash) or not _matches(_HASH, said.etag):
        raise FileMetadataError(f"commit {ascii(said.commit_hash)[:60]}, hash {ascii(said.etag)[:80]}")
    if said.size is not None and said.size > MAX_BYTES:
        raise DownloadError(
            f"{file} of {repo} is too large", expected=f"at most {MAX_BYTES} bytes", found=said.size
        )
    assert said.commit_hash is not None
    assert said.etag is not None
    return Remote(said.commit_hash, said.etag, said.size, urllib.parse.urljoin(address, said.location))


def receive(repo: str, file: str, revision: str | None, remote: Remote, check: Callable[[str], None]) -> Path:
    """Return the file in the hub's cache: received if it is not there yet.

    Args:
        repo: `OWNER/NAME`.
        file: Its path in the repository, relative and without `..`.
        revision: As it was asked for; None is the default branch.
        remote: As `find_remote` gave it.
        check: Called with the sha256 of what was received, before it gets its name; raises to refuse it.

    Raises:
        DownloadError: more bytes than `MAX_BYTES`, or others than were announced.
        Others: those of huggingface_hub and of its HTTP library, OSError of the disk, and those of `check`.
    """
    cache = Path(_cache())
    storage = cache / "--".join(["models", *repo.split("/")])
    place = storage / "snapshots" / remote.commit / file
    if not place.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".ecovision-edge-", dir=cache) as own:
            part = Path(own) / "part"
            _download(file, remote, part)
            check(_check_hash(file, remote, part))
            place.parent.mkdir(parents=True, exist_ok=True)
            part.replace(place)
    if (revision or "main") != remote.commit:
        _note(storage / "refs" / (revision or "main"), remote.commit)
    return place


def _download(file: str, remote: Remote, part: Path) -> None:
    from huggingface_hub import file_download
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined] # exported, not listed

    headers = build_hf_headers(library_name=_LIBRARY)
    if urllib.parse.urlsplit(remote.address).netloc != _host():
        headers.pop("authorization", None)  # the token is the hub's alone
    with _Bounded(io.FileIO(part, "w"), MAX_BYTES if remote.size is None else remote.size, file) as stream:
        file_download.http_get(remote.address, stream, headers=headers, expected_size=remote.size)


class _Bounded(io.BufferedWriter):
    """A file that takes a limited number of bytes."""

    def __init__(self, raw: io.FileIO, most: int, name: str) -> None:
        super().__init__(raw)
        self._most, self._name = most, name

    def write(self, data: bytes) -> int:  # type: ignore[override]  # bytes is what comes
        if self.tell() + len(data) > self._most:
            raise DownloadError(
                f"{self._name} is larger than was announced", expected=f"at most {self._most} bytes"
            )
        return super().write(data)


def _check_hash(file: str, remote: Remote, part: Path) -> str:
    """Check and return the sha256 of what was received; git hashes a small file with its size."""
    sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % part.stat().st_size, usedforsecurity=False)
    with part.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            sha256.update(chunk)
            git.update(chunk)
    found = sha256.hexdigest() if len(remote.etag) == 64 else git.hexdigest()
    if found != remote.etag:
        raise DownloadError(
            f"{file} came with other bytes than the hub announced",
            expected=f"hash {remote.etag}",
            found=found,
            fix="try again; if it stays, check HF_ENDPOINT and the proxy",
        )
    return sha256.hexdigest()


def _note(ref: Path, commit: str) -> None:
    """Which commit a branch or tag stands for, for a time without a connection."""
    ref.parent.mkdir(parents=True, exist_ok=True)
    replace_file(ref, [commit.encode()])


def _matches(pattern: re.Pattern[str], text: str | None) -> bool:
    return text is not None and pattern.fullmatch(text) is not None


def _cache() -> str:
    from huggingface_hub import constants

    return str(constants.HF_HUB_CACHE)


def _host() -> str:
    from huggingface_hub import hf_hub_url

    return urllib.parse.urlsplit(
        hf_hub_url("o/n", "f", endpoint=os.environ.get("HF_ENDPOINT") or None)
    ).netloc
