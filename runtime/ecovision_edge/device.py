"""What machine this is, as far as the trust in a result depends on it."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["KERNEL_FEATURES", "Cpu", "read_cpu"]

KERNEL_FEATURES = frozenset(
    {"avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimd", "asimddp", "i8mm", "sve"}
)
"""Features, as /proc/cpuinfo names them, by which engines choose kernels; each may add in another order."""

_X86 = frozenset({"x86_64", "amd64", "i686", "i386"})


@dataclass(frozen=True, slots=True)
class Cpu:
    """A processor: `arch` as the kernel names it, its model, and the features that int8 kernels look for."""

    arch: str
    model: str
    features: frozenset[str]

    @property
    def u8s8_saturates(self) -> bool | None:
        """Whether int8 kernels on this CPU can clip sums of u8 x s8 products; None where it cannot be told.

        x86 without VNNI multiplies by `vpmaddubsw`, whose pairs of products are clipped to 16 bits
        (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html, "When and why do I
        need to try U8U8"). With VNNI, and on Arm, sums are exact.
        """
        if self.arch.lower() not in _X86:
            return False
        if not self.features:
            return None
        return not self.features & {"avx512_vnni", "avx_vnni"}


def read_cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> Cpu:
    """Read this machine's CPU; what cannot be read stays empty."""
    try:
        text = cpuinfo.read_text(errors="replace")
    except OSError:
        text = ""
    model = _field(text, "model name|Model|Hardware") or platform.processor() or "unknown"
    features = _field(text, "flags|Features") or ""
    return Cpu(platform.machine(), model, frozenset(features.split()))


def _field(text: str, names: str) -> str | None:
    match = re.search(rf"^(?:{names})\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else None
