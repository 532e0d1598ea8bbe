"""Whether there is memory for a second model beside the one that runs."""

from __future__ import annotations

from pathlib import Path

from ecovision_edge.base.kernel_files import read_text
from ecovision_edge.bundle.folder import Bundle

__all__ = ["ENGINE_BYTES", "PER_BYTE", "shortage"]

PER_BYTE, ENGINE_BYTES = 3, 32_000_000
"""What is to be free: that many bytes for each of a model's file, and so many besides.

With room: the reference's int8 model of 4.7 MB takes 17 MB beside the first one in onnxruntime 1.32 on
x86-64, its first answer included.
"""


def shortage(folder: Path, artifact: str | None = None, *, root: Path = Path("/")) -> str | None:
    """Say in a few words that there is no memory for a bundle's model; None if there is, or is not known.

    Args:
        folder: Of the bundle.
        artifact: Name of the artifact that is likely loaded; of a bundle without it the largest one counts.
        root: Of the system, for tests.

    Raises:
        EcovisionError: as `Bundle.open`.
    """
    sizes = {a.name: a.file.bytes for a in Bundle.open(folder).manifest.artifacts}
    available = _available(root)
    needed = PER_BYTE * sizes.get(artifact or "", max(sizes.values())) + ENGINE_BYTES
    if available is None or available >= needed:
        return None
    return f"{available / 1e6:.0f} MB are free, and a second model takes {needed / 1e6:.0f} MB"


def _available(root: Path) -> int | None:
    """Return the bytes that may be had without swapping, by proc_meminfo(5); None if unknown."""
    for line in (read_text(root / "proc/meminfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable" and value.split()[:1] and value.split()[0].isdigit():
            return int(value.split()[0]) * 1024
    return None
