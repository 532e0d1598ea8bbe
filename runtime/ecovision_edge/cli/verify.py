"""`ecovision-edge verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecovision_edge.base.providers import provider_arguments
from ecovision_edge.cli.options import (
    DelegateLibrary,
    Half,
    ProviderOptions,
    Providers,
    Threads,
)
from ecovision_edge.cli.output import write_json

__all__ = ["verify"]


def verify(
    bundle: Annotated[
        Path | None, typer.Argument(help="A bundle's folder; default: the embedded reference.")
    ] = None,
    threads: Threads = None,
    providers: Providers = None,
    provider_option: ProviderOptions = None,
    delegate: DelegateLibrary = None,
    fp16: Half = False,
    json: Annotated[Path | None, typer.Option(help="Write the report here; - is stdout.")] = None,
) -> int:
    """Verify a bundle on this device: hashes, contract, golden vectors. Exit status 1 if a check fails.

    An artifact whose engine is not installed is not checked beyond its hash, which is no failure as long as
    another one is. An engine is tried in a process of its own first, once on this CPU: one that dies there is
    a failed check, and no command loads it any more. With --providers each ONNX artifact says what it runs
    on, and what could not be used.

    Examples:

      ecovision-edge verify

      ecovision-edge verify --providers tensorrt,cuda,cpu --provider-option trt_fp16_enable=1

      ecovision-edge verify build/reference --json -
    """
    from ecovision_edge.backends import BackendOptions
    from ecovision_edge.base.providers import option_pairs
    from ecovision_edge.bundle.folder import embedded_bundle_path
    from ecovision_edge.preprocess.native import find_native
    from ecovision_edge.verify import verify_bundle

    wanted = provider_arguments(providers, provider_option)
    report = verify_bundle(
        bundle or embedded_bundle_path(),
        BackendOptions(
            threads=threads,
            providers=wanted["providers"],
            delegate=delegate,
            fp16=fp16,
            provider_options=option_pairs(wanted["provider_options"]),
        ),
        probe=True,
    )
    if report.ok and providers is None:  # what is kept is of the CPU
        _make_next_start_fast(bundle, threads, delegate)
    if json is not None:
        write_json(report.to_json(), json)
    if str(json) != "-":
        for check in report.checks:
            mark = "ok    " if check.ok else "FAILED" if check.checked else "-     "
            print(f"{mark} {check.name}: {check.detail}")
        left = sum(not check.checked for check in report.checks)
        but = f", but for {left} artifact{'s' * (left > 1)}," if left else ""
        native = find_native()
        by = f"; frames are resized by {native.kernel}" if native else ""
        verdict = "verified" if report.ok else "NOT verified"
        print(f"{verdict}{but} on {report.cpu.arch}, {report.cpu.model}{by}")
    return 0 if report.ok else 1


def _make_next_start_fast(bundle: Path | None, threads: int | None, delegate: str | None) -> None:
    """Load what a program would: the first load keeps what makes the next ones faster."""
    import contextlib

    from ecovision_edge.classifier import Classifier
    from ecovision_edge.errors import EcovisionError

    with contextlib.suppress(EcovisionError):  # a delegate is for one engine, and other artifacts may be too
        Classifier.load(bundle, threads=threads, delegate=delegate)
