"""`ecovision-edge eval`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecovision_edge.base.extras import require
from ecovision_edge.base.providers import provider_arguments
from ecovision_edge.cli.options import (
    ArtifactName,
    BundleOrModel,
    DelegateLibrary,
    LabelMap,
    NoProfile,
    ProviderOptions,
    Providers,
    Threads,
)
from ecovision_edge.cli.output import check_targets, printable, progress_bar, text_console, write_file
from ecovision_edge.errors import OptionError
from ecovision_edge.photographs.turns import MOST_TURNS

if TYPE_CHECKING:
    from rich.console import Console

    from ecovision_edge_bench.evaluate.run import Evaluation

__all__ = ["evaluate"]


def evaluate(
    data: Annotated[Path, typer.Option(help="Photographs: one folder per class, named as the labels.")],
    bundle: BundleOrModel = None,
    artifact: ArtifactName = "auto",
    threads: Threads = None,
    providers: Providers = None,
    provider_option: ProviderOptions = None,
    delegate: DelegateLibrary = None,
    no_profile: NoProfile = False,
    map: LabelMap = None,
    limit: Annotated[
        int | None, typer.Option(help="Maximum number of photographs, evenly spread; default: all.")
    ] = None,
    turns: Annotated[
        int,
        typer.Option(help="Number of even turns to judge at; 4 are quarter turns.", min=1, max=MOST_TURNS),
    ] = 1,
    whole: Annotated[
        bool, typer.Option("--whole", help="Decode JPEG files whole, as PIL does; not as small as will do.")
    ] = False,
    json: Annotated[
        Path | None, typer.Option(help="Write all figures and answers here; - is stdout.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write one page with plots and photographs here.")] = None,
) -> int:
    """Measure accuracy on labelled photographs: by class, confusions, calibration.

    A file that cannot be decoded is reported and left out; the exit status is then 1. Accuracy by turn says
    how well it does in a bin, where things lie as they fall; where photographs have grey letterbox bars, it
    is measured with and without.

    Examples:

      ecovision-edge eval --data photos/val

      ecovision-edge eval --data val -b build/mine --turns 4 --json e.json --html e.html

      ecovision-edge eval --data photos --map green-glass=glass,cans=metal
    """
    require("rich", "bench")
    from ecovision_edge.classifier import Classifier
    from ecovision_edge.photographs.labelled import find_labelled, parse_map, spread
    from ecovision_edge_bench.evaluate.document import json_chunks
    from ecovision_edge_bench.evaluate.report import page
    from ecovision_edge_bench.evaluate.run import Data, Model, evaluate_images

    if limit is not None and limit < 1:
        raise OptionError("--limit", expected="at least 1", found=limit)
    check_targets(json, html)
    classifier = Classifier.load(
        bundle,
        artifact=artifact,
        threads=threads,
        delegate=delegate,
        profile=not no_profile,
        **provider_arguments(providers, provider_option),
    )
    labels = classifier.labels
    mapping = {} if map is None else parse_map(map, labels)
    found = find_labelled(data, labels, mapping)
    images = found.images if limit is None else spread(found.images, limit)
    what = Data(
        data,
        len(found.images),
        limit,
        {folder: None if i is None else labels[i] for folder, i in mapping.items()},
        found.skipped,
        whole,
    )
    errors = text_console(stderr=True, soft_wrap=True)
    for note in found.notes:
        errors.print(f"ecovision-edge: {printable(note)}")
    with progress_bar(errors, "classifying", len(images)) as step:
        evaluation = evaluate_images(
            classifier,
            Model.of(classifier, bundle),
            what,
            images,
            turns=turns,
            progressed=lambda done: step(),
            failed=lambda failure: errors.print(f"ecovision-edge: {failure.reason}"),
        )
    if json is not None:
        write_file(json_chunks(evaluation), json, "--json")
    if html is not None:
        write_file([page(evaluation).encode()], html, "--html")
    if str(json) != "-":
        _show(text_console(soft_wrap=True), evaluation)
    return 1 if evaluation.answers.failures else 0


def _show(console: Console, evaluation: Evaluation) -> None:
    """Title, table, figures, notes: a drawn table on a terminal, else the same plain text every time."""
    from ecovision_edge_bench.evaluate.text import class_rows, figure_lines, note_lines, title, turn_rows

    console.print(title(evaluation))
    _show_table(console, class_rows(evaluation.metrics), totals=1)
    for line in figure_lines(evaluation.metrics):
        console.print(line)
    if evaluation.turns is not None and len(evaluation.turns.stripped.by_turn) > 1:
        _show_table(console, turn_rows(evaluation.turns), totals=2)
    for line in note_lines(evaluation):
        console.print(line)


def _show_table(console: Console, rows: Sequence[Sequence[str]], totals: int) -> None:
    """Drawn on a terminal, the last `totals` rows apart; else aligned lines with an empty one around."""
    from ecovision_edge.base.columns import plain_table

    if not console.is_terminal:
        for line in ("", *plain_table(rows), ""):
            console.print(line)
        return
    from rich.table import Table

    table = Table()
    for i, name in enumerate(rows[0]):
        table.add_column(name, justify="left" if i == 0 else "right")
    for row in rows[1:-totals]:
        table.add_row(*row)
    table.add_section()
    for row in rows[-totals:]:
        table.add_row(*row, style="bold")
    console.print(table, soft_wrap=False)
