"""`ecovision-edge eval`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecovision_edge.cli.output import check_target, write_file
from ecovision_edge.errors import OptionError
from ecovision_edge_bench.extras import require

if TYPE_CHECKING:
    from rich.console import Console

    from ecovision_edge_bench.evaluate.run import Evaluation

__all__ = ["evaluate"]


def evaluate(
    data: Annotated[Path, typer.Option(help="Photographs: a folder a class, named as the labels.")],
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", "-b", help="A bundle, an .onnx or a .tflite file; default: the reference."),
    ] = None,
    artifact: Annotated[str, typer.Option(help="auto, int8, fp32, or an artifact's whole name.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(help="For one inference; default: the cores, at most 4.")
    ] = None,
    delegate: Annotated[
        str | None, typer.Option(help="A library that LiteRT runs TFLite models with: libedgetpu.so.1.")
    ] = None,
    no_profile: Annotated[
        bool, typer.Option("--no-profile", help="Do not use what `ecovision-edge tune` saved.")
    ] = False,
    map: Annotated[
        str | None,
        typer.Option(help="Folders of other names: FOLDER=LABEL,FOLDER=LABEL; FOLDER= skips one."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Only so many photographs, evenly spread; default: all.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option(help="Write all figures and answers here; - is stdout.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write one page with plots and photographs here.")] = None,
) -> int:
    """Measure accuracy on labelled photographs: by class, confusions, calibration.

    A file that cannot be decoded is reported and left out; the exit status is then 1.

    Examples:

      ecovision-edge eval --data photos/val

      ecovision-edge eval --data val -b build/mine --json e.json --html e.html

      ecovision-edge eval --data photos --map green-glass=glass,cans=metal
    """
    require("rich")
    from rich.console import Console

    from ecovision_edge.classifier import Classifier
    from ecovision_edge.labelled import find_labelled, parse_map, spread
    from ecovision_edge_bench.evaluate.document import json_chunks
    from ecovision_edge_bench.evaluate.report import page
    from ecovision_edge_bench.evaluate.run import Data, Model, evaluate_images

    if limit is not None and limit < 1:
        raise OptionError("--limit", expected="at least 1", found=limit)
    _check_targets(json, html)
    classifier = Classifier.load(
        bundle, artifact=artifact, threads=threads, delegate=delegate, profile=not no_profile
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
    )
    errors = Console(stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=True)
    with _progress(errors, len(images)) as progressed:
        evaluation = evaluate_images(
            classifier,
            Model.of(classifier, bundle),
            what,
            images,
            progressed=progressed,
            failed=lambda failure: errors.print(f"ecovision-edge: {failure.reason}"),
        )
    if json is not None:
        write_file(json_chunks(evaluation), json, "--json")
    if html is not None:
        write_file([page(evaluation).encode()], html, "--html")
    if str(json) != "-":
        _show(Console(markup=False, highlight=False, emoji=False, soft_wrap=True), evaluation)
    return 1 if evaluation.answers.failures else 0


def _check_targets(json: Path | None, html: Path | None) -> None:
    """Before the photographs are classified, which may take long."""
    if json is not None:
        check_target(json, "--json")
    if html is not None:
        if str(html) == "-":
            raise OptionError("--html -", expected="a file to write to", found="standard output")
        check_target(html, "--html")
        if json is not None and json.absolute() == html.absolute():
            raise OptionError("--json and --html", expected="two files", found=f"{html} for both")


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar, on a terminal alone; gives what moves it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with progress:
        task = progress.add_task("classifying", total=total)
        yield lambda done: progress.update(task, completed=done)


def _show(console: Console, evaluation: Evaluation) -> None:
    """Title, table, figures, notes: a drawn table on a terminal, else the same plain text every time."""
    from ecovision_edge_bench.evaluate.text import class_rows, figure_lines, note_lines, plain_table, title

    rows = class_rows(evaluation.metrics)
    console.print(title(evaluation))
    if console.is_terminal:
        from rich.table import Table

        head, *body, total = rows
        table = Table()
        for i, name in enumerate(head):
            table.add_column(name, justify="left" if i == 0 else "right")
        for row in body:
            table.add_row(*row)
        table.add_section()
        table.add_row(*total, style="bold")
        console.print(table, soft_wrap=False)
    else:
        for line in ("", *plain_table(rows), ""):
            console.print(line)
    for line in (*figure_lines(evaluation.metrics), *note_lines(evaluation)):
        console.print(line)
