"""Options that several commands have, written once: they mean the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "ArtifactName",
    "BundleOrModel",
    "DelegateLibrary",
    "Half",
    "LabelMap",
    "NoProfile",
    "ProviderOptions",
    "Providers",
    "Threads",
]

BundleOrModel = Annotated[
    Path | None,
    typer.Option("--bundle", "-b", help="A bundle, an .onnx or a .tflite file; default: the reference."),
]
ArtifactName = Annotated[str, typer.Option(help="auto, int8, fp32, or an artifact's whole name.")]
Threads = Annotated[int | None, typer.Option(help="Threads of one inference; default: the cores, at most 4.")]
DelegateLibrary = Annotated[
    str | None, typer.Option(help="A library that LiteRT runs TFLite models with: libedgetpu.so.1.")
]
Providers = Annotated[
    str | None,
    typer.Option(
        help="Execution providers of onnxruntime for ONNX models, in order, with commas: tensorrt,cuda,cpu."
    ),
]
ProviderOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--provider-option",
        help="An option of theirs: trt_fp16_enable=1, device_id=0, cuda:use_tf32=0; again for more.",
    ),
]
Half = Annotated[
    bool, typer.Option("--fp16", help="Run TFLite models in fp16, on an Arm CPU that has it (asimdhp).")
]
NoProfile = Annotated[bool, typer.Option("--no-profile", help="Do not use what `ecovision-edge tune` saved.")]
LabelMap = Annotated[
    str | None,
    typer.Option(help="Folders of other names: FOLDER=LABEL,FOLDER=LABEL; FOLDER= skips one."),
]
