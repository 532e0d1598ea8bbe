"""Compile the shared library: `python compile.py FILE`.

`CC` names the compiler (default: cc), a cross compiler too: `CC=aarch64-linux-gnu-gcc`. GCC 11 or newer (10
does for AArch64); `CFLAGS` come last. Prints what the library is for, as the compiler calls it:
`x86_64-linux-gnu`.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().with_name("src") / "resize.c"
FLAGS = (
    *("-std=gnu11", "-O3", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra"),
    *("-Wl,-z,noexecstack", "-Wl,-z,relro", "-Wl,-z,now", "-s"),
)


def compile_library(out: Path) -> str:
    """Compile `out`; return the machine that it is for.

    Raises:
        FileNotFoundError: no such compiler.
        CalledProcessError: it failed, and said why.
    """
    compiler = shlex.split(os.environ.get("CC", "cc"))
    flags = shlex.split(os.environ.get("CFLAGS", ""))
    subprocess.run([*compiler, *FLAGS, *flags, "-o", str(out), str(SOURCE)], check=True)
    told = subprocess.run([*compiler, "-dumpmachine"], check=True, stdout=subprocess.PIPE, text=True)
    return told.stdout.strip()


if __name__ == "__main__":
    sys.stdout.write(compile_library(Path(sys.argv[1])) + "\n")
