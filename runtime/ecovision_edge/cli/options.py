"""Options that several commands have, written once: they mean the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecovision_edge.base.names import quoted
from ecovision_edge.bundle.identity import VERSION_WORDS, is_version
from ecovision_edge.errors import OptionError

__all__ = [
    "ArtifactName",
    "BundleOrModel",
    "BundleVersion",
    "DelegateLibrary",
    "Half",
    "LabelMap",
    "NoProfile",
    "ProviderOptions",
    "Providers",
    "StoreFolder",
    "Threads",
    "check_version",
]

BundleOrModel = Annotated[
    Path | None,
    typer.Option("--bundle", "-b", help="A bundle, an .onnx or a .tflite file; default: the reference."),
]
BundleVersion = Annotated[
    str | None,
    typer.Option(
        help="Version of the bundle, as 2.1; default: the day, or the version before, with a digest."
    ),
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
StoreFolder = Annotated[
    Path | None,
    typer.Option("--store", help="Folder of the bundles of updates; default: `updates` in the state folder."),
]
LabelMap = Annotated[
    str | None,
    typer.Option(help="Folders of other names: FOLDER=LABEL,FOLDER=LABEL; FOLDER= skips one."),
]


def check_version(text: str | None) -> None:
    """Refuse what cannot be the version of a bundle, before the work whose result has it.

    Raises:
        OptionError: it is neither None nor a version.
    """
    if text is not None and not is_version(text):
        raise OptionError("--bundle-version", expected=VERSION_WORDS, found=quoted(text))
