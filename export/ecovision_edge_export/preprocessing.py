"""What `ecovision-edge train` writes beside the weights, for those who export them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from ecovision_edge._fields import Fields, JsonValue, canonical_json
from ecovision_edge.contract import IMAGENET_MEAN, IMAGENET_STD
from ecovision_edge.errors import CheckpointError, ContractError
from ecovision_edge_export.harmless import plain

__all__ = ["Preprocessing", "find_in_arguments", "find_preprocessing", "find_training"]

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
        """As `find_preprocessing` reads it."""
        return {
            "size": list(self.size),
            "resize": self.resize,
            "mean": list(self.mean),
            "std": list(self.std),
        }


def find_preprocessing(metadata: Mapping[object, object], name: str) -> Preprocessing | None:
    """The `preprocessing` of a checkpoint's metadata, None where there is none.

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
        raise CheckpointError(e.message, fix="train again, or write the metadata anew") from e
    return prepared


def find_in_arguments(around: Sequence[Mapping[object, object]]) -> Preprocessing | None:
    """How torchvision's reference script says that it evaluated, in the `args` that it saves; None elsewhere.

    Its `val_resize_size` is the shorter edge, its `val_crop_size` the centre crop; mean and standard
    deviation are always ImageNet's. Only its bilinear filter is the runtime's.

    Args:
        around: The dicts around the weights.
    """
    for holder in around:
        arguments = plain(holder.get("args"))
        if not isinstance(arguments, Mapping) or arguments.get("interpolation", "bilinear") != "bilinear":
            continue
        crop, edge = plain(arguments.get("val_crop_size")), plain(arguments.get("val_resize_size"))
        if isinstance(crop, int) and isinstance(edge, int) and 1 < crop <= edge <= MAX_SIDE:
            return Preprocessing(size=(crop, crop), resize=f"shortest:{edge}")
    return None


def find_training(metadata: Mapping[object, object]) -> Mapping[str, JsonValue] | None:
    """The `training` of a checkpoint's metadata: facts as the file says them; None where it says none."""
    found = metadata.get("training")
    if not isinstance(found, dict) or not found:
        return None
    try:
        canonical_json(found)
    except (ValueError, RecursionError):  # NaN, a lone surrogate: nothing that may stand in a manifest
        return None
    return found
