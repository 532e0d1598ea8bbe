"""Kinds of CPU that an int8 artifact is made for, and which artifact of a bundle suits the one at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from ecovision_edge.base.device import Cpu
    from ecovision_edge.bundle.manifest import ArtifactEntry

__all__ = ["TARGETS", "Target", "is_arm", "suited", "target_of"]

Target = Literal["x86-vnni", "x86", "arm64", "arm64-dotprod", "arm64-fp16"]
TARGETS: tuple[Target, ...] = get_args(Target)

_INSTEAD: dict[Target, tuple[Target, ...]] = {
    "x86-vnni": ("x86-vnni", "x86", "arm64", "arm64-fp16", "arm64-dotprod"),
    "x86": ("x86", "x86-vnni", "arm64", "arm64-fp16", "arm64-dotprod"),
    "arm64": ("arm64", "x86", "x86-vnni", "arm64-dotprod", "arm64-fp16"),
    "arm64-dotprod": ("arm64-dotprod", "arm64", "x86-vnni", "x86", "arm64-fp16"),
    "arm64-fp16": ("arm64-fp16", "arm64-dotprod", "arm64", "x86-vnni", "x86"),
}
"""For each kind of CPU, whose artifact to take: its own, else the one that costs least there. Signed
activations, of the two last kinds, are slow on x86, and cost 7 % without dot products."""


def target_of(cpu: Cpu) -> Target:
    """Return the target that a CPU is; where it cannot be told `x86`, whose models serve every CPU."""
    from ecovision_edge.base.device import VNNI  # here, and below: most bundles serve every CPU by one file

    if is_arm(cpu):
        return "arm64-dotprod" if "asimddp" in cpu.features else "arm64"
    return "x86-vnni" if cpu.features & VNNI else "x86"


def is_arm(cpu: Cpu) -> bool:
    """Return whether it is a 64-bit Arm."""
    return cpu.arch.lower() in ("aarch64", "arm64")


def suited(entries: Sequence[ArtifactEntry], target: Target | None = None) -> ArtifactEntry:
    """Return the artifact made for a target, else the one made for what is nearest to it.

    Args:
        entries: At least one, each with its targets.
        target: Whose; None is the CPU of this machine.
    """
    from ecovision_edge.base.device import read_cpu

    order = _INSTEAD[target or target_of(read_cpu())]
    return min(entries, key=lambda entry: min(order.index(t) for t in entry.targets))
