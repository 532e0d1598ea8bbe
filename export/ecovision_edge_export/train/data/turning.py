"""What came of a training, on the photographs that validate: upright and turned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ecovision_edge.photographs.images import read_image_bytes
from ecovision_edge.photographs.labelled import LabelledImage, spread
from ecovision_edge.photographs.turns import MOST_TURNED, TurnReport, measure_turns
from ecovision_edge_export.photographs.decoding import decode_rgb
from ecovision_edge_export.train.data.batches import normalized
from ecovision_edge_export.train.data.pictures import Picture, Pictures, squash

__all__ = ["measure_training"]


def measure_training(
    model: torch.nn.Module,
    weights: Mapping[str, Tensor],
    val: Pictures,
    size: tuple[int, int],
    normalization: tuple[Sequence[float], Sequence[float]],
    progressed: Callable[[], None],
) -> TurnReport | None:
    """Measure accuracy at four turns, with letterbox bars and without, in fp32 on the CPU.

    Args:
        model: A network that the weights fit; left with them, in eval mode.
        weights: torchvision's state dict.
        val: Photographs; those whose file is gone by now are an ImageReadError.
        size: Height and width that the network takes.
        normalization: Mean and standard deviation, R, G, B.
        progressed: Called after each photograph.
    """
    model.to("cpu").load_state_dict({**weights})
    model.eval()
    shape, to_input = squash(*size), normalized(*normalization)

    def predict(views: Sequence[Picture]) -> list[int]:
        from PIL import Image

        squashed = [shape(Image.fromarray(np.ascontiguousarray(view[..., ::-1]))) for view in views]
        with torch.inference_mode():
            answers: list[int] = model(to_input(torch.from_numpy(np.stack(squashed)))).argmax(1).tolist()
        return answers

    def read(image: LabelledImage) -> tuple[Picture, int]:
        rgb = np.asarray(decode_rgb(read_image_bytes(image.path), str(image.path)))
        progressed()
        return np.ascontiguousarray(rgb[..., ::-1]), image.label

    return measure_turns(predict, map(read, spread(val.images, MOST_TURNED)))
