"""The systems that an emulated root is made of."""

from __future__ import annotations

from dataclasses import dataclass

from ecovision_edge.wheels.boards import Target

__all__ = ["SYSTEMS", "System"]


@dataclass(frozen=True, slots=True)
class System:
    """A release of Debian, which a Raspberry Pi OS of the same name is made of.

    Args:
        suite: Debian's name of it.
        title: For people.
        python: Version of its Python.
    """

    suite: str
    title: str
    python: str

    @property
    def libraries(self) -> str:
        """Where in the root pip installs."""
        return f"usr/local/lib/python{self.python}/dist-packages"

    @property
    def target(self) -> Target:
        """What wheels have to fit."""
        return Target("aarch64", self.python)


SYSTEMS = {
    system.suite: system
    for system in (System("bookworm", "Debian 12", "3.11"), System("trixie", "Debian 13", "3.13"))
}
"""By Debian's name; the first is the default."""
