"""Weights from the Hugging Face hub: its addresses, its errors, and the published model that is known."""

from __future__ import annotations

import contextlib
import os
import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ecovision_edge.base.extras import require
from ecovision_edge.errors import CheckpointError, DownloadError
from ecovision_edge_export.ecovision import LABELS
from ecovision_edge_export.weights.hub_receive import Remote, find_cached, find_remote, receive
from ecovision_edge_export.weights.preprocessing import Preprocessing

__all__ = [
    "ECOVISION",
    "LOG_IN",
    "Fetched",
    "HubFile",
    "KnownModel",
    "check_sha256",
    "fetch",
    "hub_host",
    "parse",
    "short_reason",
    "without_password",
]

LOG_IN = "log in with `hf auth login` or set HF_TOKEN"

_PATIENT_S = 60.0  # what huggingface_hub gives a second attempt, too
FORM = "hf://OWNER/REPO[@REVISION]/FILE"
_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # the hub's own rule for owners and repositories
_SPECIAL = re.compile(r'[\\?#%:*"<>|\x00-\x1f\x7f]')  # of addresses, and of Windows paths


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a model repository; `revision` is a branch, a tag or a commit, None the default branch."""

    repo: str
    file: str
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A published file that is known, with its labels and preprocessing; `revision` is the commit's hash."""

    repo: str
    file: str
    revision: str
    sha256: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file in the hub's cache on this machine; `revision` is the commit it was resolved to."""

    wanted: HubFile
    path: Path
    revision: str
    known: KnownModel | None

    @property
    def uri(self) -> str:
        """The address without the revision."""
        return f"hf://{self.wanted.repo}/{self.wanted.file}"


# https://huggingface.co/AmadFR/ecovision_mobilenetv3: RGB 224x224, ImageNet mean and standard deviation.
ECOVISION = KnownModel(
    repo="AmadFR/ecovision_mobilenetv3",
    file="ecovision_mobilenetv3_ST.pth",
    revision="7c2daeea3f684058ae8a1c9656c50fc7309fc36c",
    sha256="0d60ec3944396b9e989a5e082ad848d6820a92e461230d620d7a53e39ccd52a1",
    labels=LABELS,
    preprocessing=Preprocessing(),
)


def parse(spec: str) -> HubFile:
    """Read `hf://OWNER/REPO[@REVISION]/FILE`; a `/` inside REVISION is written `%2F`.

    `hf://AmadFR/ecovision_mobilenetv3` alone is the published EcoVision model, at its known commit.

    Raises:
        CheckpointError: malformed; shows the form.
    """
    owner, _, rest = spec.removeprefix("hf://").partition("/")
    middle, _, file = rest.partition("/")
    name, at, quoted = middle.partition("@")
    repo, revision = f"{owner}/{name}", urllib.parse.unquote(quoted) if at else None
    well_formed = (
        spec.startswith("hf://")
        and spec.isprintable()
        and all(_SEGMENT.fullmatch(part) for part in (owner, name))
        and (revision is None or _is_path(revision))
        and (_is_path(file) or (not file and repo == ECOVISION.repo))
    )
    if not well_formed:
        raise CheckpointError(
            f"{ascii(spec)[1:-1][:200]} is not an address of the hub",
            expected=FORM,
            fix=f"the published EcoVision model is hf://{ECOVISION.repo}",
        )
    if not file:
        return HubFile(repo=repo, file=ECOVISION.file, revision=revision or ECOVISION.revision)
    return HubFile(repo=repo, file=file, revision=revision)


def _is_path(text: str) -> bool:
    """Return a relative path that stays below, of characters that an address does not give a meaning to."""
    return not {"", ".", ".."}.intersection(text.split("/")) and not _SPECIAL.search(text)


def fetch(wanted: HubFile) -> Fetched:
    """Return the file in the hub's cache, downloaded where it is not there yet.

    It is received apart and checked, as `hub_receive` says, before it is in the cache. `HF_ENDPOINT`,
    `HF_HUB_OFFLINE`, `HF_HOME`, `HF_HUB_CACHE` and `HF_TOKEN` mean what they mean to huggingface_hub, which
    reads all but `HF_ENDPOINT` when it is first imported.

    Raises:
        DownloadError: no such repository, revision or file, no access, no connection, or offline and not
            in the cache; or the bytes are too many, or not those that were announced or published.
        CheckpointError: a name that the hub does not allow.
        MissingDependencyError: the extra `export` is not installed.
    """
    require("huggingface_hub", "export", "0.30")
    with _without_warnings():
        path = _pinned(wanted) or _newest(wanted)
    # The cache is .../snapshots/COMMIT/FILE, and FILE may have folders.
    revision = path.parents[wanted.file.count("/")].name
    return Fetched(wanted=wanted, path=path, revision=revision, known=_known(wanted, revision))


def _known(wanted: HubFile, commit: str) -> KnownModel | None:
    known = ECOVISION
    return known if (wanted.repo, wanted.file, commit) == (known.repo, known.file, known.revision) else None


def _pinned(wanted: HubFile) -> Path | None:
    """Find a commit in the cache: it never changes, so what is there is what is wanted."""
    if wanted.revision is None or not re.fullmatch("[0-9a-f]{40}", wanted.revision):
        return None
    return _cached(wanted)


def _cached(wanted: HubFile) -> Path | None:
    try:
        return find_cached(wanted.repo, wanted.file, wanted.revision)
    except (OSError, ValueError) as e:  # HFValidationError is a ValueError
        raise _explain(e, wanted) from e


