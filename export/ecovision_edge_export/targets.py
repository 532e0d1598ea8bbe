"""What an int8 model is made for: the kind of CPU, whose costs decide which recipe is fastest (`costs`).

| target | int8 kernels of onnxruntime |
|---|---|
| `x86-vnni` | sums exact |
| `x86` | AVX2 alone: sums of two products are clipped to 16 bits; SSE4.1 and AVX: exact |
| `arm64` | sums exact, without dot products (Cortex-A72) |
| `arm64-dotprod` | sums exact, dot products (Cortex-A76); fastest with signed activations (`signed`) |
| `arm64-fp16` | the same CPUs; int8 for LiteRT is made to be run with its fp32 layers in fp16 |

Every model is guarded against clipping (`headroom`), so one for any of the first three serves all four. One
for `arm64-dotprod` or `arm64-fp16` is right everywhere, and slow on x86, whose kernels want uint8
activations. No CPU is taken for `arm64-fp16` by itself: its models win where `tune`, or the user, chooses
fp16.
"""

from __future__ import annotations

from ecovision_edge.base.device import Cpu, read_cpu
from ecovision_edge.bundle.targets import TARGETS, Target, is_arm, target_of

__all__ = [
    "AUTO",
    "TARGETS",
    "Target",
    "assumed_target",
    "computes_in_fp16",
    "resolve_targets",
    "signed_activations",
    "target_of",
]

AUTO = "auto"

_KNOWN: dict[str, Target] = {target: target for target in TARGETS}


def resolve_targets(text: str) -> tuple[Target, ...]:
    """Return the targets of those names, with commas between; `auto` is this machine's.

    Args:
        text: As `ExportOptions` has checked it.

    Returns:
        Each once, in the order named.
    """
    named = {name.strip(): None for name in text.split(",")}
    known = [target_of(read_cpu()) if name == AUTO else _KNOWN[name] for name in named]
    return tuple(dict.fromkeys(known))


def assumed_target(name: str, cpu: Cpu) -> str | None:
    """Say what `auto` took where that is hardly the device, and how to name it; None where it may be."""
    if name != AUTO or is_arm(cpu):
        return None
    return (
        f"int8 is made for {target_of(cpu)}, which this machine is; for a device name it: --target arm64 "
        "(Raspberry Pi 3, 4, Zero 2 W) or --target arm64-dotprod (Pi 5, Jetson Orin)"
    )


def signed_activations(target: Target) -> bool:
    """Return whether int8 activations are faster there than uint8."""
    return target in ("arm64-dotprod", "arm64-fp16")


def computes_in_fp16(target: Target) -> bool:
    """Return whether LiteRT is to compute there in fp16 what a model has in fp32."""
    return target == "arm64-fp16"
