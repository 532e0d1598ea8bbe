"""What `ecovision-edge train` writes beside the weights, for those who export them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from ecovision_edge.base.fields import Fields, JsonValue, canonical_json
from ecovision_edge.bundle.contract import IMAGENET_MEAN, IMAGENET_STD
from ecovision_edge.errors import CheckpointError, ContractError
from ecovision_edge_export.weights.harmless import plain

__all__ = ["FIELDS", "Preprocessing", "find_beside", "find_preprocessing", "find_training"]

FIELDS = frozenset({"size", "resize", "mean", "std"})
"""What a checkpoint may say of how photographs were prepared."""

_HOLDERS = ("args", "hyper_parameters", "hparams", "config", "cfg", "meta", "preprocessing", "transform")
_SIZES = ("img_size", "image_size", "input_size", "imgsz", "val_crop_size", "crop_size")
_EDGES = ("val_resize_size", "resize_size")
_MEANS = ("mean", "img_mean", "image_mean", "norm_mean")
_STDS = ("std", "img_std", "image_std", "norm_std")
_OF_BYTES = 3  # a standard deviation above this is of pixels in 0 to 255

MAX_SIDE = 4096  # pixels, as in a contract


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How photographs were prepared for a training.

    Args:
        size: Height and width of the network's input, pixels.
        resize: `squash`, or `shortest:N`, as `export --resize` takes it.
        mean: Of the channels R, G, B, for pixels in [0, 1].
        std: Likewise.
    """

    size: tuple[int, int] = (224, 224)
    resize: str = "squash"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def to_json(self) -> dict[str, JsonValue]:
        """Return the form that `find_preprocessing` reads."""
        return {
            "size": list(self.size),
            "resize": self.resize,
            "mean": list(self.mean),
            "std": list(self.std),
        }


def find_preprocessing(metadata: Mapping[object, object], name: str) -> Preprocessing | None:
    """Return the `preprocessing` of a checkpoint's metadata, None where there is none.

    Args:
        metadata: JSON values by their names.
        name: Of the checkpoint, for the message.

    Raises:
        CheckpointError: there is one, and it is malformed.
    """
    found = metadata.get("preprocessing")
    if found is None:
        return None
    try:
        f = Fields.of(cast("JsonValue", found), f"{name}: preprocessing")
        height, width = f.numbers("size", 2, 1, MAX_SIDE)
        prepared = Preprocessing(
            size=(int(height), int(width)),
            resize=f.text("resize", pattern="squash|shortest:[1-9][0-9]{0,3}", what="squash or shortest:N"),
            mean=cast("tuple[float, float, float]", f.numbers("mean", 3, -100, 100)),
            std=cast("tuple[float, float, float]", f.numbers("std", 3, 1e-6, 1000)),
        )
        f.done()
    except ContractError as e:
        raise CheckpointError(e.message, fix="train again, or write the metadata again") from e
    return prepared


def find_beside(around: Sequence[Mapping[object, object]]) -> tuple[Preprocessing | None, frozenset[str]]:
    """Read what the dicts around the weights, and their arguments, say; and the `FIELDS` that they leave out.

    Numbers under the usual names (`img_size`, `mean`, `std`, ...) are taken; mean and std of pixels in 0 to
    255 are scaled to those in 0 to 1. torchvision's reference script says with `val_resize_size` and
    `val_crop_size` that it evaluated with ImageNet's mean and std, which are fixed in it.

    Args:
        around: The dicts around the weights.

    Returns:
        None where nothing is said. A field that is not said has its default.
    """
    holders = [*around]
    for holder in around:
        inner = [plain(holder.get(key)) for key in _HOLDERS]
        holders += [value for value in inner if isinstance(value, Mapping)]
    size, edge = _size(holders), _edge(holders)
    normalization = _normalization(holders)
    said: dict[str, object] = {}
    if size is not None:
        said["size"] = size
    if edge is not None and size is not None and max(size) <= edge <= MAX_SIDE:
        said["resize"] = f"shortest:{edge}"
    reference_script = {"size", "resize"} <= said.keys() and any("val_resize_size" in h for h in holders)
    if normalization is not None or reference_script:
        said["mean"], said["std"] = normalization or (IMAGENET_MEAN, IMAGENET_STD)
    if not said:
        return None, FIELDS
    default = Preprocessing()
    return (
        Preprocessing(
            size=size or default.size,
            resize=str(said.get("resize", default.resize)),
            mean=cast("tuple[float, float, float]", said.get("mean", default.mean)),
            std=cast("tuple[float, float, float]", said.get("std", default.std)),
        ),
        FIELDS - said.keys(),
    )


def _first(holders: Sequence[Mapping[object, object]], keys: Sequence[str]) -> list[float] | None:
    """Return the numbers under the first of the keys that has any."""
    for holder in holders:
        for key in keys:
            value = plain(holder.get(key))
            items = [plain(item) for item in value] if isinstance(value, (list, tuple)) else [value]
            if items and all(isinstance(i, (int, float)) and not isinstance(i, bool) for i in items):
                return [float(cast("float", item)) for item in items]
    return None


def _size(holders: Sequence[Mapping[object, object]]) -> tuple[int, int] | None:
    """Return a side, height and width, or channels before these."""
    found = _first(holders, _SIZES)
    sides = found[1:] if found is not None and len(found) == 3 and found[0] == 3 else found
    if sides is None or len(sides) > 2 or not all(s.is_integer() and 1 < s <= MAX_SIDE for s in sides):
        return None
    return int(sides[0]), int(sides[-1])


def _edge(holders: Sequence[Mapping[object, object]]) -> int | None:
    """Return the shorter edge that the runtime's bilinear resize stands for; None for other filters."""
    found = _first(holders, _EDGES)
    filters = {h["interpolation"] for h in holders if isinstance(h.get("interpolation"), str)}
    return int(found[0]) if found is not None and len(found) == 1 and filters <= {"bilinear"} else None


def _normalization(
    holders: Sequence[Mapping[object, object]],
) -> tuple[tuple[float, float, float], tuple[float, float, float]] | None:
    mean, std = _first(holders, _MEANS), _first(holders, _STDS)
    if mean is None or std is None or len(mean) != 3 or len(std) != 3 or not all(0 < v <= 255 for v in std):
        return None
    scale = 255 if max(std) > _OF_BYTES else 1
    r, g, b = (value / scale for value in mean)
    sr, sg, sb = (value / scale for value in std)
    return ((r, g, b), (sr, sg, sb)) if all(-1 <= value <= 1 for value in (r, g, b)) else None


def find_training(metadata: Mapping[object, object]) -> Mapping[str, JsonValue] | None:
    """Read the `training` of a checkpoint's metadata: facts as they are; None where there are none."""
    found = metadata.get("training")
    if not isinstance(found, dict) or not found:
        return None
    try:
        canonical_json(found)
    except (ValueError, RecursionError):  # NaN, a lone surrogate: nothing that may stand in a manifest
        return None
    return found
