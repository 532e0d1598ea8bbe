"""The MobileNetV3-Large of the library timm: the same network as torchvision's under other names.

Facts, read from timm 1.0: `mobilenetv3_large_100` has the names and shapes below, and a BatchNorm epsilon
of 1e-5. `tf_mobilenetv3_large_100` has the same names and shapes, but pads as TensorFlow does, which this
network cannot; so the checkpoint or its file name has to say which of them it is. All others have other
shapes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ecovision_edge.errors import CheckpointError
from ecovision_edge_export.weights.layout import BODY, FIRST, LAST, layout

if TYPE_CHECKING:
    import torch

__all__ = ["STEM", "check_variant", "timm_keys", "timm_state"]

STEM = "conv_stem.weight"
"""A key that tells timm's names from torchvision's."""

_NAME = "mobilenetv3_large_100"
_THEIRS, _OURS = 1e-5, 1e-3  # epsilon of timm's and of torchvision's BatchNorm
_DEPTHS = (1, 2, 3, 4, 2, 3)  # blocks of each of timm's stages
_NAMED = re.compile(r"(?:tf_)?mobilenetv3_(?:large_(?:minimal_)?\d+|rw)(?![a-z\d])")


@functools.cache
def timm_keys() -> Mapping[str, str]:
    """Torchvision's keys with timm's names for them."""
    return {key: _timm_key(key) for key in layout(2)}


def check_variant(said: Iterable[str], name: str) -> None:
    """Refuse weights with timm's names that are not said to be those of `mobilenetv3_large_100`.

    Args:
        said: What the checkpoint says of its architecture, then its file's name.
        name: Of the file, for messages.

    Raises:
        CheckpointError: nothing says which they are, or it is another.
    """
    named = [match[0] for text in said for match in [_NAMED.search(text.lower())] if match]
    if not named:
        path = ascii(name.rpartition("/")[2])
        raise CheckpointError(
            f"{name} holds a MobileNetV3 of timm, and does not say which",
            expected=f"`arch` beside the weights, or a file name with timm's name in it: of {_NAME} and "
            f"tf_{_NAME} only the first pads as torchvision's network",
            fix=f"if it is the first: import torch; torch.save({{'arch': '{_NAME}', "
            f"'state_dict': torch.load({path})}}, 'named.pth')",
        )
    if named[0] != _NAME:
        raise CheckpointError(
            f"{name} holds timm's {named[0]}",
            expected=f"weights of torchvision's mobilenet_v3_large, or of timm's {_NAME}",
            found="a network that pads as TensorFlow does"
            if named[0].startswith("tf_")
            else "another network",
            fix="train one of those, as with `ecovision-edge train`",
        )


def timm_state(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights under torchvision's names, scaled to its BatchNorm epsilon: the same function.

    A BatchNorm computes `(x - mean) / sqrt(var + epsilon) * weight + bias`, so another epsilon is a factor of
    `weight`.

    Args:
        state: Under timm's names, whole but for counters.
    """
    import torch

    renamed = {ours: state[theirs] for ours, theirs in timm_keys().items() if theirs in state}
    renamed[f"{FIRST}.weight"] = renamed[f"{FIRST}.weight"].flatten(1)  # a convolution of one pixel
    for key in [k for k in renamed if k.endswith(".running_var")]:
        weight, variance = key.replace("running_var", "weight"), renamed[key].double()
        factor = torch.sqrt((variance + _OURS) / (variance + _THEIRS))
        renamed[weight] = (renamed[weight].double() * factor).float()
    return renamed


def _timm_key(key: str) -> str:
    """Timm's name for a key of torchvision's."""
    for ours, theirs in ((FIRST, "conv_head"), (LAST, "classifier")):
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    number, _, rest = key.removeprefix(BODY).partition(".")
    if number == "0":
        return {"0": "conv_stem", "1": "bn1"}[rest[0]] + rest[1:]
    if number == "16":
        return "blocks.6.0." + {"0": "conv", "1": "bn1"}[rest[0]] + rest[1:]
    stage, block = _place(int(number))
    _, layer, inner, *tail = rest.split(".")  # block.LAYER.INNER.PARAMETER
    parameter = ".".join(tail)
    if inner in {"fc1", "fc2"}:
        squeeze = {"fc1": "se.conv_reduce", "fc2": "se.conv_expand"}[inner]
        return f"blocks.{stage}.{block}.{squeeze}.{parameter}"
    names = ("conv_dw", "conv_pw") if number == "1" else ("conv_pw", "conv_dw", "conv_pwl", "conv_pwl")
    position = int(layer)
    norm = min(position, len(set(names)) - 1) + 1
    part = names[position] if inner == "0" else f"bn{norm}"
    return f"blocks.{stage}.{block}.{part}.{parameter}"


def _place(number: int) -> tuple[int, int]:
    """Stage and block, from 0, of torchvision's `features.NUMBER`, 1 to 15."""
    block = number - 1
    for stage, depth in enumerate(_DEPTHS):
        if block < depth:
            return stage, block
        block -= depth
    raise AssertionError(number)
