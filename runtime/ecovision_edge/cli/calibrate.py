"""`ecovision-edge calibrate`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecovision_edge.base.providers import provider_arguments
from ecovision_edge.cli.options import (
    ArtifactName,
    BundleVersion,
    LabelMap,
    NoProfile,
    ProviderOptions,
    Providers,
    Threads,
    check_version,
)
from ecovision_edge.cli.output import check_target, printable, progress_bar, text_console, write_json
from ecovision_edge.errors import DatasetError

if TYPE_CHECKING:
    from ecovision_edge.base.fields import JsonValue
    from ecovision_edge.calibration import Calibration, Showing
    from ecovision_edge.classifier import Classifier

__all__ = ["calibrate"]


def calibrate(
    data: Annotated[Path, typer.Option(help="Photographs: one folder per class, named as the labels.")],
    bundle: Annotated[
        Path | None, typer.Argument(help="A bundle's folder; default: the embedded reference.")
    ] = None,
    unknown: Annotated[
        Path | None, typer.Option(help="Photographs that show no class: hands, empty trays.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the calibrated bundle here; default: in the bundle's place.")
    ] = None,
    artifact: ArtifactName = "auto",
    threads: Threads = None,
    providers: Providers = None,
    provider_option: ProviderOptions = None,
    no_profile: NoProfile = False,
    map: LabelMap = None,
    max_error: Annotated[
        float,
        typer.Option(help="Maximum share of a class's predictions above its threshold that may be wrong."),
    ] = 0.05,
    confidence: Annotated[float, typer.Option(help="Confidence with which to prove that share.")] = 0.95,
    folds: Annotated[
        int, typer.Option(help="Number of parts of the photographs; each is judged by the others.")
    ] = 5,
    coverage_risk: Annotated[
        list[float] | None,
        typer.Option(help="Show how much can be decided with this share wrong; default 0.05."),
    ] = None,
    views: Annotated[
        str,
        typer.Option(
            help="Views of an item, the frames of a bin in turn: auto, none, or like plain,mirrored,x0.85."
        ),
    ] = "auto",
    turns: Annotated[
        int,
        typer.Option(
            help="Photographs are not as things lie in the bin: turn them, one after the other, by so many "
            "even turns.",
            min=1,
            max=360,
        ),
    ] = 1,
    strip_bars: Annotated[
        bool, typer.Option("--strip-bars", help="Remove grey letterbox bars, which no camera adds.")
    ] = False,
    whole: Annotated[
        bool, typer.Option("--whole", help="Decode JPEG files whole, as PIL does; not as small as will do.")
    ] = False,
    bundle_version: BundleVersion = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the figures; write no bundle.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write all figures here; - is stdout.")] = None,
) -> int:
    """Fit temperature and thresholds to photographs, and write them into a bundle and all its models.

    Also what several views of one item are worth together: a bin then looks at its frames as they are,
    mirrored, closer, and turned if the model was trained for that, one after the other. --views none leaves
    that out.

    A file that cannot be decoded is reported and left out; the exit status is then 1. A model's device
    profile is of the old bundle: run `ecovision-edge tune` again.

    Examples:

      ecovision-edge calibrate --data photos --out build/mine

      ecovision-edge calibrate build/mine --data photos --unknown photos-of-nothing

      ecovision-edge calibrate build/mine --data photos --dry-run --json -

      ecovision-edge calibrate build/mine --data web --turns 4 --strip-bars
    """
    from ecovision_edge.bundle.folder import Bundle, embedded_bundle_path
    from ecovision_edge.bundle.views import parse_views
    from ecovision_edge.calibration import (
        CalibrationOptions,
        Showing,
        calibrated_bundle,
        classify_photographs,
        write_calibrated,
    )
    from ecovision_edge.calibration import calibrate as fit
    from ecovision_edge.calibration.rewrite import check_place
    from ecovision_edge.classifier import Classifier
    from ecovision_edge.photographs.labelled import find_labelled, parse_map

    check_version(bundle_version)
    options = CalibrationOptions(max_error, confidence, folds, tuple(coverage_risk or (0.05,)))
    if json is not None:
        check_target(json, "--json")
    opened = Bundle.open(bundle or embedded_bundle_path())
    target = out or opened.path
    if not dry_run:
        check_place(opened, target)
    classifier = Classifier.load(
        opened.path,
        artifact=artifact,
        threads=threads,
        profile=not no_profile,
        **provider_arguments(providers, provider_option),
    )
    labels = classifier.labels
    chosen = parse_views(views, any_orientation=classifier.contract.any_orientation)
    showing = Showing(chosen, turns, strip_bars)
    listed = find_labelled(data, labels, None if map is None else parse_map(map, labels))
    images, notes = listed.images, listed.notes
    strange, more = ([], ()) if unknown is None else _find_strange(unknown)
    console = text_console(stderr=True, soft_wrap=True)

    def failed(reason: str) -> None:
        console.print(f"ecovision-edge: {printable(reason)}")

    for note in (*notes, *more):
        failed(note)
    with progress_bar(console, "classifying", len(images) + len(strange)) as step:
        known = classify_photographs(
            classifier, [i.path for i in images], showing, whole=whole, progressed=step, failed=failed
        )
        other = classify_photographs(
            classifier, strange, showing, whole=whole, progressed=step, failed=failed
        )
    if len(other.rows) == 0 and strange:
        raise DatasetError(
            f"--unknown {unknown}", expected="images that can be decoded", found=f"{len(strange)} that cannot"
        )
    import numpy as np

    result = fit(
        labels,
        known.logits,
        np.array([images[i].label for i in known.rows], np.intp),
        present=classifier.contract.temperature,
        unknown=other.logits if strange else None,
        options=options,
        views=chosen,
    )
    figures = _figures(classifier, data, unknown, showing, result)
    if not dry_run:
        own = classifier.bundle  # of the size that was asked, where the bundle has several
        assert own is not None
        write_calibrated(target, own, calibrated_bundle(own, result, figures, bundle_version))
    if json is not None:
        write_json({"bundle": opened.manifest.name, "written": not dry_run, **figures}, json)
    if str(json) != "-":
        _show(classifier, result, None if dry_run else target)
    return 1 if known.failures or other.failures else 0


def _find_strange(folder: Path) -> tuple[list[Path], Sequence[str]]:
    """Find the photographs that show no class, and what to say of the rest; raises DatasetError if none."""
    from ecovision_edge.photographs.images import IMAGE_KINDS, find_images, found_instead, passed_over

    passed: Counter[str] = Counter()
    option, strange = f"--unknown {folder}", list(find_images(folder, passed))
    if not strange:
        raise DatasetError(option, expected=f"a folder of {IMAGE_KINDS}", found=found_instead(passed))
    return strange, passed_over(option, passed)


def _figures(
    classifier: Classifier, data: Path, unknown: Path | None, showing: Showing, result: Calibration
) -> dict[str, JsonValue]:
    """Return what goes into the bundle's provenance, and into --json: no whole paths, they are private."""
    from ecovision_edge.base.version import __version__

    return {
        "ecovision_edge": __version__,
        "artifact": classifier.artifact,
        "engine": classifier.backend.engine,
        "data": data.resolve().name,
        "unknown_data": None if unknown is None else unknown.resolve().name,
        "turns": showing.turns,
        "bars_stripped": showing.strip_bars,
        "temperature_before": classifier.contract.temperature,
        **result.to_json(),
    }


def _show(classifier: Classifier, result: Calibration, target: Path | None) -> None:
    from ecovision_edge.calibration.text import calibration_lines

    assert classifier.bundle is not None
    manifest = classifier.bundle.manifest
    print(f"{printable(manifest.name)} {classifier.artifact} on {classifier.backend.engine}")
    for line in calibration_lines(result, classifier.contract.temperature):
        print(printable(line))
    others = [a.name for a in manifest.artifacts if a.name != classifier.artifact]
    if others:
        print(f"Fitted to {classifier.artifact}; {', '.join(others)} took over the same.")
    print("nothing was written" if target is None else f"wrote {printable(str(target))}, verified")
