"""What a board takes: its processor, and the Python and the glibc of its usual system.

Sources: PEP 600 for the tags of platforms; the systems' own packages for Python and glibc.
"""

from __future__ import annotations

from dataclasses import dataclass

from ecovision_edge.base.names import hinted, quoted
from ecovision_edge.errors import OptionError

__all__ = ["BOARDS", "PYTHONS", "Board", "Target"]

PYTHONS = {
    "3.10": (35, "Ubuntu 22.04, JetPack 6"),
    "3.11": (36, "Debian 12, Raspberry Pi OS bookworm"),
    "3.12": (39, "Ubuntu 24.04"),
    "3.13": (41, "Debian 13, Raspberry Pi OS trixie"),
    "3.14": (41, "newer than Debian 13"),
}
"""By version of Python: the minor version of the oldest glibc 2 of a system that has it, and that system."""

_OLDEST_GLIBC = 17
"""manylinux2014, the oldest that anything needed here is built for."""


@dataclass(frozen=True, slots=True)
class Target:
    """What wheels have to fit.

    Args:
        machine: `aarch64` or `x86_64`, as `platform.machine()` has it.
        python: Version of Python, such as `3.13`; one of `PYTHONS`.
    """

    machine: str
    python: str

    def __post_init__(self) -> None:
        if self.python not in PYTHONS:
            raise OptionError("--python", expected=", ".join(PYTHONS), found=quoted(self.python))

    @property
    def system(self) -> str:
        """The system that has this Python."""
        return PYTHONS[self.python][1]

    def pip_options(self) -> list[str]:
        """Return the options by which pip takes wheels for it alone, whatever runs pip."""
        newest = PYTHONS[self.python][0]
        platforms = [f"manylinux_2_{minor}_{self.machine}" for minor in range(newest, _OLDEST_GLIBC - 1, -1)]
        platforms.append(f"manylinux2014_{self.machine}")
        abis = ("cp" + self.python.replace(".", ""), "abi3", "none")
        return [
            *("--only-binary=:all:", "--python-version", self.python, "--implementation", "cp"),
            *(option for name in platforms for option in ("--platform", name)),
            *(option for name in abis for option in ("--abi", name)),
        ]


@dataclass(frozen=True, slots=True)
class Board:
    """A board, and its usual system.

    Args:
        name: As `--board` has it.
        title: For people.
        machine: As `platform.machine()` has it there.
        python: Of its usual system today.
    """

    name: str
    title: str
    machine: str
    python: str

    def target(self, python: str | None = None) -> Target:
        """Return what its wheels have to fit.

        Args:
            python: Version of its Python; None for that of its usual system.

        Raises:
            OptionError: a Python that this project does not run on.
        """
        return Target(self.machine, python or self.python)

    @staticmethod
    def named(name: str) -> Board:
        """Return the board of that name.

        Raises:
            OptionError: none of `BOARDS`.
        """
        if name not in BOARDS:
            raise OptionError("--board", expected=", ".join(BOARDS), found=hinted([name], list(BOARDS)))
        return BOARDS[name]


BOARDS = {
    board.name: board
    for board in (
        Board("pi5", "Raspberry Pi 5", "aarch64", "3.13"),
        Board("pi4", "Raspberry Pi 4", "aarch64", "3.13"),
        Board("pi3", "Raspberry Pi 3 or Zero 2 W", "aarch64", "3.13"),
        Board("orin", "Jetson Orin", "aarch64", "3.10"),
        Board("x86", "x86-64 gateway", "x86_64", "3.13"),
    )
}
"""By name."""
