"""The updates of `run`: their options, and who follows the store."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecovision_edge.base.durations import parse_duration
from ecovision_edge.base.files import is_file, is_folder
from ecovision_edge.base.installation import extra_fix
from ecovision_edge.cli.options import StoreFolder
from ecovision_edge.cli.update import UpdateOptions
from ecovision_edge.errors import MissingDependencyError, OptionError

if TYPE_CHECKING:
    from ecovision_edge.cli.run_options import RunOptions
    from ecovision_edge.rules.sorting import Rules
    from ecovision_edge.updates.running import Follower

__all__ = ["FollowOptions", "check_updates", "open_follower"]

_EVERY = 6 * 3600.0
_OF_COMMAND = ("channel", "probation", "max_slower", "labelled", "recorded", "min_agree", "max_rate")
_LONGEST = (
    2 * 3600.0
)  # seconds of a whole update: half an hour to fetch, and each gate has a limit of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowOptions:
    """Updates while it runs; those of `ecovision-edge update` mean the same there, which is given them."""

    update: Annotated[
        str | None,
        typer.Option(help="Take updates from this repository of releases while it runs. [update]"),
    ] = None
    update_every: Annotated[
        str | None, typer.Option(help="Time between two questions to it. Default: 6h.")
    ] = None
    update_root: Annotated[
        Path | None, typer.Option(help="The repository's first root.json, given by hand; needed once.")
    ] = None
    store: StoreFolder = None
    channel: Annotated[
        str | None, typer.Option(help="Name of the repository's channel. Default: stable.")
    ] = None
    probation: Annotated[
        str | None,
        typer.Option(help="Time that a new bundle has to run to have proved itself. Default: 24h."),
    ] = None
    max_slower: Annotated[
        str | None, typer.Option(help="How much slower a new bundle may be. Default: 25%.")
    ] = None
    labelled: Annotated[
        Path | None, typer.Option(help="Own labelled frames, on which a new bundle may be no worse.")
    ] = None
    recorded: Annotated[
        Path | None, typer.Option(help="Own recorded frames, on the last of which both have to agree.")
    ] = None
    min_agree: Annotated[
        str | None, typer.Option(help="On how many of these they have to agree. Default: 90%.")
    ] = None
    max_rate: Annotated[str | None, typer.Option(help="Bytes a second of an update, like 200KB.")] = None

    def __post_init__(self) -> None:
        """Refuse what is wrong before anything is loaded; raises OptionError."""
        for one in fields(self):
            if self.update is None and getattr(self, one.name) is not None:
                option = f"--{one.name.replace('_', '-')}"
                raise OptionError(option, expected="--update URL beside it", found="no --update")
        if self.every <= 0:
            raise OptionError("--update-every", expected="above 0", found=self.update_every)
        if self.update is not None:
            self._of_command(self.update).settings("--update")

    def _of_command(self, url: str) -> UpdateOptions:
        """Return them as options of the command `update`, which knows what each may be."""
        given = {name: value for name in _OF_COMMAND if (value := getattr(self, name)) is not None}
        return UpdateOptions(url=url, root=self.update_root, store=self.store, **given)

    @property
    def every(self) -> float:
        """Seconds between two questions."""
        return _EVERY if self.update_every is None else parse_duration(self.update_every, "--update-every")


def open_follower(options: RunOptions, rules: Rules | None = None) -> Follower | None:
    """Make who follows the store; None if no updates are asked for.

    Args:
        options: Of the run.
        rules: Of its bin, which have to fit the labels of what is taken from the store.

    Raises:
        OptionError: what would run before the first update is no bundle; the store's folder is not to be had.
        MissingDependencyError: the extra `update` is not installed.
    """
    url = options.updates.update
    if url is None:
        return None
    if importlib.util.find_spec("tuf") is None:  # which only the update's own process loads
        raise MissingDependencyError("tuf is not installed", fix=extra_fix("update"))
    base = options.model.bundle
    if base is not None and not is_folder(base):
        raise OptionError("--bundle", expected="a bundle's folder beside --update", found=base)
    from ecovision_edge.updates.address import check_text
    from ecovision_edge.updates.process import UpdateProcess
    from ecovision_edge.updates.questions import Questions
    from ecovision_edge.updates.running import Follower
    from ecovision_edge.updates.store import BundleStore, check_base, default_store
    from ecovision_edge.updates.timetable import Timetable

    check_text(options.bin.device or "localhost", "--device-id")
    store = BundleStore((options.updates.store or default_store()).absolute())
    if base is not None:
        check_base(base, store.root)
    checked = store.state().checked
    timetable = Timetable(options.updates.every, options.bin.device, None if checked is None else checked.at)
    arguments = list(_arguments(options, url, store.root))
    questions = Questions(lambda: UpdateProcess(arguments, _LONGEST), timetable, store)
    if rules is None:
        return Follower(store, base, options.model.load, questions)
    return Follower(store, base, options.model.load, questions, rules.check)


def check_updates(options: RunOptions) -> None:
    """Check what only the update's own process would find wrong; loads its libraries.

    Raises:
        OptionError: there is no such file of a root.
        MissingDependencyError: its extra is not installed.
    """
    if options.updates.update is None:
        return
    from ecovision_edge.base.extras import require

    require("tuf", "update")
    root = options.updates.update_root
    if root is not None and not is_file(root):
        raise OptionError("--update-root", expected="the repository's root.json", found=root)


def _arguments(options: RunOptions, url: str, store: Path) -> Iterator[str]:
    """Yield the arguments of the command `update` that stands beside this `run`."""
    updates, model = options.updates, options.model
    given: dict[str, object] = {
        "--from": url,
        "--store": store,
        "--root": updates.update_root,
        "--channel": updates.channel,
        "--probation": updates.probation,
        "--max-slower": updates.max_slower,
        "--labelled": updates.labelled,
        "--recorded": updates.recorded,
        "--min-agree": updates.min_agree,
        "--max-rate": updates.max_rate,
        "--device-id": options.bin.device_id,
        "--bin": options.bin.bin,
        "--bundle": model.bundle,
        "--artifact": model.artifact,
        "--threads": model.threads,
        "--providers": model.providers,
        "--delegate": model.delegate,
    }
    yield from (f"{name}={value}" for name, value in given.items() if value is not None)
    yield from (f"--provider-option={option}" for option in model.provider_option or ())
