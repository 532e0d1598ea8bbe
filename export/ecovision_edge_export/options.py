"""What the user asks of an export, checked before any work is done."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ecovision_edge.base.names import quoted, short
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.bundle.contract import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Contract,
    Filter,
    InputSpec,
    Normalization,
    ResizeSpec,
    check_labels,
)
from ecovision_edge.bundle.identity import VERSION_WORDS, is_version
from ecovision_edge.errors import ContractError, OptionError
from ecovision_edge_export.card.facts import known_facts
from ecovision_edge_export.targets import AUTO, TARGETS
from ecovision_edge_export.weights.checkpoint import Checkpoint
from ecovision_edge_export.weights.preprocessing import Preprocessing

__all__ = [
    "ExportOptions",
    "InputForm",
    "check_resize",
    "check_size",
    "make_contract",
    "overruled",
    "parse_resize",
    "parse_size",
    "parse_sizes",
    "parse_triple",
    "read_labels",
]

InputForm = Literal["uint8-nhwc", "float32-nchw"]
PRECISIONS = ("fp32", "int8")
FORMATS = ("onnx", "tflite")
MIN_SIDE, MAX_SIDE = 32, 1024  # pixels; the network halves five times
MOST_SIZES = 16
MAX_LOSS = 0.5  # percentage points of accuracy, of a size that is chosen
MAX_LABELS_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """All of an export's settings; see `ecovision-edge export --help` for their meaning.

    Args:
        weights: As `load_checkpoint` takes it.
        labels: In the order of the output; None takes the checkpoint's own.
        mean: Of the channels R, G, B, for pixels in [0, 1]; None takes the checkpoint's own, or ImageNet's.
        std: Likewise.
        resize: `squash`, or `shortest:N` for the shorter edge to N pixels and a centre crop; None takes the
            checkpoint's own, or `squash`.
        size: Height and width of the network input in pixels, 32 to 1024; None takes the checkpoint's own,
            or 224.
        sizes: Sides in pixels, 32 to 1024, to measure accuracy and cost at; empty measures none.
        auto_size: Whether the cheapest of the sizes is taken, in place of `size`.
        max_loss: Percentage points of accuracy that it may lose against the largest; None is 0.5.
        keep_sizes: Whether the other sizes are kept in the bundle too, for a device to choose among.
        filter: The runtime's resize filter that the contract names.
        input_form: `uint8-nhwc` (BGR, normalization in the graph), or the classic `float32-nchw` (RGB).
        num_classes: Classes that the checkpoint must have, 2 to 1000; None takes what is there.
        precisions: Some of `fp32`, `int8`.
        formats: Some of `onnx`, `tflite`.
        calib: Folder of photographs that set the int8 ranges.
        calib_size: How many of them, at least 1.
        val: Folder of photographs for parity, one folder per class or flat.
        agree: Least top-1 agreement of int8 with PyTorch, per cent.
        max_drop: Most that int8 accuracy may drop, points of per cent.
        expect_accuracy: Least accuracy on `val`, per cent, of PyTorch and of each artifact; None judges none.
        target: CPUs that int8 is made for, see `targets`, with commas between; `auto` is this machine's.
        fp32_blocks: Blocks that stay fp32 in int8, so many after the stem, 0 to 16; -1 leaves not even
            the stem, None finds the number.
        seed: Seed of the choice of calibration photographs.
        allow_parity_failure: Write the bundle even if parity fails; the manifest says so.
        name: Of the bundle.
        version: Of the bundle; None is the day and a digest of what is in it (`dated_version`).

    Raises:
        OptionError: a value outside its range.
    """

    weights: str
    labels: tuple[str, ...] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    resize: str | None = None
    size: tuple[int, int] | None = None
    sizes: tuple[int, ...] = ()
    auto_size: bool = False
    max_loss: float | None = None
    keep_sizes: bool = False
    filter: Filter = "pil"
    input_form: InputForm = "uint8-nhwc"
    num_classes: int | None = None
    precisions: tuple[str, ...] = PRECISIONS
    formats: tuple[str, ...] = ("onnx",)
    calib: Path | None = None
    calib_size: int = 512
    val: Path | None = None
    map: str | None = None
    agree: float = 98.0
    max_drop: float = 0.5
    expect_accuracy: float | None = None
    target: str = "auto"
    fp32_blocks: int | None = None
    seed: int = 0
    allow_parity_failure: bool = False
    name: str | None = None
    version: str | None = None

    def __post_init__(self) -> None:
        if not self.precisions or any(p not in PRECISIONS for p in self.precisions):
            raise OptionError("--precision", expected="fp32, int8 or both", found=", ".join(self.precisions))
        if not self.formats or any(f not in FORMATS for f in self.formats):
            raise OptionError("--formats", expected="onnx, tflite or both", found=", ".join(self.formats))
        if self.size is not None:
            check_size(self.size)
        self._check_sizes()
        _in_range("--calib-size", self.calib_size, 1, 100_000)
        targets = [name.strip() for name in self.target.split(",")]
        if not set(targets) <= {*TARGETS, AUTO} or len(set(targets)) != len(targets):
            expected = f"{', '.join(TARGETS)} or auto; several, each once, with commas"
            raise OptionError("--target", expected=expected, found=quoted(self.target))
        _in_range("--agree", self.agree, 0, 100)
        _in_range("--max-drop", self.max_drop, 0, 100)
        if self.expect_accuracy is not None:
            _in_range("--expect-accuracy", self.expect_accuracy, 0, 100)
            if self.val is None:
                raise OptionError(
                    "--expect-accuracy", expected="--val, one folder per class", found="no --val"
                )
        if self.fp32_blocks is not None:
            _in_range("--fp32-blocks", self.fp32_blocks, -1, 16)
        if self.resize is not None:
            parse_resize(self.resize, self.filter)
        if self.resize is not None and self.size is not None:
            check_resize(self.resize, self.size)
        if self.name is not None and not (self.name.isprintable() and 0 < len(self.name) <= 200):
            raise OptionError("--name", expected="1 to 200 printable characters", found=quoted(self.name))
        if self.version is not None and not is_version(self.version):
            raise OptionError("--bundle-version", expected=VERSION_WORDS, found=quoted(self.version))
        try:
            Normalization(self.mean or IMAGENET_MEAN, self.std or IMAGENET_STD)
        except ContractError as e:
            raise OptionError(f"--mean, --std: {e.message}") from e

    def _check_sizes(self) -> None:
        """Refuse sizes that cannot be measured, and a choice among them that cannot be made."""
        for side in self.sizes:
            check_size((side, side), "--sizes")
        if self.sizes and not 2 <= len(set(self.sizes)) == len(self.sizes) <= MOST_SIZES:
            raise OptionError(
                "--sizes", expected=f"2 to {MOST_SIZES} different ones", found=short(map(str, self.sizes))
            )
        asked = "--size auto" if self.auto_size else "--sizes"
        if (self.sizes or self.auto_size) and self.val is None:
            raise OptionError(asked, expected="--val, one folder per class, which judges", found="no --val")
        if self.keep_sizes and not self.sizes:
            raise OptionError("--keep-sizes", expected="--sizes, which it keeps", found="no --sizes")
        if self.auto_size and self.size is not None:
            raise OptionError(asked, expected="no other size", found="x".join(map(str, self.size)))
        if self.max_loss is not None:
            _in_range("--max-loss", self.max_loss, 0, 100)
            if not self.auto_size:
                raise OptionError("--max-loss", expected="--size auto, which it is for", found="no such size")

    @property
    def max_loss_of_size(self) -> float | None:
        """Percentage points that a chosen size may lose; None if none is to be chosen."""
        if not self.auto_size:
            return None
        return MAX_LOSS if self.max_loss is None else self.max_loss

    @property
    def int8(self) -> bool:
        """Whether int8 is asked for."""
        return "int8" in self.precisions


def make_contract(options: ExportOptions, checkpoint: Checkpoint) -> Contract:
    """Make the contract of the bundle: what the options say, else the checkpoint, else the default.

    Raises:
        OptionError: the labels are not as many as the checkpoint's classes, or are not known; or a resize
            that leaves less than the size.
        ContractError: mean, std or resize that no contract can hold.
    """
    folded = options.input_form == "uint8-nhwc"
    prepared = checkpoint.preprocessing or Preprocessing()
    size = options.size or prepared.size
    resize = options.resize or prepared.resize
    check_size(size)
    check_resize(resize, size)
    height, width = size
    spec = InputSpec(height=height, width=width)
    if not folded:
        spec = dataclasses.replace(spec, name="input", layout="NCHW", dtype="float32", color="RGB")
    return Contract(
        labels=_labels(options, checkpoint),
        weights=checkpoint.source,
        input=spec,
        resize=parse_resize(resize, options.filter),
        normalization=Normalization(
            options.mean or prepared.mean, options.std or prepared.std, in_graph=folded
        ),
        any_orientation=known_facts(checkpoint.source, checkpoint.training).turns == "any",
    )


def overruled(options: ExportOptions, checkpoint: Checkpoint) -> Iterator[str]:
    """Yield the options that win against what the checkpoint says of its training, a sentence each."""
    prepared = checkpoint.preprocessing
    if prepared is None:
        return
    for option, field, given, trained in (
        ("--imgsz", "size", options.size, prepared.size),
        ("--resize", "resize", options.resize, prepared.resize),
        ("--mean", "mean", options.mean, prepared.mean),
        ("--std", "std", options.std, prepared.std),
    ):
        if given is not None and given != trained and field not in checkpoint.unsaid:
            said = ", ".join(map(str, trained)) if isinstance(trained, tuple) else trained
            yield f"{option} is not what the checkpoint was trained with ({said}): the option wins"


def check_size(size: tuple[int, int], option: str = "--imgsz") -> None:
    """Refuse a size that the network cannot have.

    Raises:
        OptionError: a side outside 32 to 1024 pixels.
    """
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in size):
        found = "x".join(map(str, size))
        raise OptionError(option, expected=f"{MIN_SIDE} to {MAX_SIDE} pixels", found=found)


def check_resize(resize: str, size: tuple[int, int]) -> None:
    """Refuse a shorter edge that leaves less than the size.

    Raises:
        OptionError: that, or no resize.
    """
    shortest = parse_resize(resize, "pil").shortest
    if shortest is not None and shortest < max(size):
        raise OptionError("--resize", expected=f"shortest of at least --imgsz, {max(size)}", found=shortest)


def parse_resize(text: str, resize_filter: Filter) -> ResizeSpec:
    """`squash` or `shortest:N`.

    Raises:
        OptionError: neither.
    """
    mode, colon, edge = text.partition(":")
    if mode == "squash" and not colon:
        return ResizeSpec(filter=resize_filter)
    if mode == "shortest" and edge.isascii() and edge.isdigit() and len(edge) <= 4 and 0 < int(edge) <= 4096:
        return ResizeSpec("shortest", int(edge), resize_filter)
    raise OptionError(
        "--resize", expected="squash or shortest:PIXELS (up to 4096), as shortest:256", found=quoted(text)
    )


def parse_size(text: str) -> tuple[int, int]:
    """`224`, or `HEIGHTxWIDTH` as `192x256`.

    Raises:
        OptionError: neither.
    """
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(p.isascii() and p.isdigit() and len(p) <= 5 for p in parts):
        raise OptionError("--imgsz", expected="PIXELS or HEIGHTxWIDTH, as 224", found=quoted(text))
    return int(parts[0]), int(parts[-1])


def parse_sizes(text: str) -> tuple[int, ...]:
    """Sides in pixels with commas between, as `128,160,192,224`.

    Raises:
        OptionError: something else.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(p.isascii() and p.isdigit() and len(p) <= 5 for p in parts):
        raise OptionError("--sizes", expected="PIXELS with commas, as 128,160,192,224", found=quoted(text))
    return tuple(map(int, parts))


