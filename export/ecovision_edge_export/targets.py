"""What an int8 model is made for: the kind of CPU, whose costs decide which recipe is fastest (`costs`).

| target | int8 kernels of onnxruntime |
|---|---|
| `x86-vnni` | sums exact |
| `x86` | AVX2 alone: sums of two products are clipped to 16 bits; SSE4.1 and AVX: exact |
| `arm64` | sums exact, without dot products (Cortex-A72) |
| `arm64-dotprod` | sums exact, dot products (Cortex-A76); fastest with signed activations (`signed`) |

Every model is guarded against clipping (`headroom`), so one for any of the first three serves all four. One
for `arm64-dotprod` is right everywhere, and slow on x86, whose kernels want uint8 activations.
"""

from __future__ import annotations

from typing import Literal, get_args

from ecovision_edge.base.device import VNNI, Cpu

__all__ = ["TARGETS", "Target", "signed_activations", "target_of"]

Target = Literal["x86-vnni", "x86", "arm64", "arm64-dotprod"]
TARGETS: tuple[Target, ...] = get_args(Target)


def target_of(cpu: Cpu) -> Target:
    """Return the target that a CPU is; where it cannot be told `x86`, whose models serve every CPU."""
    if cpu.arch.lower() in ("aarch64", "arm64"):
        return "arm64-dotprod" if "asimddp" in cpu.features else "arm64"
    return "x86-vnni" if cpu.features & VNNI else "x86"


def signed_activations(target: Target) -> bool:
    """Return whether int8 activations are faster there than uint8."""
    return target == "arm64-dotprod"
