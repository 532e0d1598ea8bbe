"""Push a finished bundle to a repository of the Hugging Face hub: only when asked, in one commit."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from ecovision_edge.base.extras import require
from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.markdown import replace_section
from ecovision_edge.bundle.folder import MANIFEST_NAME, Bundle, read_file
from ecovision_edge.bundle.manifest import MAX_FILE_BYTES, Format, Precision
from ecovision_edge.errors import OptionError, PushError
from ecovision_edge_export.card import CARD_NAME, FETCH
from ecovision_edge_export.publish.push_errors import explained, http_status
from ecovision_edge_export.transcript import Reporter, Transcript
from ecovision_edge_export.weights.hub import LOG_IN, without_password

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = [
    "PushOptions",
    "Pushed",
    "check_push",
    "prepare_push",
    "push_bundle",
    "push_options",
    "push_stage",
]

README = "README.md"  # what the hub shows, and reads front matter from
MINIMUM = "0.30"
_MODELS = rf"model\.({'|'.join(get_args(Precision))})(\.[a-z0-9-]+)?\.({'|'.join(get_args(Format))})"
_OURS = re.compile(rf"(sizes/\d+/)?{_MODELS}|sizes/\d+/(bundle\.json|golden\.npz|MODEL_CARD\.md)")
"""The names that an exporter gives to models, and to all files of another size."""


@dataclass(frozen=True, slots=True)
class PushOptions:
    """Where to push a bundle.

    Args:
        repo: OWNER/NAME.
        public: Whether everybody may see a repository that has to be made; one that is there is not changed.
        waived: Push also what does not agree with PyTorch as it should, and was written by a waiver.

    Raises:
        OptionError: not such a name.
    """

    repo: str
    public: bool = False
    waived: bool = False

    def __post_init__(self) -> None:
        require("huggingface_hub", "export", MINIMUM)
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined] # exported, not listed

        try:
            validate_repo_id(self.repo)
        except HFValidationError:
            valid = False
        else:
            valid = all(self.repo.partition("/"))  # the hub's own check lets a name without an owner pass
        if not valid:
            raise OptionError(
                "--push-to-hub",
                expected="OWNER/NAME of letters, digits, and - _ . inside, at most 96 characters",
                found=ascii(self.repo)[1:-1][:100],
            )


def push_options(repo: str | None, *, public: bool = False, waived: bool = False) -> PushOptions | None:
    """Return the options of a command, checked as `check_push` does; None where no push was asked for.

    Raises:
        OptionError: not such a name, or the others without it.
        Others: as `check_push`.
    """
    if repo is not None:
        options = PushOptions(repo, public, waived)
        check_push(options)
        return options
    if public or waived:
        name = "--public" if public else "--push-parity-failure"
        raise OptionError(name, expected="--push-to-hub OWNER/NAME with it", found="none")
    return None


@dataclass(frozen=True, slots=True)
class Pushed:
    """A bundle on the hub: the repository's page, the commit, and whether only some may see it."""

    url: str
    commit: str
    private: bool

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {"url": self.url, "commit": self.commit, "private": self.private}


def check_push(options: PushOptions) -> None:
    """Refuse, before any long work, what cannot be pushed: the hub is asked who we are, and nothing else.

    The token is that of `HF_TOKEN`, or of the login that the hub's own tools keep. `HF_ENDPOINT` and
    `HF_HUB_OFFLINE` mean what they mean to huggingface_hub.

    Raises:
        OptionError: `HF_HUB_OFFLINE` is set.
        PushError: no token, one that the hub does not know, or no answer.
        MissingDependencyError: the extra `export` is not installed.
    """
    require("huggingface_hub", "export", MINIMUM)
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError

    if constants.HF_HUB_OFFLINE:
        raise OptionError(
            "--push-to-hub", expected="a connection", found="HF_HUB_OFFLINE, which forbids it", fix="unset it"
        )
    with explained(options.repo, None):
        if not huggingface_hub.get_token():
            raise PushError(f"no token to push to {options.repo} with", fix=LOG_IN)
        try:
            _api().whoami()
        except HfHubHTTPError as e:
            # A token that may write to one repository alone need not be allowed to ask.
            if http_status(e) != 403:
                raise


def prepare_push(bundle: Path, repo: str) -> dict[str, bytes]:
    """Return the files of the repository by name: the bundle's, and its card as README.md.

    The README says besides how to fetch that very repository.

    Raises:
        BundleError: no bundle, or a file of it that is missing or not as the manifest says.
    """
    opened = Bundle.open(bundle)
    files = _files_of(opened)
    for size in opened.manifest.sizes:
        if size.sha256 is not None:
            inner = _files_of(opened.at_size(size.side))
            files |= {f"{size.folder}/{name}": data for name, data in inner.items()}
    files[README] = replace_section(files[CARD_NAME], FETCH, _fetch_lines(repo))
    return files


