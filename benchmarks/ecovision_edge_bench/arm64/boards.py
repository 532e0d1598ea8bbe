"""The boards that are emulated, and what their kernel would say of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ecovision_edge.base.names import quoted
from ecovision_edge.errors import OptionError

__all__ = ["BOARDS", "Board", "board_of"]

CORES = 4


@dataclass(frozen=True, slots=True)
class Board:
    """A board with one kind of core.

    Args:
        cpu: QEMU's name of it.
        model: As the device tree names the board.
        short: For the heads of tables.
        part: Primary part number of Arm's MIDR_EL1, `CPU part` of /proc/cpuinfo.
        variant: Major revision, the n of rnpm.
        revision: Minor revision, the m of rnpm.
        features: As 64-bit Raspberry Pi OS lists them.
        code: The board's own revision code.
    """

    cpu: str
    model: str
    short: str
    part: int
    variant: int
    revision: int
    features: str
    code: str

    def cpuinfo(self) -> str:
        """/proc/cpuinfo."""
        cores = [
            f"processor\t: {core}\n"
            "BogoMIPS\t: 108.00\n"
            f"Features\t: {self.features}\n"
            "CPU implementer\t: 0x41\n"  # Arm
            "CPU architecture: 8\n"
            f"CPU variant\t: {self.variant:#x}\n"
            f"CPU part\t: {self.part:#05x}\n"
            f"CPU revision\t: {self.revision}\n\n"
            for core in range(CORES)
        ]
        return "".join(cores) + f"Revision\t: {self.code}\nModel\t\t: {self.model}\n"

    @property
    def midr(self) -> int:
        """MIDR_EL1: Arm's implementer, variant, architecture by features, part, revision."""
        return 0x41 << 24 | self.variant << 20 | 0xF << 16 | self.part << 4 | self.revision

    def write_files(self, folder: Path) -> None:
        """Write what the kernel would say below `folder`, as if that were `/`.

        onnxruntime and XNNPACK choose kernels by it; without, onnxruntime warns and may miss features, and
        OpenVINO ends by a segmentation fault.
        """
        cores = f"0-{CORES - 1}\n"
        midr = "sys/devices/system/cpu/cpu{}/regs/identification/midr_el1"
        for name, text in {
            "proc/cpuinfo": self.cpuinfo(),
            "proc/device-tree/model": f"{self.model}\0",
            "sys/devices/system/cpu/possible": cores,
            "sys/devices/system/cpu/present": cores,
            "sys/devices/system/cpu/online": cores,
            **{midr.format(core): f"{self.midr:#018x}\n" for core in range(CORES)},
        }.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="ascii")


BOARDS = {
    board.cpu: board
    for board in (
        Board(
            cpu="cortex-a53",
            model="Raspberry Pi 3 Model B Plus Rev 1.3",
            short="Pi 3",
            part=0xD03,
            variant=0,
            revision=4,
            features="fp asimd evtstrm crc32 cpuid",
            code="a020d3",
        ),
        Board(
            cpu="cortex-a72",
            model="Raspberry Pi 4 Model B Rev 1.4",
            short="Pi 4",
            part=0xD08,
            variant=0,
            revision=3,
            features="fp asimd evtstrm crc32 cpuid",
            code="c03114",
        ),
        Board(
            cpu="cortex-a76",
            model="Raspberry Pi 5 Model B Rev 1.0",
            short="Pi 5",
            part=0xD0B,
            variant=4,
            revision=1,
            features=(
                "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop "
                "asimddp"
            ),
            code="d04170",
        ),
    )
}
"""By QEMU's name of the CPU."""


def board_of(cpu: str) -> Board:
    """Return the board with that CPU.

    Raises:
        OptionError: none of `BOARDS`.
    """
    if cpu not in BOARDS:
        raise OptionError("--cpu", expected=" or ".join(BOARDS), found=quoted(cpu))
    return BOARDS[cpu]
