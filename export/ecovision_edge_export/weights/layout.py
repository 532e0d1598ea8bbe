"""Torchvision's mobilenet_v3_large: the network without weights, and the keys and shapes of its weights."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ecovision_edge.base.extras import require

if TYPE_CHECKING:
    import torch

__all__ = ["BODY", "COUNTER", "FIRST", "LAST", "layout", "meta_model"]

BODY = "features."
"""Begins the keys of everything before the classifier."""

COUNTER = ".num_batches_tracked"
"""Ends the keys that a converter may drop: nothing is computed with them."""

FIRST, LAST = "classifier.0", "classifier.3"
"""The two linear layers of the classifier, hard-swish and dropout between them."""


def meta_model(num_classes: int) -> torch.nn.Module:
    """Torchvision's mobilenet_v3_large without storage: no time, no memory, no random numbers drawn.

    Raises:
        MissingDependencyError: torch or torchvision is not installed.
    """
    require("torch", "export", "2.7")
    require("torchvision", "export")
    import torch
    import torchvision

    with torch.device("meta"):
        model = torchvision.models.mobilenet_v3_large(weights=None, num_classes=num_classes)
    assert isinstance(model, torch.nn.Module)
    return model


@functools.lru_cache(maxsize=8)
def layout(num_classes: int) -> Mapping[str, torch.Size]:
    """Keys and shapes of the model's state dict, in its order; kept, since building the model is slow."""
    return {key: tensor.shape for key, tensor in meta_model(num_classes).state_dict().items()}