def _files_of(bundle: Bundle) -> dict[str, bytes]:
    """Return the files of one size by name; raises as `prepare_push`."""
    manifest = bundle.manifest
    files = {a.file.file: bundle.read(a) for a in manifest.artifacts}
    files[manifest.golden.file] = bundle.read(manifest.golden)
    for name in (MANIFEST_NAME, CARD_NAME):
        files[name] = read_file(bundle.path, name, MAX_FILE_BYTES)
    return files


def push_bundle(
    bundle: Path, options: PushOptions, warn: Callable[[str], None] = lambda text: None
) -> Pushed:
    """Push the bundle in one commit; what else is in the repository stays, older models of ours apart.

    Args:
        bundle: Its folder.
        options: Where to.
        warn: Told what the user should know of the repository, or of what the hub says about the card.

    Raises:
        PushError: parity failed and was waived; or the hub does not take it. The bundle stays as it is.
        BundleError: as `prepare_push`.
        MissingDependencyError: the extra `export` is not installed.
    """
    manifest = Bundle.open(bundle).manifest
    if manifest.provenance.get("parity_waived") is not False and not options.waived:
        raise PushError(
            f"not pushed to {options.repo}: the parity gate was closed, and waived for {bundle} alone",
            fix="to show it to others too, say --push-parity-failure",
        )
    require("huggingface_hub", "export", MINIMUM)
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    files = prepare_push(bundle, options.repo)
    with explained(options.repo, _kept(bundle, options)), _quietly(warn):
        api = _api()
        api.create_repo(options.repo, private=not options.public, exist_ok=True)
        info = api.model_info(options.repo)
        if not options.public and info.private is False:
            raise PushError(
                f"not pushed: {options.repo} is there already, and everybody may see it",
                fix="say --public if that is meant, or push to another name",
            )
        if options.public and info.private:
            warn(f"{options.repo} is there already, and stays private; its settings on the hub change that")
        there = {s.rfilename for s in info.siblings or ()}
        old = sorted(filter(_OURS.fullmatch, there - set(files)))
        commit = api.create_commit(
            options.repo,
            [
                *(CommitOperationAdd(name, data) for name, data in sorted(files.items())),
                *(CommitOperationDelete(name) for name in old),
            ],
            commit_message=f"Bundle {manifest.name} by ecovision-edge",
        )
        page = without_password(f"{api.endpoint}/{options.repo}")
    return Pushed(page, commit.oid, bool(info.private))


def push_stage(bundle: Path, options: PushOptions, reporter: Reporter) -> dict[str, JsonValue]:
    """`push_bundle` as a stage that is shown; what it gave as JSON values."""
    script = Transcript(reporter)
    with script.stage("push"):
        pushed = push_bundle(bundle, options, script.warn)
        script.figure(
            f"{pushed.url}, {'private' if pushed.private else 'public'}, commit {pushed.commit[:12]}"
        )
    return pushed.to_json()


def _api() -> HfApi:
    from huggingface_hub import HfApi, get_token

    # The token is given: with HF_HUB_DISABLE_IMPLICIT_TOKEN the client would send none of its own accord.
    endpoint = os.environ.get("HF_ENDPOINT") or None
    return HfApi(endpoint=endpoint, token=get_token(), library_name="ecovision-edge")


def _fetch_lines(repo: str) -> list[str]:
    folder = repo.partition("/")[2]
    return [
        "Fetch it, with the hub's own command (`pip install huggingface_hub`):",
        "",
        "```sh",
        f"hf download {repo} --local-dir {folder}",
        f"cd {folder}",
        "```",
        "",
    ]


@contextlib.contextmanager
def _quietly(warn: Callable[[str], None]) -> Iterator[None]:
    """Without the hub's progress bars, which would cut across ours; its Python warnings go to `warn`."""
    from huggingface_hub.utils import (  # type: ignore[attr-defined] # exported, not listed
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    shown = not are_progress_bars_disabled()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if shown:
            disable_progress_bars()
        try:
            yield
        finally:
            if shown:
                enable_progress_bars()
    for warning in caught:
        if warning.category is not UserWarning:  # the client's own business: what it calls is deprecated
            continue
        warn(f"the hub's client: {' '.join(str(warning.message).split())[:300]}")


def _kept(bundle: Path, options: PushOptions) -> str:
    """Return what is safe on this disk, and how to push it without another export."""
    private = "" if options.public else " --private"
    return f"the bundle stays, by hand: hf upload {options.repo} {shlex.quote(str(bundle))}{private}"
