"""The board, its system, its Python and its memory."""

from __future__ import annotations

import platform
import re
import struct
from collections.abc import Iterator

from ecovision_edge.base.device import Machine, read_machine
from ecovision_edge.base.kernel_files import read_text
from ecovision_edge.doctor.check import Check, fail, ok, warn
from ecovision_edge.doctor.system import System
from ecovision_edge.wheels.boards import BOARDS, PYTHONS

__all__ = ["check_all", "check_board", "check_memory", "check_python", "check_system"]

RUN_MEMORY = 150e6
"""Bytes that `run` with the reference needs at most: its maximum resident set on x86."""
LOW_MEMORY, NO_MEMORY = 200e6, 64e6
"""Bytes: with less than the first little is left beside `run`; with less than the second the kernel ends
programs."""

_MB = 1e6


def check_board(machine: Machine, pointer_bits: int = struct.calcsize("P") * 8) -> Check:
    """Look at the board's processor; only 64-bit ones have an engine."""
    name, arch = machine.board or machine.cpu.model, machine.cpu.arch.lower()
    cores = f"{machine.cores} core{'s' * (machine.cores != 1)}"
    if machine.usable_cores != machine.cores:
        cores += f", {machine.usable_cores} of them usable here"
    found = f"{name}, {arch}, {cores}"
    known = {board.machine for board in BOARDS.values()} | {"amd64", "arm64"}
    if arch not in known or pointer_bits != 64:
        bits = "" if pointer_bits == 64 else f", a {pointer_bits}-bit Python"
        fix = "install the 64-bit system (Raspberry Pi OS 64-bit): the engines have no other wheels"
        return fail("board", f"{found}{bits}", fix)
    return ok("board", found)


def check_system(machine: Machine, libc: tuple[str, str] | None = None) -> Check:
    """Look at the system: the wheels are for Linux with glibc.

    Args:
        machine: What machine it is.
        libc: Name and version of the C library; None asks for this one's.
    """
    name, version = platform.libc_ver() if libc is None else libc
    found = f"{machine.os}, kernel {machine.kernel}" + (f", {name} {version}" if name else "")
    if platform.system() != "Linux":
        return warn("system", found, "use Linux: cameras, pins and services are tried there alone")
    if name != "glibc":
        return warn(
            "system",
            f"{found}, no glibc",
            "use a system with glibc (Debian, Raspberry Pi OS, Ubuntu): onnxruntime has no wheels for others",
        )
    return ok("system", found)


def check_python(machine: Machine) -> Check:
    """Look at the version of Python."""
    version = ".".join(machine.python.split(".")[:2])
    if version not in PYTHONS:
        return warn(
            "python",
            f"{machine.python}, which nobody has tried",
            f"if a library has no wheel for it, use Python {', '.join(PYTHONS)}",
        )
    return ok("python", machine.python)


def check_memory(system: System) -> Check:
    """Look at memory that programs can still have."""
    told = read_text(system.at("proc/meminfo")) or ""
    kilobytes = {name: int(n) for name, n in re.findall(r"^(\w+):\s*(\d+) kB$", told, re.MULTILINE)}
    total, free = kilobytes.get("MemTotal"), kilobytes.get("MemAvailable")  # proc_meminfo(5)
    if total is None or free is None:
        return warn("memory", "the kernel does not tell it", "look at it by hand: free -m")
    swap = kilobytes.get("SwapFree", 0) * 1024
    and_swap = f", {swap / _MB:,.0f} MB of swap free" if kilobytes.get("SwapTotal") else ", no swap"
    total, free = total * 1024, free * 1024
    found = f"{free / _MB:,.0f} of {total / _MB:,.0f} MB available{and_swap}"
    advice = f"end other programs, or take a board with more: `run` needs up to {RUN_MEMORY / _MB:.0f} MB"
    if free + swap < NO_MEMORY:
        return fail("memory", found, advice)
    return warn("memory", found, advice) if free < LOW_MEMORY else ok("memory", found)


def check_all(system: System) -> Iterator[Check]:
    """Look at all of it."""
    machine = read_machine(system.root)
    yield check_board(machine)
    yield check_system(machine)
    yield check_python(machine)
    yield check_memory(system)
