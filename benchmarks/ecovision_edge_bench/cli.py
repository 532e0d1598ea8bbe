"""`ecovision-edge bench` and its commands: thin; they parse, call the library, and print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecovision_edge.base.extras import require
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.cli.options import BundleOrModel, DelegateLibrary, ProviderOptions, Providers
from ecovision_edge.cli.output import check_target, printable, text_console, write_file, write_json
from ecovision_edge.errors import OptionError
from ecovision_edge_bench.measure.listener import Listener

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from ecovision_edge_bench.measure.result import Result

__all__ = ["bench"]

MAX_RESULT_BYTES = 2**30
PLAIN_WIDTH = 220  # columns of tables that go to a file or a pipe

bench = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@bench.callback(invoke_without_command=True)
def _run(
    ctx: typer.Context,
    bundle: BundleOrModel = None,
    quick: Annotated[bool, typer.Option("--quick", help="Measure for under a minute on two cores.")] = False,
    artifact: Annotated[str, typer.Option(help="all, or names or precisions with commas.")] = "all",
    against: Annotated[
        str,
        typer.Option(
            help="auto (PyTorch where it is installed), none, all, or names with commas, or engines: torch, "
            "torch-compile, onnxruntime-fp32, onnxruntime-int8, litert-fp32, litert-int8, openvino-fp32, "
            "openvino-bf16, openvino-int8, ncnn-fp32, mnn-fp32, executorch-fp32, executorch-int8."
        ),
    ] = "auto",
    base: Annotated[
        str | None, typer.Option(help="The row that ratios are against; default: torch, else the first.")
    ] = None,
    threads: Annotated[str, typer.Option(help="Numbers or auto, with commas: 1,2,4,auto.")] = "auto",
    spinning: Annotated[
        str, typer.Option(help="Whether engine threads spin while they wait: on, off, or on,off.")
    ] = "on",
    delegate: DelegateLibrary = None,
    providers: Providers = None,
    provider_option: ProviderOptions = None,
    frame: Annotated[str, typer.Option(help="Size of the camera's frames, WIDTHxHEIGHT.")] = "640x480",
    images: Annotated[
        Path | None,
        typer.Option(help="Photographs, flat or one folder per class; default: synthetic, weak evidence."),
    ] = None,
    parity_images: Annotated[
        int | None, typer.Option(help="How many images parity is measured on; default 256, quick 32.")
    ] = None,
    calib: Annotated[Path | None, typer.Option(help="Photographs that set peers' int8 ranges.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="The checkpoint of the bundle, where it is not found by itself.")
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Pace frames like a camera, and sleep between.")] = None,
    sustained: Annotated[
        str | None, typer.Option(help="Measure for this time, with one row per minute: 90s, 30m, 2h.")
    ] = None,
    isolate: Annotated[
        bool, typer.Option("--isolate", help="Pin each subject's process to cores of its own.")
    ] = False,
    min_secs: Annotated[float | None, typer.Option(help="Minimum seconds per subject; default 10.")] = None,
    min_count: Annotated[int, typer.Option(help="Minimum samples per subject.")] = 64,
    max_spread: Annotated[float, typer.Option(help="Maximum of (p90 - p10) / p50.")] = 0.5,
    max_other_load: Annotated[float, typer.Option(help="Cores that other programs may keep busy.")] = 0.15,
    cold_starts: Annotated[
        int | None, typer.Option(help="Fresh processes per subject; default 3, quick 1, 0 for none.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the order of turns and of the bootstrap.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Write everything here; - is stdout.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write one block to paste; - is stdout.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write one page with plots.")] = None,
) -> int:
    """Measure latency by stage, and parity with PyTorch beside it.

    Each subject has a process of its own; they take turns, so that a noisy machine is noisy for all, and
    ratios are taken round by round. The exit status is 1 where a subject failed, or an artifact of the bundle
    surely misses its parity budget. INVALID says that figures should not be believed, and why; it fails
    nothing.

    Examples:

      ecovision-edge bench --quick

      ecovision-edge bench --bundle build/reference --threads 1,2 --images photos/val --html bench.html

      ecovision-edge bench --against all --threads 1 --calib photos/train --images photos/val --json new.json

      ecovision-edge bench --fps 15 --sustained 30m --against none

      ecovision-edge bench compare old.json new.json --fail-over 5%

      ecovision-edge bench show new.json --html new.html
    """
    if ctx.invoked_subcommand is not None:
        return 0
    require("rich", "bench")
    from ecovision_edge.base.durations import parse_duration
    from ecovision_edge_bench.measure.choose import choose_images, choose_subjects, parse_against
    from ecovision_edge_bench.measure.frames import FrameSource, parse_frame_size
    from ecovision_edge_bench.measure.run import Request, run_benchmark
    from ecovision_edge_bench.measure.settings import Settings, parse_spinning, parse_threads

    changes: dict[str, Any] = {
        "min_count": min_count,
        "fps": fps,
        "sustained_secs": None if sustained is None else parse_duration(sustained),
        "isolate": isolate,
        "seed": seed,
        "max_spread": max_spread,
        "max_other_load": max_other_load,
    }
    if min_secs is not None:
        changes |= {"min_secs": min_secs, "max_secs": max(120.0, 4 * min_secs)}
    if cold_starts is not None:
        changes["cold_starts"] = cold_starts
    settings = Settings.quick(**changes) if quick else Settings(**changes)
    width, height = parse_frame_size(frame)
    peers, counts, spins = parse_against(against), parse_threads(threads), parse_spinning(spinning)
    for option, target in (("--json", json), ("--markdown", markdown), ("--html", html)):
        if target is not None:
            check_target(target, option)
    with _Listener(_console(stderr=True)) as listener:
        listener.phase("choose subjects")
        chosen = choose_subjects(
            bundle,
            artifacts=artifact,
            against=peers,
            threads=counts,
            spinning=spins,
            delegate=delegate,
            providers=providers or "",
            provider_options=provider_option or (),
            weights=weights,
            calib=calib,
        )
        for note in chosen.notes:
            listener.note(note)
        count = parity_images if parity_images is not None else 32 if quick else 256
        judged = choose_images(images, chosen.contract, count)
        for note in judged.notes:
            listener.note(note)
        request = Request(
            bundle=chosen.bundle,
            specs=chosen.specs,
            reference=chosen.reference,
            no_reference=chosen.no_reference,
            source=FrameSource(width, height, judged.files[:: max(1, len(judged.files) // 8)]),
            images=judged,
            base=base,
            settings=settings,
        )
        result = run_benchmark(request, listener)
    result.notes += chosen.notes
    _write(result, json, markdown, html)
    if "-" not in {str(json), str(markdown)}:
        _print(result)
    own = {spec.key for spec in chosen.specs if spec.kind == "classifier"}
    failed = any(row.samples.error is not None for row in result.rows)
    wrong = any(row.agreement is not None and row.agreement.wrong for row in result.rows if row.key in own)
    raise typer.Exit(1 if failed or wrong else 0)


@bench.command("compare")
def _compare(
    first: Annotated[Path, typer.Argument(help="The older result, as --json wrote it.")],
    second: Annotated[Path, typer.Argument(help="The newer result.")],
    fail_over: Annotated[
        str, typer.Option(help="How much slower a row may be before it is a regression: 5% or 0.05.")
    ] = "5%",
    relative: Annotated[
        bool, typer.Option("--relative", help="Compare ratios to the base of each run, not milliseconds.")
    ] = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Compare what is not comparable.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write everything here; - is stdout.")] = None,
) -> None:
    """Compare two results; the exit status is 1 where a row got slower, or wrong.

    A row counts as slower where it is so by more than --fail-over and the 95 % interval of its ratio leaves
    out 1. Two runs of one thing can differ by some per cent beyond their intervals: what lies where in memory
    stays as it is within a run. Results of other machines, frames or modes are refused.

    Examples:

      ecovision-edge bench compare old.json new.json --fail-over 5%

      ecovision-edge bench compare monday.json tuesday.json --relative
    """
    require("rich", "bench")
    from ecovision_edge_bench.measure.compare import check_comparable, compare_results, parse_share

    a, b = _read(first), _read(second)
    changes = compare_results(a, b, fail_over=parse_share(fail_over), relative=relative, anyway=anyway)
    regressed = [c for c in changes if c.regression]
    if json is not None:
        write_json(
            {
                "first": first.name,
                "second": second.name,
                "relative": relative,
                "differences": [*check_comparable(a, b)],
                "rows": {c.key: c.to_json() for c in changes},
                "regressions": [c.key for c in regressed],
            },
            json,
        )
    if str(json) != "-":
        rows = [["", "second / first [95 %]", "", "model"]]
        for c in changes:
            word = "WRONG" if c.turned_wrong else "slower" if c.regression else ""
            if not word and c.ratio.differs:
                word = "faster" if c.ratio.value < 1 else "slower, within --fail-over"
            rows.append([c.key, str(c.ratio), word, "same" if c.same_model else "another"])
        console = _console()
        console.print(_rich_table(rows))
        for name, result in ((first.name, a), (second.name, b)):
            if not result.valid:
                console.print(f"{printable(name)} is INVALID: see bench show")
        for difference in check_comparable(a, b):
            console.print(f"not comparable: {printable(difference)}")
    raise typer.Exit(1 if regressed else 0)


@bench.command("show")
def _show(
    file: Annotated[Path, typer.Argument(help="A result, as --json wrote it.")],
    markdown: Annotated[Path | None, typer.Option(help="Write one block to paste; - is stdout.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write one page with plots.")] = None,
) -> None:
    """Show a result again, or write it in another form.

    Examples:

      ecovision-edge bench show new.json

      ecovision-edge bench show new.json --html new.html
    """
    require("rich", "bench")
    result = _read(file)
    _write(result, None, markdown, html)
    if str(markdown) != "-":
        _print(result)


class _Listener(Listener):
    """Phases and a bar on the terminal; notes as lines."""

    def __init__(self, console: Console) -> None:
        from rich.progress import (
            BarColumn,
            Progress,
            SpinnerColumn,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
        )

        self._console = console
        self._progress: Progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<24}", markup=False),
            BarColumn(bar_width=28),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("start", total=1.0)

    def __enter__(self) -> _Listener:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def phase(self, name: str) -> None:
        """The bar begins again under another name."""
        self._progress.reset(self._task, description=name)

    def progress(self, share: float) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=share)

    def note(self, message: str) -> None:
        """A line that stands out."""
        from rich.text import Text

        self._console.print(Text("!", "yellow"), end=" ")
        self._console.print(printable(message), soft_wrap=True)


def _console(*, stderr: bool = False) -> Console:
    """Make a console: a terminal as it is, a file or a pipe wide enough for the tables."""
    console = text_console(stderr=stderr)
    return console if console.is_terminal else text_console(stderr=stderr, width=PLAIN_WIDTH)


def _rich_table(rows: Sequence[Sequence[str]]) -> Table:
    from rich.table import Table

    table = Table()
    for i, head in enumerate(rows[0]):
        table.add_column(head, justify="left" if i == 0 else "right")
    for row in rows[1:]:
        cells = [printable(cell) for cell in row]
        style = "red" if any(cell == "failed" or "WRONG" in cell for cell in row) else None
        table.add_row(*cells, style=style)
    return table


def _print(result: Result) -> None:
    from ecovision_edge_bench.page.table import (
        cold_rows,
        headline,
        latency_rows,
        minute_rows,
        size_rows,
        source_rows,
        verdict,
    )

    console = _console()
    console.print(printable(headline(result)), soft_wrap=True)
    console.print(_rich_table(latency_rows(result)))
    console.print(_rich_table(cold_rows(result)))
    if sizes := size_rows(result):
        console.print(_rich_table(sizes))
    if sources := source_rows(result):
        console.print(_rich_table(sources))
    if minutes := minute_rows(result):
        console.print(_rich_table(minutes))
    first, *rest = verdict(result)
    console.print(first, style="bold green" if result.valid else "bold red")
    for line in rest:
        console.print(printable(line), soft_wrap=True)


def _write(result: Result, json: Path | None, markdown: Path | None, html: Path | None) -> None:
    if json is not None:
        write_file([result.dumps()], json, "--json")
    if markdown is not None:
        from ecovision_edge_bench.page.table import to_markdown

        write_file([to_markdown(result).encode()], markdown, "--markdown")
    if html is not None:
        from ecovision_edge_bench.page import write_page

        write_file([write_page(result).encode()], html, "--html")


def _read(file: Path) -> Result:
    from ecovision_edge.base.files import read_regular_file
    from ecovision_edge_bench.measure.result import Result

    try:
        data = read_regular_file(file, MAX_RESULT_BYTES)
    except (OSError, ValueError) as e:
        reason = reason_of(e)
        raise OptionError(f"cannot read {file}", expected="a result that --json wrote", found=reason) from e
    return Result.loads(data, file.name)
