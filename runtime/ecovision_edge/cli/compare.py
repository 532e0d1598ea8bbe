"""`ecovision-edge compare`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecovision_edge.base.providers import provider_arguments
from ecovision_edge.cli.options import (
    ArtifactName,
    DelegateLibrary,
    LabelMap,
    ProviderOptions,
    Providers,
    Threads,
)
from ecovision_edge.cli.output import (
    check_targets,
    printable,
    progress_bar,
    text_console,
    write_file,
    write_json,
)
from ecovision_edge.errors import DatasetError, OptionError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from rich.console import Console

    from ecovision_edge.classifier import Classifier
    from ecovision_edge.comparison.outcomes import Failure
    from ecovision_edge.comparison.report import ComparisonReport
    from ecovision_edge.photographs.labelled import LabelledImages

__all__ = ["compare"]

_TIMED = 8  # pictures that the times are taken on


def compare(
    old: Annotated[Path, typer.Argument(help="The model in use: a bundle, an .onnx or a .tflite file.")],
    new: Annotated[Path, typer.Argument(help="The model that may take its place.")],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Photographs: one folder per class, named as the labels. Or frames that nobody labelled."
        ),
    ] = None,
    frames: Annotated[
        Path | None, typer.Option(help="Frames that nobody labelled: a recording, or any pictures.")
    ] = None,
    max_worse: Annotated[
        float | None,
        typer.Option(
            help="Percentage points of accuracy that NEW may lose; exit status 1 unless that is proved."
        ),
    ] = None,
    artifact: ArtifactName = "auto",
    threads: Threads = None,
    providers: Providers = None,
    provider_option: ProviderOptions = None,
    delegate: DelegateLibrary = None,
    map: LabelMap = None,
    limit: Annotated[
        int | None, typer.Option(help="Maximum number of pictures of each folder, evenly spread.", min=1)
    ] = None,
    rounds: Annotated[
        int, typer.Option(help="Rounds in which both are timed in turns; 0 times none.", min=0, max=100_000)
    ] = 60,
    html: Annotated[Path | None, typer.Option(help="Write one page with the pictures here.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write everything here; - is stdout.")] = None,
) -> int:
    """Compare two models: who is right on photographs, where they disagree, latency here, contract.

    Answers are compared by the names of the labels. A class that NEW lacks counts as wrong; one that only NEW
    knows is counted apart. A file that cannot be decoded is reported and left out; the exit status is then 1.

    Examples:

      ecovision-edge compare build/reference build/mine --data photos/val

      ecovision-edge compare build/mine build/next --data photos/val --max-worse 1 --html difference.html

      ecovision-edge compare build/mine build/next --data recording --rounds 0 --json -
    """
    from ecovision_edge.classifier import Classifier
    from ecovision_edge.comparison.answers import every_label
    from ecovision_edge.comparison.document import document
    from ecovision_edge.comparison.page import page
    from ecovision_edge.comparison.report import compare_models
    from ecovision_edge.comparison.text import report_lines
    from ecovision_edge.photographs.labelled import find_labelled, parse_map

    check_targets(json, html)
    if data is None and frames is None:
        raise OptionError("--data", expected="photographs, or frames by --frames", found="neither")
    if max_worse is not None and not 0 <= max_worse <= 100:
        raise OptionError("--max-worse", expected="0 to 100 percentage points", found=max_worse)
    if data is not None and frames is None and _is_loose(data):
        data, frames = None, data
    if data is None and (max_worse is not None or map is not None):
        option = "--map" if max_worse is None else "--max-worse"
        raise OptionError(option, expected="--data, one folder per class", found=f"frames of {frames}")
    both = [
        Classifier.load(
            source,
            artifact=artifact,
            threads=threads,
            **provider_arguments(providers, provider_option),
            spinning=False,  # one's threads must not take the cores while the other is timed
            delegate=delegate,
            profile=False,  # which one of them alone may have
        )
        for source in (old, new)
    ]
    labels = every_label(*both)
    mapping = None if map is None else parse_map(map, labels)
    photographs = None if data is None else find_labelled(data, labels, mapping)
    pictures = [] if frames is None else _find_frames(frames)
    report = replace(
        compare_models(both[0], both[1], old, new),
        data=data,
        recorded=frames,
        margin=None if max_worse is None else max_worse / 100,
    )
    errors = text_console(stderr=True, soft_wrap=True)
    report = _look(errors, both, report, photographs, pictures, limit)
    if rounds:
        timed = [] if photographs is None else [image.path for image in photographs.images]
        report = _timed(both, report, timed or pictures, rounds)
    if json is not None:
        write_json(document(report), json)
    if html is not None:
        write_file([page(report).encode()], html, "--html")
    if str(json) != "-":
        for line in report_lines(report):
            print(printable(line))
    verdict = report.verdict
    return 1 if report.failures or (verdict is not None and not verdict.ok) else 0


def _is_loose(data: Path) -> bool:
    """Check whether a folder holds pictures and no folders of them: nobody said what they are."""
    from ecovision_edge.photographs.labelled import read_folder

    there = read_folder(data, "--data")
    return bool(there.loose) and not any(there.classes.values())


def _find_frames(folder: Path) -> list[Path]:
    from ecovision_edge.base.files import is_folder
    from ecovision_edge.photographs.images import IMAGE_KINDS, find_images

    pictures = list(find_images(folder))
    if not pictures:
        found = "none in it" if is_folder(folder) else "no such folder"
        raise DatasetError(f"--frames {folder}", expected=f"a folder of {IMAGE_KINDS}", found=found)
    return pictures


def _look(
    errors: Console,
    both: Sequence[Classifier],
    report: ComparisonReport,
    photographs: LabelledImages | None,
    pictures: Sequence[Path],
    limit: int | None,
) -> ComparisonReport:
    """Have both look at everything; what could not be looked at is told at once."""
    from ecovision_edge.comparison.answers import compare_frames, compare_labelled
    from ecovision_edge.photographs.labelled import spread

    images = () if photographs is None else photographs.images
    chosen = images if limit is None else spread(images, limit)
    seen = pictures if limit is None else spread(pictures, limit)
    for note in () if photographs is None else photographs.notes:
        errors.print(f"ecovision-edge: {printable(note)}")
    labelled = found = None
    failures: list[Failure] = []
    with progress_bar(errors, "comparing", len(chosen) + len(seen)) as step:
        if photographs is not None:
            least = both[0].contract.thresholds, both[1].contract.thresholds
            labelled = compare_labelled(both[0], both[1], chosen, thresholds=least, progressed=step)
            failures += labelled.failures
        if seen:
            found = compare_frames(both[0], both[1], seen, progressed=step)
            failures += found.failures
    for failure in failures:
        errors.print(f"ecovision-edge: {printable(failure.name)}: {printable(failure.reason)}")
    compared = (0 if labelled is None else len(labelled.outcomes)) + (0 if found is None else found.compared)
    if compared == 0:
        skipped = 0 if found is None else found.skipped
        what = f"{len(failures)} that cannot" + (f", {skipped} of an empty tray" if skipped else "")
        raise DatasetError(
            f"{report.data or report.recorded}", expected="pictures that can be compared", found=what
        )
    return replace(report, labelled=labelled, frames=found)


def _timed(
    both: Sequence[Classifier], report: ComparisonReport, pictures: Sequence[Path], rounds: int
) -> ComparisonReport:
    """Time both on a few of the pictures that can be read."""
    from ecovision_edge.comparison.answers import needs_of_both
    from ecovision_edge.comparison.latency import compare_latency
    from ecovision_edge.errors import ImageReadError
    from ecovision_edge.photographs.images import read_image
    from ecovision_edge.photographs.labelled import spread

    frames: list[npt.NDArray[np.uint8]] = []
    for path in spread(pictures, _TIMED):
        try:
            frames.append(read_image(path, needs_of_both(both[0], both[1])))
        except ImageReadError:  # it was told already
            continue
    if not frames:
        return report
    return replace(report, latency=compare_latency(both[0], both[1], frames, rounds))