def _newest(wanted: HubFile) -> Path:
    """Return what the hub has now; where it does not answer, what it had when it was last asked."""
    from huggingface_hub import constants, errors

    remote: Remote | None = None
    for timeout_s in (constants.HF_HUB_ETAG_TIMEOUT, _PATIENT_S):
        try:
            remote = find_remote(wanted.repo, wanted.file, wanted.revision, timeout_s)
            break
        except DownloadError:
            raise
        except (errors.RevisionNotFoundError, errors.EntryNotFoundError) as e:  # gone, whatever the cache has
            raise _explain(e, wanted) from e
        except Exception as e:
            # The hub's own errors, those of its HTTP library (which changed between versions), and OSError.
            if (found := _cached(wanted)) is not None:
                return found
            answered = isinstance(e, errors.HfHubHTTPError | errors.FileMetadataError | ValueError)
            if answered or isinstance(e, errors.OfflineModeIsEnabled) or timeout_s == _PATIENT_S:
                raise _explain(e, wanted, asked=True) from e
    assert remote is not None  # or the last attempt has raised

    def check(sha256: str) -> None:
        known = _known(wanted, remote.commit)
        if known is not None and sha256 != known.sha256:
            raise _not_published(f"hf://{wanted.repo}/{wanted.file}", known, sha256, "do not use the file")

    try:
        return receive(wanted.repo, wanted.file, wanted.revision, remote, check)
    except DownloadError:
        raise
    except Exception as e:  # likewise
        raise _explain(e, wanted) from e


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """The hub's library tells of each of its attempts; the error at their end says it once."""
    from huggingface_hub.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity(40)  # errors, as Python's own logging counts
    try:
        yield
    finally:
        logging.set_verbosity(before)


def check_sha256(fetched: Fetched, sha256: str) -> None:
    """Refuse bytes that are not those of the known model; deletes nothing.

    Raises:
        DownloadError: says both hashes.
    """
    if fetched.known is not None and sha256 != fetched.known.sha256:
        fix = f"delete {fetched.path.resolve()} and load again; if the hash stays, do not use the file"
        raise _not_published(fetched.uri, fetched.known, sha256, fix)


def _not_published(uri: str, known: KnownModel, sha256: str, fix: str) -> DownloadError:
    return DownloadError(
        f"the bytes of {uri} are not those that were published",
        expected=f"sha256 {known.sha256}",
        found=f"sha256 {sha256}",
        fix=fix,
    )


def _explain(
    error: BaseException, wanted: HubFile, *, asked: bool = False
) -> DownloadError | CheckpointError:
    """Write a line for what huggingface_hub raised; `asked` says that the hub gave no answer."""
    from huggingface_hub import errors

    where = f"{wanted.repo} at revision {wanted.revision or 'main'}"
    if isinstance(error, errors.HFValidationError):
        return CheckpointError(f"{wanted.repo} is not a name that the hub allows", expected=FORM)
    if isinstance(error, errors.GatedRepoError):
        return DownloadError(
            f"{wanted.repo} is gated", fix=f"accept its terms on its page of the hub, then {LOG_IN}"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return DownloadError(f"{wanted.repo} has no revision {wanted.revision}")
    if isinstance(error, errors.RepositoryNotFoundError):
        return DownloadError(f"the hub has no repository {wanted.repo}", fix=f"if it is private, {LOG_IN}")
    if isinstance(error, errors.EntryNotFoundError):
        return DownloadError(f"{where} has no file {wanted.file}")
    if isinstance(error, errors.HfHubHTTPError):
        status = getattr(error.response, "status_code", None)
        if status in {401, 403}:
            return DownloadError(f"the hub denies access to {wanted.repo} (HTTP {status})", fix=LOG_IN)
        return DownloadError(
            f"the hub answered HTTP {status} for {wanted.file} of {where}", fix="try again later"
        )
    if isinstance(error, errors.FileMetadataError):
        return DownloadError(
            f"{hub_host()} does not answer as a hub does",
            expected="a commit and a hash",
            found=short_reason(error).partition(": ")[2],
            fix="check HF_ENDPOINT and the proxy",
        )
    if asked:
        return _explain_unreachable(error, wanted)
    return DownloadError(
        f"{wanted.file} of {where} was not downloaded ({short_reason(error)})", fix="try again"
    )


def _explain_unreachable(error: BaseException, wanted: HubFile) -> DownloadError | CheckpointError:
    """Not in the cache, and the hub gave nothing."""
    from huggingface_hub import errors

    missing = f"hf://{wanted.repo}/{wanted.file} is not in the cache of this machine"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return DownloadError(
            f"{missing}, and HF_HUB_OFFLINE forbids to fetch it",
            fix="unset HF_HUB_OFFLINE once, or give the path of a local file",
        )
    return DownloadError(
        f"{missing}, and {hub_host()} cannot be reached ({short_reason(error)})",
        fix="check the connection, or give the path of a local file",
    )


def hub_host() -> str:
    """Return the hub's host alone: an endpoint may carry a password."""
    try:
        host = urllib.parse.urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co").hostname
    except ValueError:
        host = None
    return host or "the host in HF_ENDPOINT"


def short_reason(error: BaseException) -> str:
    """Return the error's kind and the start of what it says, in one line, without a password."""
    return f"{type(error).__name__}: {without_password(' '.join(str(error).split()))[:160]}"


def without_password(text: str) -> str:
    """Return the text with user and password taken out of its addresses."""
    return re.sub(r"//[^/@\s]*@", "//", text)
