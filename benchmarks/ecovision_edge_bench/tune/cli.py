"""`ecovision-edge tune`: thin; it parses, calls the library, and prints. It needs no extra."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecovision_edge.cli.output import check_target, printable, write_json

if TYPE_CHECKING:
    from ecovision_edge.base.fields import JsonValue
    from ecovision_edge_bench.tune.result import Request, Tuned

__all__ = ["tune"]

SCHEMA = "ecovision-edge/tune"
SCHEMA_VERSION = 1
FRAME = (640, 480)  # pixels: what most cameras give by default


def tune(
    bundle: Annotated[
        Path | None, typer.Argument(help="A bundle's folder; default: the embedded reference.")
    ] = None,
    budget: Annotated[str, typer.Option(help="Time for the whole run: 60s, 5m.")] = "60s",
    images: Annotated[
        Path | None,
        typer.Option(help="Photographs, flat or one folder per class; default: synthetic, weak evidence."),
    ] = None,
    parity_images: Annotated[
        int | None,
        typer.Option(help="Maximum images for agreement, within the budget; default 128, synthetic 48."),
    ] = None,
    threads: Annotated[
        str | None, typer.Option(help="Numbers or auto, with commas; default: 1 to the cores, at most 4.")
    ] = None,
    max_loss: Annotated[
        float | None,
        typer.Option(
            help="Percentage points of accuracy, as the export measured it, that another size of the bundle "
            "may lose against the largest; default: 0.5."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the order of turns and of the bootstrap.")] = 0,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Choose although other programs keep the device busy.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure and choose, but save nothing.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write everything here; - is stdout.")] = None,
) -> int:
    """Find the fastest way to run a bundle on this device, and save it as the device profile.

    Every artifact with each count of threads, spinning or sleeping, in fp16 too where the CPU has it, is
    measured end to end on 640x480 frames, in turns with the default configuration. Only what answers as it
    should is kept: golden vectors, and the first class of at least as many images as the bundle's own budget
    asks for. Another configuration replaces the default where the whole 95 % interval of its ratio lies
    below 1. In a bundle of several sizes the smaller ones that lose no more than --max-loss are tried too.

    Run it while the device does nothing else. The exit status is 1 where nothing could be chosen, or other
    programs kept the device busy: then nothing is saved.

    Examples:

      ecovision-edge tune

      ecovision-edge tune build/reference --images photos/val --budget 2m

      ecovision-edge tune --threads 1,2 --dry-run --json -
    """
    import tempfile
    import time

    from ecovision_edge.backends.probing import probe_bundle
    from ecovision_edge.bundle.folder import Bundle, embedded_bundle_path
    from ecovision_edge.classifier import Classifier
    from ecovision_edge.profile import DeviceProfile, check_profile_folder, save_profile
    from ecovision_edge_bench.measure.choose import choose_images
    from ecovision_edge_bench.measure.frames import FRAMES, FrameSource
    from ecovision_edge_bench.measure.settings import parse_threads
    from ecovision_edge_bench.tune.drawn import draw_files
    from ecovision_edge_bench.tune.plan import (
        MAX_LOSS,
        check_max_loss,
        make_plan,
        parse_budget,
        usable_thread_counts,
    )
    from ecovision_edge_bench.tune.result import Request
    from ecovision_edge_bench.tune.run import run_tune

    began = time.perf_counter()
    seconds = parse_budget(budget)
    counts = usable_thread_counts() if threads is None else parse_threads(threads)
    if json is not None:
        check_target(json, "--json")
    opened = Bundle.open(bundle or embedded_bundle_path())
    check_max_loss(max_loss, opened)
    most = (48 if images is None else 128) if parity_images is None else parity_images
    judged = choose_images(images, opened.contract, most)
    for note in judged.notes:
        typer.echo(printable(note), err=True)
    if not dry_run:
        check_profile_folder()
    probing = time.perf_counter()
    findings = probe_bundle(opened, fp16=True, keep=not dry_run)
    plan = make_plan(opened, counts, findings, MAX_LOSS if max_loss is None else max_loss)
    began += time.perf_counter() - probing  # once on a device: no part of the budget
    with tempfile.TemporaryDirectory(prefix="ecovision-edge-") as name:
        files = judged.files[:: max(1, len(judged.files) // FRAMES)] or draw_files(Path(name), range(FRAMES))
        source = FrameSource(*FRAME, files)
        spent = time.perf_counter() - began
        request = Request(opened, plan, judged, source, seconds, seed, anyway, spent, Path(name))
        tuned = run_tune(request, lambda line: typer.echo(f"{line} ...", err=True))
    saved, chosen = None, tuned.choice.candidate
    if chosen is not None and tuned.choice.decided and not dry_run:
        spec = chosen.spec
        profile = DeviceProfile.of(
            opened,
            artifact=spec.artifact,
            threads=spec.threads,
            spinning=spec.spinning,
            fp16=spec.fp16,
            size=spec.size,
            measured=tuned.to_json(),
        )
        saved = save_profile(profile)
        Classifier.load(
            opened.path
        )  # as a program will from now on: the first load makes the next ones faster
    if json is not None:
        write_json(_document(request, tuned, saved), json)
    if str(json) != "-":
        _print(request, tuned, saved, dry=dry_run)
    return 0 if chosen is not None and tuned.choice.decided else 1


def _document(request: Request, tuned: Tuned, saved: Path | None) -> JsonValue:
    """Return everything, for `--json`."""
    from ecovision_edge.profile import current_key

    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "saved": None if saved is None else ascii(str(saved))[1:-1],
        "bundle": request.bundle.manifest.name,
        "holds_for": current_key(request.bundle).to_json(),
        "budget_s": request.budget_s,
        "frame": {"width": request.source.width, "height": request.source.height},
        "evidence": request.images.evidence,
        "default": request.plan.default.key,
        "skipped": dict(request.plan.skipped),
        "fp16": request.plan.fp16,
        "lossy_sizes": {str(size): loss for size, loss in request.plan.lossy.items()},
        **tuned.to_json(),
    }


def _print(request: Request, tuned: Tuned, saved: Path | None, *, dry: bool) -> None:
    from ecovision_edge_bench.tune.text import align, headline, minds, table_rows, verdict_lines

    lines = [headline(request, tuned), *align(table_rows(tuned)), *verdict_lines(tuned, saved, dry=dry)]
    lines += ["what would change it:", *(f"  - {line}" for line in minds(request, tuned))]
    for line in lines:
        typer.echo(printable(line))
