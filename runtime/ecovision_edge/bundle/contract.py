"""The contract: everything a runtime has to know about a model, enforced instead of told.

It stands in a bundle's `bundle.json` and, whole, in each model file's own metadata under the key
`METADATA_KEY`, so that a lone `model.int8.onnx` copied to a device still works.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, cast, get_args

from ecovision_edge.base.fields import Fields, JsonValue, canonical_json, parse_json
from ecovision_edge.base.names import quoted
from ecovision_edge.base.records import dataclass
from ecovision_edge.bundle.views import ViewPlan
from ecovision_edge.errors import ContractError

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "METADATA_KEY",
    "SCHEMA_VERSION",
    "ColorOrder",
    "Contract",
    "Dtype",
    "Filter",
    "InputSpec",
    "Layout",
    "Normalization",
    "OutputKind",
    "OutputSpec",
    "ResizeMode",
    "ResizeSpec",
    "WeightsSource",
    "check_labels",
]

SCHEMA_VERSION = 2
"""Newest version of the contract that is understood; a runtime refuses a higher one.

Version 2 has `any_orientation` and `views`. A contract that says neither is written as version 1, as ever,
and older runtimes take it.
"""

METADATA_KEY = "ecovision_edge.contract"
"""Key of the contract's JSON in a model file's metadata."""

# torchvision's ImageNet statistics, RGB, for pixels scaled to [0, 1]
# (https://pytorch.org/vision/stable/models.html).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

MAX_SIDE = 4096  # pixels; keeps a hostile contract from asking for gigabytes
MAX_CLASSES = 1000

Layout = Literal["NHWC", "NCHW"]
Dtype = Literal["uint8", "float32"]
ColorOrder = Literal["BGR", "RGB"]
ResizeMode = Literal["squash", "shortest"]
Filter = Literal["pil", "fast"]
OutputKind = Literal["logits", "probabilities"]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """The network's input tensor, batch first.

    Two forms exist: `NHWC uint8 BGR` (OpenCV's own pixels; normalization is in the graph) and
    `NCHW float32 RGB` (the classic one; the runtime normalizes).
    """

    name: str = "frame"
    layout: Layout = "NHWC"
    dtype: Dtype = "uint8"
    color: ColorOrder = "BGR"
    height: int = 224
    width: int = 224

    def __post_init__(self) -> None:
        form = (self.layout, self.dtype, self.color)
        if form not in {("NHWC", "uint8", "BGR"), ("NCHW", "float32", "RGB")}:
            raise ContractError(
                "contract.input", expected="NHWC uint8 BGR or NCHW float32 RGB", found=" ".join(form)
            )
        for side in (self.height, self.width):
            if not 1 <= side <= MAX_SIDE:
                raise ContractError("contract.input", expected=f"a side from 1 to {MAX_SIDE}", found=side)

    def shape(self, batch: int) -> tuple[int, int, int, int]:
        """Return the shape of the input tensor for `batch` frames."""
        if self.layout == "NHWC":
            return (batch, self.height, self.width, 3)
        return (batch, 3, self.height, self.width)


@dataclass(frozen=True, slots=True)
class ResizeSpec:
    """How a frame of any size becomes the network's size, always bilinear.

    `mode="squash"` stretches the whole frame to the input size. `mode="shortest"` scales the shorter edge
    to `shortest` pixels and cuts the centre, as torchvision's `Resize(shortest)` and `CenterCrop`.

    `filter="pil"` is the antialiased resize of PIL and torchvision, to one level in 255;
    `filter="fast"` comes close to it with OpenCV calls alone, at a fraction of its cost on large frames.
    """

    mode: ResizeMode = "squash"
    shortest: int | None = None
    filter: Filter = "pil"

    def __post_init__(self) -> None:
        if self.mode not in get_args(ResizeMode) or self.filter not in get_args(Filter):
            raise ContractError(
                "contract.resize",
                expected="mode squash or shortest, filter pil or fast",
                found=f"mode {self.mode}, filter {self.filter}",
            )
        if (self.mode == "shortest") != (self.shortest is not None):
            raise ContractError(
                "contract.resize",
                expected="`shortest` with mode shortest, and only with it",
                found=f"mode {self.mode}, shortest {self.shortest}",
            )
        if self.shortest is not None and not 1 <= self.shortest <= MAX_SIDE:
            raise ContractError(
                "contract.resize.shortest", expected=f"1 to {MAX_SIDE} pixels", found=self.shortest
            )


@dataclass(frozen=True, slots=True)
class Normalization:
    """`(pixel / 255 - mean) / std` for each channel, in RGB order; `in_graph` when the model does it."""

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    in_graph: bool = True

    def __post_init__(self) -> None:
        if len(self.mean) != 3 or not all(math.isfinite(v) and -100 <= v <= 100 for v in self.mean):
            raise ContractError(
                "contract.normalization.mean", expected="3 numbers from -100 to 100", found=self.mean
            )
        if len(self.std) != 3 or not all(math.isfinite(v) and 1e-6 <= v <= 1000 for v in self.std):
            raise ContractError(
                "contract.normalization.std", expected="3 numbers from 1e-6 to 1000", found=self.std
            )


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """The network's output, `(batch, classes)` float32."""

    name: str = "logits"
    kind: OutputKind = "logits"

    def __post_init__(self) -> None:
        if self.kind not in get_args(OutputKind):
            raise ContractError("contract.output.kind", expected="logits or probabilities", found=self.kind)


@dataclass(frozen=True, slots=True)
class WeightsSource:
    """Where the weights came from: `source` as the user named it, without folders; sha256 of the file."""

    architecture: str
    source: str
    sha256: str
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class Contract:
    """Everything a runtime has to know about a model.

    `labels` are in the order of the output. `temperature` divides the logits before softmax (1: not
    calibrated). `thresholds` are the least probabilities, one per class, below which a decision is no
    decision; None where none were fitted. `any_orientation`: whether it was trained on things that lie in any
    orientation. `views` are those that the frames of one item are looked at in, and what they are worth
    together; None: each is looked at as it is.
    """

    labels: tuple[str, ...]
    weights: WeightsSource
    input: InputSpec = InputSpec()
    resize: ResizeSpec = ResizeSpec()
    normalization: Normalization = Normalization()
    output: OutputSpec = OutputSpec()
    temperature: float = 1.0
    thresholds: tuple[float, ...] | None = None
    any_orientation: bool = False
    views: ViewPlan | None = None

    def __post_init__(self) -> None:
        check_labels(self.labels, "contract.labels")
        if self.normalization.in_graph != (self.input.dtype == "uint8"):
            raise ContractError(
                "contract.normalization.in_graph",
                expected="true with a uint8 input, false with a float32 one",
                found=f"{self.normalization.in_graph} with {self.input.dtype}",
            )
        shortest = self.resize.shortest
        if shortest is not None and shortest < max(self.input.height, self.input.width):
            raise ContractError(
                "contract.resize.shortest",
                expected=f"at least the input size {self.input.height}x{self.input.width}",
                found=shortest,
            )
        if not (math.isfinite(self.temperature) and 1e-3 <= self.temperature <= 1e3):
            raise ContractError("contract.temperature", expected="0.001 to 1000", found=self.temperature)
        if self.thresholds is not None and (
            len(self.thresholds) != len(self.labels) or not all(0 <= t <= 1 for t in self.thresholds)
        ):
            raise ContractError(
                "contract.thresholds",
                expected=f"{len(self.labels)} numbers from 0 to 1, one per label",
                found=f"{len(self.thresholds)} numbers",
            )
        combined = None if self.views is None else self.views.thresholds
        if combined is not None and len(combined) != len(self.labels):
            raise ContractError(
                "contract.views.thresholds",
                expected=f"{len(self.labels)} numbers from 0 to 1, one per label",
                found=f"{len(combined)} numbers",
            )

    def to_json(self) -> dict[str, JsonValue]:
        """Return the contract as JSON values, `schema_version` first."""
        fields = cast(
            "dict[str, JsonValue]", _plain(dataclasses.asdict(dataclasses.replace(self, views=None)))
        )
        del fields["any_orientation"], fields["views"]
        if not self.any_orientation and self.views is None:
            return {"schema_version": 1, **fields}
        fields["any_orientation"] = self.any_orientation
        fields["views"] = None if self.views is None else self.views.to_json()
        return {"schema_version": 2, **fields}

    def dumps(self) -> str:
        """Return the contract as JSON text, the same for the same contract."""
        return canonical_json(self.to_json()).decode()

    @classmethod
    def loads(cls, text: str) -> Contract:
        """Read what `dumps` wrote.

        Raises:
            ContractError: malformed.
            SchemaVersionError: written by a newer ecovision-edge.
        """
        return cls.from_fields(parse_json(text.encode("utf-8", "surrogatepass"), "contract"))

    @classmethod
    def from_fields(cls, f: Fields) -> Contract:
        """Read and validate a contract; raises as `loads` does."""
        newer = f.schema_version(SCHEMA_VERSION) >= 2
        labels = tuple(_text_item(v, f.at("labels")) for v in f.items("labels", most=MAX_CLASSES))
        w, i, r, n, o = (f.sub(k) for k in ("weights", "input", "resize", "normalization", "output"))
        thresholds = f.numbers("thresholds", len(labels), 0, 1) if f.has("thresholds") else None
        contract = cls(
            labels=labels,
            weights=WeightsSource(
                architecture=w.text("architecture"),
                source=w.text("source"),
                sha256=w.text("sha256", pattern="[0-9a-f]{64}", what="64 hexadecimal digits"),
                revision=w.text_or_none("revision"),
            ),
            input=InputSpec(
                name=i.text("name"),
                layout=cast("Layout", i.choice("layout", get_args(Layout))),
                dtype=cast("Dtype", i.choice("dtype", get_args(Dtype))),
                color=cast("ColorOrder", i.choice("color", get_args(ColorOrder))),
                height=i.integer("height", 1, MAX_SIDE),
                width=i.integer("width", 1, MAX_SIDE),
            ),
            resize=ResizeSpec(
                mode=cast("ResizeMode", r.choice("mode", get_args(ResizeMode))),
                shortest=r.integer("shortest", 1, MAX_SIDE) if r.has("shortest") else None,
                filter=cast("Filter", r.choice("filter", get_args(Filter))),
            ),
            normalization=Normalization(
                mean=cast("tuple[float, float, float]", n.numbers("mean", 3, -100, 100)),
                std=cast("tuple[float, float, float]", n.numbers("std", 3, 1e-6, 1000)),
                in_graph=n.flag("in_graph"),
            ),
            output=OutputSpec(
                name=o.text("name"), kind=cast("OutputKind", o.choice("kind", get_args(OutputKind)))
            ),
            temperature=f.number("temperature", 1e-3, 1e3),
            thresholds=thresholds,
            any_orientation=newer and f.flag("any_orientation"),
            views=ViewPlan.from_fields(f.sub("views"), len(labels)) if newer and f.has("views") else None,
        )
        for part in (w, i, r, n, o, f):
            part.done()
        return contract


def check_labels(labels: tuple[str, ...], where: str) -> None:
    """Refuse labels that are too few, too many, empty, unprintable or not unique.

    Raises:
        ContractError: says which.
    """
    if not 2 <= len(labels) <= MAX_CLASSES:
        raise ContractError(where, expected=f"2 to {MAX_CLASSES} labels", found=len(labels))
    for label in labels:
        if not 0 < len(label) <= 200 or not label.isprintable() or label != label.strip():
            raise ContractError(
                where,
                expected="1 to 200 printable characters, no leading or trailing spaces",
                found=quoted(label),
            )
    if len(set(labels)) != len(labels):
        twice = sorted({label for label in labels if labels.count(label) > 1})
        raise ContractError(where, expected="each label once", found=f"twice: {', '.join(twice[:5])}")


def _text_item(value: JsonValue, where: str) -> str:
    if not isinstance(value, str):
        raise ContractError(where, expected="a list of texts", found=f"a {type(value).__name__} in it")
    return value


def _plain(value: object) -> JsonValue:
    """Turn dataclass values into JSON values: tuples become lists."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    assert value is None or isinstance(value, (str, int, float, bool))
    return value
