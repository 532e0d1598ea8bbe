"""The sizes of the network's input that a bundle has: its own, and each other one as a bundle inside it.

`sizes/192` in a bundle's folder is a bundle by itself, of the same network at 192 pixels: with its contract,
models, golden vectors and card. The manifest of the outer one names it by the sha256 of its manifest.
"""

from __future__ import annotations

from collections.abc import Sequence

from ecovision_edge.base.fields import Fields, JsonValue
from ecovision_edge.base.records import dataclass
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.errors import ContractError

__all__ = ["MOST_SIZES", "SIZES_FOLDER", "SizeEntry", "check_sizes"]

SIZES_FOLDER = "sizes"
MOST_SIZES = 16


@dataclass(frozen=True, slots=True)
class SizeEntry:
    """One size of a bundle, with what the export measured of fp32 at each, all on the same photographs.

    Args:
        side: Height and width of the network's input, pixels.
        accuracy: 0 to 1: in the mean of the turns if the model is for any orientation, else upright.
        loss: Percentage points of it that are lost against the largest size that was measured; below 0 for a
            gain.
        cost: Modelled cost of an inference; 1 is that of the largest size.
        sha256: Of the manifest of its bundle; None: the size of the bundle that names it.
    """

    side: int
    accuracy: float
    loss: float
    cost: float
    sha256: str | None = None

    @property
    def folder(self) -> str:
        """Where its bundle is, in the folder of the one that names it: `sizes/192`."""
        return f"{SIZES_FOLDER}/{self.side}"

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {
            "size": self.side,
            "accuracy": self.accuracy,
            "loss": self.loss,
            "cost": self.cost,
            "sha256": self.sha256,
        }

    @classmethod
    def from_fields(cls, f: Fields) -> SizeEntry:
        """Read and validate."""
        entry = cls(
            side=f.integer("size", 1, 2**16),
            accuracy=f.number("accuracy", 0, 1),
            loss=f.number("loss", -100, 100),
            cost=f.number("cost", 0, 1e6),
            sha256=f.text("sha256", pattern="[0-9a-f]{64}", what="64 hexadecimal digits")
            if f.has("sha256")
            else None,
        )
        f.done()
        return entry


def check_sizes(sizes: Sequence[SizeEntry], contract: Contract) -> None:
    """Refuse a size that stands twice, and any but the contract's own without a hash.

    Raises:
        ContractError: that.
    """
    if not sizes:
        return
    sides = [entry.side for entry in sizes]
    own = [entry.side for entry in sizes if entry.sha256 is None]
    if len(set(sides)) != len(sides) or [(s, s) for s in own] != [
        (contract.input.height, contract.input.width)
    ]:
        raise ContractError(
            "bundle.sizes",
            expected=f"each size once, and of them {contract.input.height} alone without a sha256",
            found=", ".join(map(str, sides)),
        )
