"""The other side of parity: PyTorch eager, with torchvision's own preprocessing of PIL images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ecovision_edge.bundle.contract import Contract
from ecovision_edge.photographs.images import read_image_bytes
from ecovision_edge_export.photographs.decoding import decode_rgb
from ecovision_edge_export.weights.checkpoint import Checkpoint, build_model

if TYPE_CHECKING:
    import torch
    from PIL import Image

__all__ = ["TorchBaseline", "pixel_transform"]


def pixel_transform(contract: Contract) -> Callable[[Image.Image], torch.Tensor]:
    """Torchvision's resize and crop of a PIL image, as the contract says: `(3, height, width)` uint8 RGB."""
    from torchvision import transforms

    size = (contract.input.height, contract.input.width)
    if contract.resize.shortest is None:
        geometry = [transforms.Resize(size, antialias=True)]
    else:
        geometry = [
            transforms.Resize(contract.resize.shortest, antialias=True),
            transforms.CenterCrop(size),
        ]
    transform = transforms.Compose([*geometry, transforms.PILToTensor()])

    def pixels(image: Image.Image) -> torch.Tensor:
        result: torch.Tensor = transform(image)
        return result.contiguous()  # as ToTensor's: another memory format has other sums

    return pixels


class TorchBaseline:
    """The checkpoint as its author would evaluate it: PIL, torchvision transforms, fp32, eval mode, CPU.

    Images are turned upright by their EXIF orientation, as the runtime's `read_image` does.
    """

    def __init__(self, checkpoint: Checkpoint, contract: Contract) -> None:
        from torchvision import transforms

        self._model = build_model(checkpoint)
        self.remembered: dict[tuple[str, ...], npt.NDArray[np.float32]] = {}
        """Logits of cases by their names, for those who ask again about the same photographs."""
        self._contract = contract
        normalization = contract.normalization
        self._pixels = pixel_transform(contract)
        self._normalize = transforms.Normalize(normalization.mean, normalization.std)

    @property
    def model(self) -> torch.nn.Module:
        """The network, `(n, 3, height, width)` fp32 to `(n, classes)` logits, in eval mode."""
        return self._model

    def prepare_file(self, path: Path) -> torch.Tensor:
        """Return the network input for an image file, `(3, height, width)` float32.

        Raises:
            ImageReadError: not a file that can be read, or not an image that PIL can decode.
        """
        return self._prepare(decode_rgb(read_image_bytes(path), str(path)))

    def prepare_frame(self, frame: npt.NDArray[np.uint8]) -> torch.Tensor:
        """Return the network input for a frame, `(height, width, 3) uint8 BGR`."""
        from PIL import Image

        return self._prepare(Image.fromarray(np.ascontiguousarray(frame[..., ::-1])))

    def from_network_input(self, batch: npt.NDArray[np.uint8 | np.float32]) -> torch.Tensor:
        """Give what the exported graph computes on, `(n, 3, height, width)` float32, from its input."""
        import torch

        if self._contract.input.dtype == "float32":
            return torch.from_numpy(batch)
        rgb = np.ascontiguousarray(batch[..., ::-1].transpose(0, 3, 1, 2))
        pixels = torch.from_numpy(rgb).to(torch.float32) / 255
        mean = torch.tensor(self._contract.normalization.mean).view(1, 3, 1, 1)
        std = torch.tensor(self._contract.normalization.std).view(1, 3, 1, 1)
        return (pixels - mean) / std

    def logits(self, batch: torch.Tensor) -> npt.NDArray[np.float32]:
        """Return logits `(n, classes)` of `(n, 3, height, width)`."""
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the same sums on machines with another number of cores
        try:
            with torch.inference_mode():
                output: npt.NDArray[np.float32] = self._model(batch).numpy()
        finally:
            torch.set_num_threads(threads)
        return output

    def _prepare(self, image: Image.Image) -> torch.Tensor:
        import torch

        # As torchvision's ToTensor scales.
        prepared: torch.Tensor = self._normalize(self._pixels(image).to(torch.float32).div(255))
        return prepared
