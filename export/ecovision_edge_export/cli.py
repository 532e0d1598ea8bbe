"""The exporter's commands: thin; they parse, call the library, and print."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from ecovision_edge.cli.options import LabelMap
from ecovision_edge.cli.output import printable, text_console, write_json
from ecovision_edge.cli.quant_report import tried_lines
from ecovision_edge.errors import OptionError
from ecovision_edge_export.extras import require
from ecovision_edge_export.transcript import Reporter

if TYPE_CHECKING:
    from ecovision_edge_export.parity.figures import Parity

__all__ = ["ConsoleReporter", "export", "parity"]

MAX_FLIPS = 20  # that are printed; --json has all


class ConsoleReporter(Reporter):
    """Shows stages on the terminal: a line each, and a progress bar while one counts."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or text_console(stderr=True)
        self._progress: Progress | None = None
        self._task: Any = None

    def started(self, stage: str) -> None:
        """A bar that spins until the stage counts."""
        self._stop()
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<10}", markup=False),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._task = self._progress.add_task(stage, total=None)
        self._progress.start()

    def progressed(self, stage: str, done: int, total: int) -> None:
        """Move the bar."""
        if self._progress is not None:
            self._progress.update(self._task, completed=done, total=total)

    def finished(self, stage: str, figure: str) -> None:
        """A line with what was found."""
        self._stop()
        self.console.print(Text.assemble(("✓", "green"), f" {stage:<10}"), end="")
        self.console.print(figure, soft_wrap=True)

    def failed(self, stage: str) -> None:
        """A line that says where it stopped."""
        self._stop()
        self.console.print(Text.assemble(("✗", "red"), f" {stage}"))

    def warned(self, message: str) -> None:
        """A line that stands out."""
        self._stop()
        self.console.print(Text("!", "yellow"), end=" ")
        self.console.print(message, soft_wrap=True)

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def export(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The bundle's folder; an older bundle is replaced.")
    ],
    weights: Annotated[
        str,
        typer.Option(
            help="reference, a folder of `ecovision-edge train`, a .pth/.pt/.safetensors file, or "
            "hf://OWNER/REPO[@REVISION]/FILE. "
            "hf://AmadFR/ecovision_mobilenetv3 is the published EcoVision model."
        ),
    ] = "reference",
    calib: Annotated[Path | None, typer.Option(help="Photographs that set the int8 ranges.")] = None,
    val: Annotated[
        Path | None, typer.Option(help="Photographs for parity: one folder per class, or flat.")
    ] = None,
    map: LabelMap = None,
    labels: Annotated[
        Path | None, typer.Option(help="A text file, one label per line, in the order of the output.")
    ] = None,
    num_classes: Annotated[int | None, typer.Option(help="Classes the weights must have, 2 to 1000.")] = None,
    mean: Annotated[
        str | None, typer.Option(help="R,G,B for pixels in 0 to 1; default: the checkpoint's, or ImageNet's.")
    ] = None,
    std: Annotated[
        str | None, typer.Option(help="R,G,B for pixels in 0 to 1; default: the checkpoint's, or ImageNet's.")
    ] = None,
    resize: Annotated[
        str | None,
        typer.Option(
            help="squash, or shortest:PIXELS and a centre crop; default: the checkpoint's, or squash."
        ),
    ] = None,
    imgsz: Annotated[
        str | None,
        typer.Option(help="Network input: PIXELS or HEIGHTxWIDTH; default: the checkpoint's, or 224."),
    ] = None,
    filter: Annotated[str, typer.Option(help="The runtime's resize filter: pil (exact) or fast.")] = "pil",
    input: Annotated[
        str, typer.Option(help="uint8-nhwc (BGR frames, normalization in the graph) or float32-nchw.")
    ] = "uint8-nhwc",
    precision: Annotated[str, typer.Option(help="fp32, int8, or both with a comma.")] = "fp32,int8",
    formats: Annotated[str, typer.Option(help="onnx, tflite, or both with a comma.")] = "onnx",
    calib_size: Annotated[int, typer.Option(help="How many photographs of --calib to use.")] = 512,
    agree: Annotated[
        float, typer.Option(help="Minimum top-1 agreement of int8 with PyTorch, per cent.")
    ] = 98.0,
    max_drop: Annotated[
        float, typer.Option(help="Maximum drop of int8 accuracy, in percentage points.")
    ] = 0.5,
    expect_accuracy: Annotated[
        float | None,
        typer.Option(help="Minimum accuracy on --val, per cent, of PyTorch and of each artifact."),
    ] = None,
    target: Annotated[
        str, typer.Option(help="CPU that int8 is made for: x86-vnni, x86, arm64, arm64-dotprod or auto.")
    ] = "auto",
    fp32_blocks: Annotated[
        int | None,
        typer.Option(
            help="Blocks after the stem that int8 leaves in fp32; -1: not even the stem; default: searched."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the choice of calibration photographs.")] = 0,
    name: Annotated[str | None, typer.Option(help="Name of the bundle.")] = None,
    allow_parity_failure: Annotated[
        bool,
        typer.Option(
            "--allow-parity-failure", help="Write the bundle although parity fails; the manifest says so."
        ),
    ] = False,
    push_to_hub: Annotated[
        str | None,
        typer.Option(
            metavar="OWNER/NAME",
            help="Push it to this repository of the Hugging Face hub too, with the token of HF_TOKEN or of "
            "`hf auth login`.",
        ),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public/--private", help="Who may see a repository that is new on the hub.")
    ] = False,
    push_parity_failure: Annotated[
        bool, typer.Option("--push-parity-failure", help="Push although parity failed.")
    ] = False,
    json: Annotated[Path | None, typer.Option(help="Write everything here as JSON; - is stdout.")] = None,
) -> int:
    """Export a trained checkpoint to a verified bundle.

    Parity with PyTorch is a gate: a model that disagrees is not written, and the exit status is 1.

    Examples:

      ecovision-edge export --weights reference --out build/reference

      ecovision-edge export --weights best.pth --calib train --val val -o mine

      ecovision-edge export --weights hf://AmadFR/ecovision_mobilenetv3 -o eco

      ecovision-edge export --weights best.pth --val val -o mine --push-to-hub me/bin
    """
    _require_all()
    if "tflite" in formats:
        _require_litert()
    from ecovision_edge_export.options import ExportOptions, parse_size, parse_triple, read_labels
    from ecovision_edge_export.parity.figures import GateClosedError
    from ecovision_edge_export.pipeline import export_bundle
    from ecovision_edge_export.publish.push import push_options, push_stage

    if filter not in ("fast", "pil"):
        raise OptionError("--filter", expected="fast or pil", found=ascii(filter)[:40])
    if input not in ("uint8-nhwc", "float32-nchw"):
        raise OptionError("--input", expected="uint8-nhwc or float32-nchw", found=ascii(input)[:40])
    options = ExportOptions(
        weights=weights,
        labels=read_labels(labels) if labels else None,
        mean=None if mean is None else parse_triple("--mean", mean),
        std=None if std is None else parse_triple("--std", std),
        resize=resize,
        size=None if imgsz is None else parse_size(imgsz),
        filter="pil" if filter == "pil" else "fast",
        input_form="uint8-nhwc" if input == "uint8-nhwc" else "float32-nchw",
        num_classes=num_classes,
        precisions=tuple(p.strip() for p in precision.split(",")),
        formats=tuple(f.strip() for f in formats.split(",")),
        calib=calib,
        calib_size=calib_size,
        val=val,
        map=map,
        agree=agree,
        max_drop=max_drop,
        expect_accuracy=expect_accuracy,
        target=target,
        fp32_blocks=fp32_blocks,
        seed=seed,
        allow_parity_failure=allow_parity_failure,
        name=name,
    )
    reporter = ConsoleReporter()
    if json is not None and str(json) != "-" and not json.absolute().parent.is_dir():
        raise OptionError(
            f"--json {json}", expected="a file in a folder that is there", found="no such folder"
        )
    pushing = push_options(push_to_hub, public=public, waived=push_parity_failure)
    try:
        result = export_bundle(options, out, reporter)
    except GateClosedError as e:
        _show_parity(reporter.console, e.parity)
        if json is not None:
            write_json({"bundle": None, **e.to_json()}, json)
        raise
    _show_parity(reporter.console, result.parity)
    document = result.to_json()
    try:
        if pushing is not None:
            document["pushed"] = push_stage(result.path, pushing, reporter)
    finally:  # what was exported is told even where the hub does not take it
        if json is not None:
            write_json(document, json)
    for entry in result.manifest.artifacts:
        for line in tried_lines(entry.recipe):
            reporter.console.print(printable(line), soft_wrap=True)
    bundle = shlex.quote(str(out))
    for command in (f"verify {bundle}", f"inspect {bundle}", f"classify IMAGE --bundle {bundle}"):
        reporter.console.print(f"  ecovision-edge {command}", soft_wrap=True)
    return 0


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
    agree: Annotated[
        float, typer.Option(help="Minimum top-1 agreement of int8 with PyTorch, per cent.")
    ] = 98.0,
    max_drop: Annotated[
        float, typer.Option(help="Maximum drop of int8 accuracy, in percentage points.")
    ] = 0.5,
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
    """
    _require_all()
    from ecovision_edge_export.parity.recheck import recheck_parity

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
        reporter=reporter,
    )
    if json is not None:
        write_json({p.artifact: p.to_json() for p in result}, json)
    _show_parity(reporter.console, result)
    return 0 if all(p.ok for p in result) else 1


def _show_parity(console: Console, result: Sequence[Parity]) -> None:
    """The table, the flips by name, and what is not within budget; nothing where nothing was compared."""
    if not result:
        return
    console.print(parity_table(result))
    for p in result:
        for flip in p.flips[:MAX_FLIPS]:
            truth = f" (is {flip.truth})" if flip.truth else ""
            console.print(
                f"  {p.artifact} {printable(flip.image)}: PyTorch {flip.torch_label} {flip.torch_score:.2f}, "
                f"here {flip.label} {flip.score:.2f}{truth}",
                soft_wrap=True,
            )
        if len(p.flips) > MAX_FLIPS:
            console.print(f"  {p.artifact} and {len(p.flips) - MAX_FLIPS} more flips; --json FILE has all")
        for failure in p.failures():
            console.print(Text.assemble(("✗", "red"), f" {p.artifact} "), end="")
            console.print(failure, soft_wrap=True)


def parity_table(result: Sequence[Parity]) -> Table:
    """Return the parity rows as a rich table."""
    from ecovision_edge_export.parity.tables import parity_rows

    first = result[0]
    noun = "photographs" if first.evidence == "photographs" else "synthetic frames (weak evidence)"
    head, *rows = parity_rows(result)
    table = Table(title=f"Parity with PyTorch on {first.images} {noun}", title_justify="left")
    for i, name in enumerate(head):
        table.add_column(name, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*row)
    return table


def _require_all() -> None:
    for module in ("torch", "torchvision", "onnx", "onnxscript", "onnxsim", "PIL", "safetensors"):
        require(module, "export")


def _require_litert() -> None:
    from ecovision_edge_export.tflite.convert import EXTRA, quiet

    with quiet():
        for module in ("litert_torch", "ai_edge_quantizer.quantizer", "ai_edge_litert.interpreter"):
            require(module, EXTRA)
