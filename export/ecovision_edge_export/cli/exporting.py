"""`ecovision-edge export`: a checkpoint becomes a bundle."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ecovision_edge.cli.options import BundleVersion, LabelMap
from ecovision_edge.cli.output import printable, write_json
from ecovision_edge.cli.quant_report import tried_lines
from ecovision_edge.errors import OptionError
from ecovision_edge_export.cli.options import MaximumDrop, MinimumAgreement, require_all, require_litert
from ecovision_edge_export.cli.screen import ConsoleReporter, show_parity

if TYPE_CHECKING:
    from ecovision_edge.bundle.contract import Filter
    from ecovision_edge_export.options import ExportOptions, InputForm
    from ecovision_edge_export.pipeline import ExportResult
    from ecovision_edge_export.publish.push import PushOptions

__all__ = ["export"]

AUTO = "auto"  # a size that is measured

_FILTERS: Mapping[str, Filter] = {"fast": "fast", "pil": "pil"}
_INPUTS: Mapping[str, InputForm] = {"uint8-nhwc": "uint8-nhwc", "float32-nchw": "float32-nchw"}

_Value = TypeVar("_Value")


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
        typer.Option(
            "--imgsz",
            "--size",
            help="Network input: PIXELS or HEIGHTxWIDTH; default: the checkpoint's, or 224. auto: the "
            "cheapest of --sizes within --max-loss.",
        ),
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option(
            help="Measure accuracy on --val and cost for --target at these PIXELS, with commas, as "
            "128,160,192,224."
        ),
    ] = None,
    max_loss: Annotated[
        float | None,
        typer.Option(
            help="Percentage points of accuracy that --size auto may lose against the largest; default: 0.5."
        ),
    ] = None,
    keep_sizes: Annotated[
        bool,
        typer.Option("--keep-sizes", help="Keep all of --sizes in the bundle: `tune` chooses on the device."),
    ] = False,
    filter: Annotated[str, typer.Option(help="The runtime's resize filter: pil (exact) or fast.")] = "pil",
    input: Annotated[
        str, typer.Option(help="uint8-nhwc (BGR frames, normalization in the graph) or float32-nchw.")
    ] = "uint8-nhwc",
    precision: Annotated[str, typer.Option(help="fp32, int8, or both with a comma.")] = "fp32,int8",
    formats: Annotated[str, typer.Option(help="onnx, tflite, or both with a comma.")] = "onnx",
    calib_size: Annotated[int, typer.Option(help="How many photographs of --calib to use.")] = 512,
    agree: MinimumAgreement = 98.0,
    max_drop: MaximumDrop = 0.5,
    expect_accuracy: Annotated[
        float | None,
        typer.Option(help="Minimum accuracy on --val, per cent, of PyTorch and of each artifact."),
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            help="CPU that int8 is made for: x86-vnni, x86, arm64, arm64-dotprod, arm64-fp16 or auto; or "
            "several with commas, for one bundle."
        ),
    ] = "auto",
    fp32_blocks: Annotated[
        int | None,
        typer.Option(
            help="Blocks after the stem that int8 leaves in fp32; -1: not even the stem; default: searched."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the choice of calibration photographs.")] = 0,
    name: Annotated[str | None, typer.Option(help="Name of the bundle.")] = None,
    bundle_version: BundleVersion = None,
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

      ecovision-edge export --weights best.pth --val val -o mine --size auto

      ecovision-edge export --weights best.pth --val val -o mine --push-to-hub me/bin
    """
    require_all()
    if "tflite" in formats:
        require_litert()
    from ecovision_edge_export.options import (
        ExportOptions,
        parse_size,
        parse_sizes,
        parse_triple,
        read_labels,
    )
    from ecovision_edge_export.publish.push import push_options

    options = ExportOptions(
        weights=weights,
        labels=read_labels(labels) if labels else None,
        mean=None if mean is None else parse_triple("--mean", mean),
        std=None if std is None else parse_triple("--std", std),
        resize=resize,
        size=None if imgsz in (None, AUTO) else parse_size(imgsz),
        sizes=() if sizes is None else parse_sizes(sizes),
        auto_size=imgsz == AUTO,
        max_loss=max_loss,
        keep_sizes=keep_sizes,
        filter=_choice("--filter", filter, _FILTERS),
        input_form=_choice("--input", input, _INPUTS),
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
        version=bundle_version,
    )
    if json is not None and str(json) != "-" and not json.absolute().parent.is_dir():
        raise OptionError(
            f"--json {json}", expected="a file in a folder that is there", found="no such folder"
        )
    pushing = push_options(push_to_hub, public=public, waived=push_parity_failure)
    reporter = ConsoleReporter()
    result = _exported(options, out, json, reporter)
    _push(result, pushing, json, reporter)
    _say_what_next(result, out, reporter)
    return 0


def _choice(option: str, given: str, known: Mapping[str, _Value]) -> _Value:
    if given not in known:
        raise OptionError(option, expected=" or ".join(known), found=ascii(given)[:40])
    return known[given]


def _exported(
    options: ExportOptions, out: Path, json: Path | None, reporter: ConsoleReporter
) -> ExportResult:
    """Export, and show parity, also where the gate stays closed."""
    from ecovision_edge_export.parity.figures import GateClosedError
    from ecovision_edge_export.pipeline import export_bundle

    try:
        result = export_bundle(options, out, reporter)
    except GateClosedError as e:
        show_parity(reporter.console, e.parity)
        if json is not None:
            write_json({"bundle": None, **e.to_json()}, json)
        raise
    show_parity(reporter.console, result.parity)
    return result


def _push(
    result: ExportResult, pushing: PushOptions | None, json: Path | None, reporter: ConsoleReporter
) -> None:
    """Push, if that is asked for; what was exported is written even where the hub does not take it."""
    from ecovision_edge_export.publish.push import push_stage

    document = result.to_json()
    try:
        if pushing is not None:
            document["pushed"] = push_stage(result.path, pushing, reporter)
    finally:
        if json is not None:
            write_json(document, json)


def _say_what_next(result: ExportResult, out: Path, reporter: ConsoleReporter) -> None:
    for entry in result.manifest.artifacts:
        for line in tried_lines(entry.recipe):
            reporter.console.print(printable(line), soft_wrap=True)
    bundle = shlex.quote(str(out))
    for command in (f"verify {bundle}", f"inspect {bundle}", f"classify IMAGE --bundle {bundle}"):
        reporter.console.print(f"  ecovision-edge {command}", soft_wrap=True)
