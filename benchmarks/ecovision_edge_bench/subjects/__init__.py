"""What is measured: a network in an engine, with the preprocessing that belongs to it, behind one Protocol.

A `Spec` says what to load and can be sent to another process; `load(spec)` makes the `Subject`. Each engine
has a module here with one small adapter; it is imported when a subject of its kind is loaded.
"""

from __future__ import annotations

import dataclasses
import importlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ecovision_edge.errors import OptionError

__all__ = ["KINDS", "Facts", "Frame", "Probabilities", "Spec", "Subject", "engine_modules", "load"]

Frame = npt.NDArray[np.uint8]
"""A camera frame, `(height, width, 3) uint8 BGR`."""

Probabilities = npt.NDArray[np.float64]
"""`(classes,)`, in the order of the contract's labels; they add up to 1."""

KINDS = {
    "classifier": "ecovision_edge_bench.subjects.classifier",
    "torch": "ecovision_edge_bench.subjects.torch_eager",
    "onnxruntime": "ecovision_edge_bench.subjects.onnxruntime_plain",
    "litert": "ecovision_edge_bench.subjects.litert",
    "openvino": "ecovision_edge_bench.subjects.openvino",
    "ncnn": "ecovision_edge_bench.subjects.ncnn",
    "mnn": "ecovision_edge_bench.subjects.mnn",
    "executorch": "ecovision_edge_bench.subjects.executorch",
}
"""The module of each kind of subject; each has a function `load(spec: Spec) -> Subject`."""

_ENGINES = {
    "torch": ("torch", "torchvision", "PIL"),
    "onnxruntime": ("onnxruntime",),
    "litert": ("ai_edge_litert.interpreter",),
    "openvino": ("openvino",),
    "ncnn": ("ncnn",),
    "mnn": ("MNN",),
    "executorch": ("torch", "executorch.runtime"),
}


@dataclass(frozen=True, slots=True)
class Spec:
    """What to load.

    Args:
        kind: One of `KINDS`.
        name: Of the row: engine or artifact and precision, without threads (`int8-onnx`, `openvino-bf16`).
        precision: `fp32`, `bf16` or `int8`.
        source: The model file or folder that `kind` opens; of `torch` the checkpoint, as `load_checkpoint`
            takes it; of `classifier` the bundle or model.
        artifact: Of `classifier`: the artifact's name.
        delegate: Of `classifier`, with a TFLite artifact: the library that LiteRT runs it with.
        providers: Of `classifier`, with an ONNX artifact: onnxruntime's execution providers, with commas.
        provider_options: Of them, `NAME=VALUE`, one per line.
        fp16: Of `classifier`, with a TFLite artifact: whether LiteRT computes in fp16 what it has in fp32.
        contract: Of all but `classifier`: the contract's JSON, for size, mean, std, labels.
        threads: For one inference.
        spinning: Whether the engine's threads may spin while they wait, where it has such a choice.
        size: Of `classifier`: of the network's input, pixels, where it is not the size of the bundle itself.
        made: How the model file was made, one line (`torch.onnx.export, quantize_static, defaults`).
    """

    kind: str
    name: str
    precision: str
    source: str
    artifact: str = ""
    contract: str = ""
    threads: int = 1
    spinning: bool = True
    made: str = ""
    delegate: str = ""
    fp16: bool = False
    providers: str = ""
    provider_options: str = ""
    size: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise OptionError("kind of subject", expected=", ".join(KINDS), found=self.kind)

    def at_size(self, size: int) -> Spec:
        """Return the same of another size, whose bundle `source` is already: `int8-onnx 192px`."""
        return dataclasses.replace(self, name=f"{self.name} {size}px", size=size)

    @property
    def format(self) -> str:
        """The format of `classifier`: `onnx` or `tflite`, by the name of the artifact or the lone file."""
        name = self.artifact.partition("@")[0] or self.source
        return "tflite" if name.lower().endswith("tflite") else "onnx"

    @property
    def may_spin(self) -> bool:
        """Whether its engine has a choice of spinning."""
        return self.kind == "onnxruntime" or (self.kind == "classifier" and self.format == "onnx")

    @property
    def key(self) -> str:
        """Name of the row with its setting: `int8-onnx 2t no-spin`, `int8-tflite fp16 1t`.

        With providers they are in it too: `fp32-onnx cuda,cpu 1t`.
        """
        how = " fp16" if self.fp16 else f" {self.providers}" if self.providers else ""
        return f"{self.name}{how} {self.threads}t" + ("" if self.spinning else " no-spin")

    def to_json(self) -> dict[str, str | int | bool | None]:
        """Return JSON values; `Spec(**values)` reads them back."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a loaded subject really runs.

    Args:
        engine: Name and version (`onnxruntime 1.32.0`).
        precision: `fp32`, `bf16` or `int8`.
        threads: For one inference.
        sha256: Of the model file; where there are several, of all their bytes in the order of their names.
        bytes: Of those files together.
        preprocessing: How frames are prepared, one line.
    """

    engine: str
    precision: str
    threads: int
    sha256: str
    bytes: int
    preprocessing: str


class Subject(Protocol):
    """A loaded subject. The three steps are timed one by one, so nothing may be put off to a later one."""

    @property
    def facts(self) -> Facts:
        """What it runs."""
        ...

    def prepare(self, frame: Frame) -> object:
        """Frame to network input."""
        ...

    def infer(self, prepared: object) -> object:
        """Run the network on one prepared input; returns when the result is there."""
        ...

    def post(self, output: object) -> Probabilities:
        """Turn what `infer` gave into probabilities."""
        ...


def engine_modules(spec: Spec) -> tuple[str, ...]:
    """Return the modules that it runs with; they are imported first, so that their import is timed apart."""
    if spec.kind == "classifier":
        engine = "litert" if spec.format == "tflite" else "onnx"
        return (f"ecovision_edge.backends.{engine}",)
    return _ENGINES[spec.kind]


def load(spec: Spec) -> Subject:
    """Load a subject; raises as its engine's adapter says.

    Raises:
        MissingDependencyError: its engine is not installed.
        ModelError: the engine cannot open the model.
    """
    subject: Subject = importlib.import_module(KINDS[spec.kind]).load(spec)
    return subject
