"""`ecovision-edge parity`: a bundle against the checkpoint that it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecovision_edge.base.providers import option_pairs, provider_arguments
from ecovision_edge.cli.options import LabelMap, ProviderOptions, Providers
from ecovision_edge.cli.output import write_json
from ecovision_edge_export.cli.options import MaximumDrop, MinimumAgreement, require_all
from ecovision_edge_export.cli.screen import ConsoleReporter, show_parity

__all__ = ["parity"]


def parity(
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder.")],
    images: Annotated[
        Path | None,
        typer.Option(help="Photographs: one folder per class, or flat. Default: synthetic frames."),
    ] = None,
    map: LabelMap = None,
    weights: Annotated[
        str | None,
        typer.Option(help="The checkpoint that the bundle was exported from; default: as the contract says."),
    ] = None,
    artifact: Annotated[str | None, typer.Option(help="One artifact; default: all.")] = None,
    providers: Providers = None,
    provider_option: ProviderOptions = None,
    agree: MinimumAgreement = 98.0,
    max_drop: MaximumDrop = 0.5,
    expect_accuracy: Annotated[
        float | None,
        typer.Option(help="Minimum accuracy on --images, per cent, of PyTorch and of each artifact."),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write all figures and flips here; - is stdout.")] = None,
) -> int:
    """Compare a bundle with the PyTorch checkpoint it came from, image by image.

    Examples:

      ecovision-edge parity build/reference --images photos/val

      ecovision-edge parity mine --weights best.pth --images val --json p.json

      ecovision-edge parity mine --images val --providers cuda,cpu
    """
    require_all()
    from ecovision_edge.backends import BackendOptions
    from ecovision_edge_export.parity.recheck import recheck_parity

    wanted = provider_arguments(providers, provider_option)

    reporter = ConsoleReporter()
    result = recheck_parity(
        bundle,
        images,
        map_text=map,
        weights=weights,
        artifact=artifact,
        agree=agree,
        max_drop=max_drop,
        expect_accuracy=expect_accuracy,
        options=BackendOptions(
            providers=wanted["providers"], provider_options=option_pairs(wanted["provider_options"])
        ),
        reporter=reporter,
    )
    if json is not None:
        write_json({p.artifact: p.to_json() for p in result}, json)
    show_parity(reporter.console, result)
    return 0 if all(p.ok for p in result) else 1
