"""`ecovision-edge update`."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecovision_edge.base.durations import parse_duration
from ecovision_edge.base.providers import option_pairs, provider_arguments
from ecovision_edge.base.shares import parse_share
from ecovision_edge.base.sizes import parse_size
from ecovision_edge.cli.groups import takes_options
from ecovision_edge.cli.options import (
    ArtifactName,
    DelegateLibrary,
    Half,
    ProviderOptions,
    Providers,
    StoreFolder,
    Threads,
)
from ecovision_edge.cli.output import check_target, printable, write_json
from ecovision_edge.errors import EcovisionError, OptionError

if TYPE_CHECKING:
    from ecovision_edge.updates.updating import Result, Settings

__all__ = ["UpdateOptions", "update"]

_MOST_DEVICE = 1000  # characters of its id


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateOptions:
    """All options of `update`, in the order in which `--help` shows them."""

    url: Annotated[str, typer.Option("--from", help="Address of the repository of releases.")]
    root: Annotated[
        Path | None,
        typer.Option(
            "--root", "--root-file", help="The repository's first root.json, given by hand; needed once."
        ),
    ] = None
    store: StoreFolder = None
    channel: Annotated[str, typer.Option(help="Name of the channel.")] = "stable"
    device_id: Annotated[
        str | None,
        typer.Option(help="Decides whether a rollout includes this device; default: its host name."),
    ] = None
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", "-b", help="What runs before the first update; default: the reference."),
    ] = None
    bin: Annotated[Path | None, typer.Option("--bin", help="The bin's rules, which have to fit.")] = None
    max_slower: Annotated[str, typer.Option(help="How much slower the new bundle may be.")] = "25%"
    labelled: Annotated[
        Path | None,
        typer.Option(help="Own labelled frames, one folder per class: no worse on them, by McNemar's test."),
    ] = None
    recorded: Annotated[
        Path | None, typer.Option(help="Own recorded frames: how far both agree on the last ones.")
    ] = None
    min_agree: Annotated[str, typer.Option(help="On how many of these they have to agree.")] = "90%"
    probation: Annotated[str, typer.Option(help="Time in which the new bundle has to prove itself.")] = "24h"
    max_rate: Annotated[str | None, typer.Option(help="Bytes a second at most, like 200KB.")] = None
    max_size: Annotated[str, typer.Option(help="Size of a bundle at most.")] = "500MB"
    time_limit: Annotated[str, typer.Option(help="Time for all that is fetched; the next try goes on.")] = (
        "30m"
    )
    keep: Annotated[
        int, typer.Option(min=2, help="How many bundles stay, the current one and the one before included.")
    ] = 2
    artifact: ArtifactName = "auto"
    threads: Threads = None
    providers: Providers = None
    provider_option: ProviderOptions = None
    delegate: DelegateLibrary = None
    fp16: Half = False
    json: Annotated[Path | None, typer.Option(help="Write what was done here; - is stdout.")] = None

    def settings(self, address: str = "--from") -> Settings:
        """Return them as the library takes them.

        Args:
            address: The option that names the repository, for messages.

        Raises:
            OptionError: one is not what it has to be.
        """
        from ecovision_edge.releases.channel import check_channel_name
        from ecovision_edge.updates.address import check_text, check_url
        from ecovision_edge.updates.asking import Limits
        from ecovision_edge.updates.gates import Loading
        from ecovision_edge.updates.updating import Settings

        check_url(self.url, address)
        check_channel_name(self.channel)
        _absolute(self.store, "--store")
        seconds = parse_duration(self.time_limit, "--time-limit")
        if seconds <= 0:
            raise OptionError("--time-limit", expected="above 0", found=self.time_limit)
        engine = provider_arguments(self.providers, self.provider_option)
        device = self.device_id or platform.node() or "localhost"
        return Settings(
            url=self.url,
            device=check_text(device, "--device-id", _MOST_DEVICE),
            channel=self.channel,
            root=_absolute(self.root, "--root"),
            base=_absolute(self.bundle, "--bundle"),
            limits=Limits(
                bytes=parse_size(self.max_size, "--max-size"),
                seconds=seconds,
                rate=None if self.max_rate is None else float(parse_size(self.max_rate, "--max-rate")),
            ),
            loading=Loading(
                artifact=self.artifact,
                threads=self.threads,
                providers=engine["providers"],
                provider_options=option_pairs(engine["provider_options"]),
                delegate=self.delegate,
                fp16=self.fp16,
            ),
            rules=_absolute(self.bin, "--bin"),
            max_slower=parse_share(self.max_slower, "--max-slower", 100.0),
            labelled=_absolute(self.labelled, "--labelled"),
            recorded=_absolute(self.recorded, "--recorded"),
            min_agree=parse_share(self.min_agree, "--min-agree"),
            probation=parse_duration(self.probation, "--probation"),
            keep=self.keep,
        )


@takes_options(UpdateOptions)
def update(options: UpdateOptions) -> int:
    """Ask a repository once, and take the release for this device if it proves itself here.

    All that is fetched is signed, and checked. Before anything changes the new bundle passes gates: files,
    contract, rules, engine (in a process of its own), golden vectors, latency, own labelled and recorded
    frames. What does not pass is refused and not tried again; `ecovision-edge bundles list` says why.

    Exit status: 0 updated, or nothing to do; 1 refused, or not to be trusted; 2 misuse; 75 not now: the
    network, the disk or another update is in the way, so try again later. Except for 0, what ran still runs.

    Examples:

      ecovision-edge update --from https://updates.local/bins --root root.json

      ecovision-edge update --from https://updates.local/bins --channel beta --max-rate 200KB
    """
    from ecovision_edge.updates.store import BundleStore, check_base, default_store
    from ecovision_edge.updates.updating import update as take

    settings = options.settings()
    if options.json is not None:
        check_target(options.json, "--json")
    store = options.store or default_store()
    if options.bundle is not None:
        check_base(options.bundle, store)
    try:
        result = take(BundleStore(store), settings)
    except EcovisionError as e:
        if options.json is not None:
            write_json({"outcome": "failed", "error": e.message, "exit_status": e.exit_status}, options.json)
        raise
    if options.json is not None:
        write_json(result.to_json(), options.json)
    if str(options.json) != "-":
        _show(result)
    return 0


def _show(result: Result) -> None:
    for gate in result.gates:
        print(f"{'-     ' if gate.skipped else 'ok    '} {gate.gate}: {printable(gate.detail)}")
    print(printable(result.words))


def _absolute(path: Path | None, option: str) -> str | None:
    from ecovision_edge.updates.address import check_text

    return None if path is None else check_text(str(path.absolute()), option)
