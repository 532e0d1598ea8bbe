"""Which instructions were executed, by name."""

from __future__ import annotations

import collections
import re
import struct
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ecovision_edge_bench.arm64.tools import EmulationError

__all__ = ["instruction_name", "named_mix"]


def named_mix(words: Mapping[int, int]) -> collections.Counter[str]:
    """Return how often each instruction was executed, by the name that `instruction_name` gives it.

    Args:
        words: How often, by 32-bit instruction word.

    Raises:
        EmulationError: binutils cannot disassemble.
    """
    order = list(words)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "words"
        file.write_bytes(struct.pack(f"<{len(order)}I", *order))
        command = [
            "aarch64-linux-gnu-objdump",
            "--disassemble-all",
            "--disassemble-zeroes",
            "--no-show-raw-insn",
        ]
        command += ["--target=binary", "--architecture=aarch64", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    # "   4:<tab>add<tab>x0, x1, x2"; no other line begins so.
    lines = re.findall(r"^ *[0-9a-f]+:\t(.*)$", done.stdout, re.MULTILINE)
    if done.returncode != 0 or len(lines) != len(order):
        raise EmulationError("objdump failed", expected=f"{len(order)} lines", found=f"{len(lines)} lines")
    mix: collections.Counter[str] = collections.Counter()
    for word, line in zip(order, lines, strict=True):
        mix[instruction_name(line)] += words[word]
    return mix


def instruction_name(line: str) -> str:
    """Mnemonic, and of vector instructions the form of the first operand (`fmla.4s`, `ldr.q`).

    Args:
        line: As objdump writes it: mnemonic, tab, operands.
    """
    mnemonic, _, operands = line.partition("\t")
    vector = re.match(r"\{?v\d+\.(\d*[bhsd])|([qdsh])\d+\b", operands)
    return f"{mnemonic.strip()}.{vector[1] or vector[2]}" if vector else mnemonic.strip()
