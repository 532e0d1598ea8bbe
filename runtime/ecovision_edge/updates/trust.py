"""What a repository says, as far as it is signed by whom this device trusts: by python-tuf.

What python-tuf leaves to its user is done here. The first root is given by hand once; from then on trust
begins at the newest root that is here, also where a power cut took the link to it. More roots than it reads
at once are read all the same. Metadata that expired before the earliest time that it can be is refused,
whatever the clock says. And every way in which a connection breaks is one error.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from tuf.api import exceptions
from tuf.api.metadata import Root, TargetFile
from tuf.ngclient.config import UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater
from urllib3.exceptions import HTTPError

from ecovision_edge.base.backoff import Backoff
from ecovision_edge.base.files import read_regular_file, replace_file, sync_folder
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.errors import EcovisionError, FetchError, OptionError, StoreError, UntrustedError
from ecovision_edge.releases.channel import (
    MAX_CHANNEL_BYTES,
    Channel,
    ReleaseFile,
    channel_target,
    check_channel_name,
)
from ecovision_edge.updates.roots import (
    MAX_ROOT_BYTES,
    kept_root,
    newest_root,
    parse_metadata,
    parse_root,
)
from ecovision_edge.updates.state import as_date
from ecovision_edge.updates.web import Web

__all__ = ["Repository", "attempts"]

_ROOTS_AT_ONCE = 256
_MOST_ROUNDS = 16  # of so many roots: a new one each day for a decade
_MOST_BYTES = 8_000_000  # of any metadata: more than python-tuf fetches
_TRIES = 3
_LITTER = ("tmp*", ".ecovision-*.tmp")  # what python-tuf and we leave as we are killed
_T = TypeVar("_T")


class Repository:
    """A repository of releases, and what this device knows of it.

    Args:
        url: Its address, with a slash at its end.
        folder: Where metadata is kept from one time to the next.
        web: Fetches.
        anchor: The root that was given by hand; needed where the device knows none yet.
        floor: The earliest that it can be now, Unix seconds.
    """

    def __init__(self, url: str, folder: Path, web: Web, *, anchor: bytes | None, floor: float) -> None:
        self._url, self._folder, self._web = url, folder, web
        self._anchor, self._floor = anchor, floor
        self._updater: Updater | None = None

    def refresh(self) -> float:
        """Fetch and verify what is signed now; returns when the first of it expires, Unix seconds.

        Raises:
            UntrustedError: it is not signed as it has to be, has expired, or is older than what was here.
            FetchError: it cannot be fetched now.
            StoreError: it cannot be kept.
        """
        with _told(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            for pattern in _LITTER:
                for path in self._folder.glob(pattern):
                    path.unlink()
        for _ in range(_MOST_ROUNDS):
            root, refused = self._begin(), None
            try:
                attempts(self._web, self._refresh_once)
            except UntrustedError as e:  # of a root that is not the newest, this says nothing
                refused = e
            if self._newest_root().version - root.version < _ROOTS_AT_ONCE:
                if refused is not None:
                    raise refused
                return self._check_expiry()
        raise UntrustedError(
            "the repository's roots", expected="an end", found=f"{self._newest_root().version}"
        )

    def channel(self, name: str) -> Channel:
        """Return the releases of a channel; after `refresh`.

        Raises:
            OptionError: there is no such channel.
            UntrustedError, FetchError, StoreError: as of `refresh`.
            ContractError: its file is malformed, or of a newer ecovision-edge.
        """
        check_channel_name(name)
        target = self._target(channel_target(name))
        if target is None:
            found = "no such channel in the repository"
            raise OptionError(f"--channel {name}", expected="a channel that was published", found=found)
        if target.length > MAX_CHANNEL_BYTES:
            raise UntrustedError(
                f"channel {name}", expected=f"at most {MAX_CHANNEL_BYTES} bytes", found=target.length
            )
        kept = self._folder / f"channel-{name}.json"
        with contextlib.suppress(OSError, exceptions.RepositoryError):
            data = read_regular_file(kept, MAX_CHANNEL_BYTES)
            target.verify_length_and_hashes(data)
            return Channel.loads(data)
        data = attempts(self._web, lambda: self._fetch_target(target))
        with _told(self._folder):
            replace_file(kept, [data], fsync=True)
        return Channel.loads(data)

    def address(self, file: ReleaseFile) -> str:
        """Return where a file of a release is fetched; after `refresh`.

        Raises:
            UntrustedError: the repository has no such file, or another one under that name.
        """
        target = self._target(file.target)
        if target is None or (target.length, target.hashes.get("sha256")) != (file.bytes, file.sha256):
            raise UntrustedError(
                f"{file.file} of a release", expected="a signed file", found="none, or another one"
            )
        return self._address(target)

    def _begin(self) -> Root:
        """Begin at the newest root that is here, or at the one that was given by hand."""
        newest = newest_root(self._folder)
        if self._anchor is not None:
            given = parse_root(self._anchor)
            if given is None:
                raise UntrustedError("the root that was given", expected="a root.json", found="no such thing")
            kept = kept_root(self._folder, given.version)
            if kept not in (None, self._anchor) and parse_root(kept or b"") is not None:
                raise UntrustedError(
                    "the root that was given",
                    expected=f"version {given.version} as this device knows it",
                    found="another one",
                    fix=f"remove {self._folder}, to trust that one from now on",
                )
        trusted = self._anchor if newest is None else newest[1]
        if trusted is None:
            raise UntrustedError(
                "whom to trust",
                expected="the repository's first root",
                found="none",
                fix="give it once: --root FILE",
            )
        with _told(self._folder):
            self._updater = Updater(
                os.fspath(self._folder),
                f"{self._url}metadata/",
                target_base_url=f"{self._url}targets/",
                fetcher=_Fetcher(self._web),
                config=UpdaterConfig(max_root_rotations=_ROOTS_AT_ONCE, root_max_length=MAX_ROOT_BYTES),
                bootstrap=trusted,
            )
            self._sync_roots()
        return self._newest_root()

    def _refresh_once(self) -> None:
        if self._updater is None:  # it refreshes once in its life
            self._begin()
        assert self._updater is not None
        updater, self._updater = self._updater, None
        with _told(self._folder):
            try:
                updater.refresh()
            finally:
                self._sync_roots()
        self._updater = updater

    def _newest_root(self) -> Root:
        newest = newest_root(self._folder)
        if newest is None:
            raise StoreError(f"cannot keep what is trusted in {self._folder}", found="nothing is there")
        return newest[0]

    def _sync_roots(self) -> None:
        """Bring the newest root to the disk, which python-tuf does not: without any, trust would be lost."""
        history = self._folder / "root_history"
        for path in sorted(history.iterdir(), key=lambda path: path.stat().st_mtime_ns)[-1:]:
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        sync_folder(history)
        sync_folder(self._folder)

    def _check_expiry(self) -> float:
        """Refuse what had expired at the earliest time that it can be; python-tuf asks the clock alone."""
        first = float("inf")
        for role in ("timestamp", "snapshot", "targets"):
            with _told(self._folder):
                signed = parse_metadata(read_regular_file(self._folder / f"{role}.json", _MOST_BYTES)).signed
            first = min(first, _check_not_expired(role, signed.expires.timestamp(), self._floor))
        root = self._newest_root()
        return min(first, _check_not_expired("root", root.expires.timestamp(), self._floor))

    def _target(self, path: str) -> TargetFile | None:
        assert self._updater is not None, "refresh first"
        updater = self._updater
        with _told(self._folder):
            return updater.get_targetinfo(path)

    def _address(self, target: TargetFile) -> str:
        path = target.path
        if self._newest_root().consistent_snapshot:
            folder, slash, name = path.rpartition("/")
            path = f"{folder}{slash}{next(iter(target.hashes.values()))}.{name}"
        return f"{self._url}targets/{path}"

    def _fetch_target(self, target: TargetFile) -> bytes:
        with _told(self._folder):
            data = _Fetcher(self._web).download_bytes(self._address(target), target.length)
            target.verify_length_and_hashes(data)
        return data


class _Fetcher(FetcherInterface):
    """Gives python-tuf what `Web` reads."""

    def __init__(self, web: Web) -> None:
        self._web = web

    def _fetch(self, url: str) -> Iterator[bytes]:
        opened = contextlib.ExitStack()
        answer = opened.enter_context(self._web.get(url))
        if answer.status != 200:
            opened.close()
            raise exceptions.DownloadHTTPError(f"{url}: HTTP status {answer.status}", answer.status)
        return _through(answer.chunks, opened)


def _through(chunks: Iterator[bytes], opened: contextlib.ExitStack) -> Iterator[bytes]:
    with opened:
        yield from chunks


def attempts(web: Web, what: Callable[[], _T]) -> _T:
    """Do what fetches, and again after a pause where a connection broke; raises what `what` raises last."""
    backoff = Backoff(1.0, 10.0)
    for _ in range(_TRIES - 1):
        try:
            return what()
        except FetchError:
            web.pause(backoff.next())
    return what()


_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.ExpiredMetadataError, "it has expired, or the clock is wrong"),
    (exceptions.UnsignedMetadataError, "it is not signed by the keys that this device trusts"),
    (exceptions.BadVersionNumberError, "it is older than what this device has seen, or of another version"),
    (exceptions.LengthOrHashMismatchError, "it is not the file that was signed"),
    (exceptions.DownloadLengthMismatchError, "it is longer than it may be"),
)


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Turn python-tuf's, urllib3's and the disk's errors into ours."""
    try:
        yield
    except EcovisionError:
        raise
    except exceptions.DownloadHTTPError as e:
        raise FetchError("cannot fetch from the repository", found=str(e)) from e
    except (exceptions.RepositoryError, exceptions.DownloadLengthMismatchError) as e:
        words = next((words for kind, words in _WORDS if isinstance(e, kind)), "it is malformed")
        raise UntrustedError(
            f"what the repository says is not to be trusted: {words}", found=reason_of(e)
        ) from e
    except (exceptions.DownloadError, HTTPError) as e:
        if isinstance(e.__cause__, EcovisionError):
            raise e.__cause__ from None
        raise FetchError("cannot fetch from the repository", found=reason_of(e)) from e
    except OSError as e:
        raise StoreError(f"cannot keep what is trusted in {folder}", found=reason_of(e)) from e


def _check_not_expired(role: str, expires: float, floor: float) -> float:
    if expires <= floor:
        raise UntrustedError(
            f"what the repository says is not to be trusted: its {role} has expired",
            expected=f"a date after {as_date(floor)}, the earliest that it can be",
            found=as_date(expires),
        )
    return expires
