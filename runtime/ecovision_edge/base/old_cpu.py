"""Says in one line that this x86 is too old for the libraries as pip installs them.

Their wheels ask for x86-64-v2 (SSE4.2, POPCNT, CMPXCHG16B), and end the process without a word where it is
missing. A system's own builds may run all the same, so they are tried, in a process of their own; a CPU that
has it all, every one since about 2009, pays for a look at its flags.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from pathlib import Path

from ecovision_edge.errors import MissingDependencyError

__all__ = ["refuse_old_x86"]

X86_64_V2 = frozenset({"cx16", "lahf_lm", "pni", "popcnt", "sse4_1", "sse4_2", "ssse3"})
"""Its features, as /proc/cpuinfo names them (x86-64 psABI, "Micro-Architecture Levels")."""

_CPUINFO = Path("/proc/cpuinfo")
_ENOUGH = 8192  # bytes: the first core's part is some 1,500
_LIMIT_S = 60.0


def refuse_old_x86(cpuinfo: Path = _CPUINFO, *, runs: Callable[[], bool] | None = None) -> None:
    """Refuse an x86 below x86-64-v2 on which numpy and OpenCV do not run; nothing is imported here.

    Args:
        cpuinfo: What the kernel says of the CPU.
        runs: Whether the libraries can be imported; None tries it in a process of its own.

    Raises:
        MissingDependencyError: what the CPU lacks, and what to do.
    """
    if platform.machine() not in ("x86_64", "AMD64") or "numpy" in sys.modules:
        return
    try:
        with cpuinfo.open("rb") as stream:
            text = stream.read(_ENOUGH).decode("ascii", "replace")
    except OSError:
        return
    lines = text.partition("\n\n")[0].splitlines()  # the first core's
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    missing = X86_64_V2 - {*fields.get("flags", "").split()}
    if "flags" not in fields or not missing or (runs or _libraries_run)():
        return
    raise MissingDependencyError(
        "numpy and OpenCV as installed do not run on this CPU",
        expected="x86-64-v2, as the wheels on PyPI ask for",
        found=f"{fields.get('model name', 'an x86')} without {', '.join(sorted(missing))}",
        fix="use the system's own builds (Debian: python3-numpy, python3-opencv), or a CPU of 2009 or newer",
    )


def _libraries_run() -> bool:
    import subprocess  # here, since every start would pay for it

    try:
        done = subprocess.run(
            [sys.executable, "-c", "import numpy, cv2"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return True  # nothing was found
    return done.returncode == 0
