"""What is counted of an answer: the network, preparing a frame, or all from the frame to the prediction."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from ecovision_edge.base.names import quoted
from ecovision_edge.bundle.contract import Filter
from ecovision_edge.errors import OptionError
from ecovision_edge.preprocess import MAX_FRAME_SIDE

__all__ = ["NETWORK", "Kind", "Step", "parse_sizes"]

Kind: TypeAlias = Literal["network", "prepare", "whole"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an answer.

    Args:
        kind: `network`: one inference. `prepare`: a frame becomes the network's input. `whole`: a frame
            becomes a prediction, as `Classifier.classify` does it.
        width: Of the frame, in pixels; 0 for the network, which has its own input.
        height: Likewise.
        jpeg: The frame arrives as JPEG: decoding it is counted too.
        filter: In place of the contract's; None: the contract's.
        fp16: LiteRT computes in fp16 what the model computes in fp32.
        native: A wheel of ecovision-edge-native for AArch64, which resizes; None: numpy does.
    """

    kind: Kind
    width: int = 0
    height: int = 0
    jpeg: bool = False
    filter: Filter | None = None
    fp16: bool = False
    native: Path | None = None

    @property
    def name(self) -> str:
        """Its name in the table (`prepare 640x480 JPEG`, `fp16`); empty for the network as it is."""
        words = ["fp16" if self.fp16 else ""]
        if self.kind != "network":
            words += [self.kind, f"{self.width}x{self.height}"]
            words += ["JPEG" if self.jpeg else "", self.filter or "", "native" if self.native else ""]
        return " ".join(word for word in words if word)

    def arguments(self) -> list[str]:
        """Return the guest's words for it."""
        half = ["--fp16"] if self.fp16 else []
        if self.kind == "network":
            return half
        words = [*half, "--step", self.kind, "--width", str(self.width), "--height", str(self.height)]
        words += ["--jpeg"] if self.jpeg else []
        return words + (["--filter", self.filter] if self.filter else [])


NETWORK = Step("network")
"""One inference."""


def parse_sizes(option: str, text: str) -> tuple[tuple[int, int], ...]:
    """Read `640x480,1920x1080`: width and height of each frame.

    Raises:
        OptionError: something else.
    """
    sizes = [re.fullmatch(r"(\d{1,5})x(\d{1,5})", part) for part in text.split(",")]
    found = [(int(size[1]), int(size[2])) for size in sizes if size]
    if len(found) != len(sizes) or not all(1 <= side <= MAX_FRAME_SIDE for pair in found for side in pair):
        raise OptionError(option, expected="WIDTHxHEIGHT with commas, as 640x480", found=quoted(text))
    return tuple(dict.fromkeys(found))