def parse_triple(option: str, text: str) -> tuple[float, float, float]:
    """Three numbers with commas between, for R, G, B.

    Raises:
        OptionError: something else.
    """
    try:
        r, g, b = (float(part) for part in text.split(","))
    except ValueError:
        r = g = b = math.nan
    if not all(map(math.isfinite, (r, g, b))):
        raise OptionError(option, expected="three numbers, as 0.485,0.456,0.406", found=quoted(text))
    return r, g, b


def read_labels(path: Path) -> tuple[str, ...]:
    """Labels from a text file, one per line, in the order of the output; empty lines at the end are nothing.

    Raises:
        OptionError: no such file, or not such labels.
    """
    expected = "a UTF-8 text file, one label per line"
    try:
        if path.stat().st_size > MAX_LABELS_BYTES:
            raise OptionError(f"--labels {path}", expected=f"at most {MAX_LABELS_BYTES} bytes")
        lines = path.read_text("utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as e:
        raise OptionError(f"--labels {path}", expected=expected, found="other bytes") from e
    except (OSError, ValueError) as e:  # ValueError: a NUL in the path
        reason = reason_of(e)
        raise OptionError(f"--labels {path}", expected=expected, found=reason) from e
    labels = tuple(line.strip() for line in lines)
    try:
        check_labels(labels, f"--labels {path.name}")
    except ContractError as e:
        raise OptionError(e.message) from e
    return labels


def _labels(options: ExportOptions, checkpoint: Checkpoint) -> tuple[str, ...]:
    classes = checkpoint.num_classes
    labels = options.labels or checkpoint.labels
    if labels is None or len(labels) != classes:
        raise OptionError(
            "labels",
            expected=f"{classes}, one for each class of {checkpoint.source.source}",
            found="none" if labels is None else f"{len(labels)} ({short(labels)})",
            fix="give --labels FILE, one label per line, in the order the model was trained on "
            "(torchvision's ImageFolder sorts the folders' names: LC_ALL=C ls photos/train > labels.txt)",
        )
    return labels


def _in_range(option: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise OptionError(option, expected=f"{low:g} to {high:g}", found=value)
