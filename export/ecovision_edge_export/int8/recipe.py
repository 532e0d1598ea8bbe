"""How an int8 model is made: all that the search chooses."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, cast, get_args

from ecovision_edge.base.fields import Fields, JsonValue
from ecovision_edge_export.targets import Target, signed_activations

__all__ = ["RANGE_METHODS", "RangeMethod", "Recipe"]

RangeMethod = Literal["mse", "minmax", "percentile", "entropy"]
RANGE_METHODS: tuple[RangeMethod, ...] = get_args(RangeMethod)

MOST_BLOCKS = 100


@dataclass(frozen=True, slots=True)
class Recipe:
    """An int8 recipe.

    Args:
        fp32_blocks: How many leading blocks stay fp32, the stem (block 0) not counted; -1 keeps not even it.
        fp32_also: Further blocks that do, by number; 1000 is the classifier.
        ranges: How activations' ranges are found, see `histograms`.
        equalized: Whether channels are brought to one width, see `rewrites.equalization`.
        per_channel: Whether weights have one scale per channel, or one per tensor.
        bias_corrected: Whether biases make up for the mean error of rounded weights, see `bias`.
        headroom: Whether rows of weights whose sums could be clipped have a larger scale, see `headroom`.
        signed: Whether activations are int8, not uint8, see `signed`.
    """

    fp32_blocks: int = 1
    fp32_also: tuple[int, ...] = ()
    ranges: RangeMethod = "mse"
    equalized: bool = True
    per_channel: bool = True
    bias_corrected: bool = True
    headroom: bool = True
    signed: bool = False

    def for_target(self, target: Target) -> Recipe:
        """Return the recipe with the integers that the target's kernels want."""
        return dataclasses.replace(self, signed=signed_activations(target))

    def keeps(self, block: int) -> bool:
        """Return whether that block stays fp32."""
        return block <= self.fp32_blocks or block in self.fp32_also

    @property
    def fp32_text(self) -> str:
        """The blocks that stay fp32, as `0-1` or `0-1, 4`."""
        leading = f"0-{self.fp32_blocks}" if self.fp32_blocks > 0 else "0" if self.fp32_blocks == 0 else ""
        also = ["classifier" if b == 1000 else str(b) for b in self.fp32_also if b > self.fp32_blocks]
        return ", ".join([leading, *also] if leading else also) or "none"

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {
            "fp32_blocks": self.fp32_blocks,
            "fp32_also": [*self.fp32_also],
            "ranges": self.ranges,
            "equalized": self.equalized,
            "per_channel": self.per_channel,
            "bias_corrected": self.bias_corrected,
            "headroom": self.headroom,
            "signed": self.signed,
        }

    @classmethod
    def from_fields(cls, f: Fields) -> Recipe:
        """Read what `to_json` wrote.

        Raises:
            ContractError: malformed.
        """
        recipe = cls(
            fp32_blocks=f.integer("fp32_blocks", -1, MOST_BLOCKS),
            fp32_also=tuple(
                _whole(f, b)
                for b in f.numbers("fp32_also", len(f.items("fp32_also", most=MOST_BLOCKS)), 0, 1000)
            ),
            ranges=cast("RangeMethod", f.choice("ranges", RANGE_METHODS)),
            equalized=f.flag("equalized"),
            per_channel=f.flag("per_channel"),
            bias_corrected=f.flag("bias_corrected"),
            headroom=f.flag("headroom"),
            signed=f.flag("signed"),
        )
        f.done()
        return recipe


def _whole(f: Fields, number: float) -> int:
    if number != int(number):
        raise f.wrong("fp32_also", "a list of whole numbers")
    return int(number)
