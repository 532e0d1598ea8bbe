"""Who sees a training as it goes."""

from __future__ import annotations

from typing import Protocol

from ecovision_edge_export.train.core.terms import SilentWatcher, Watcher

__all__ = ["Reporter", "SilentReporter"]


class Reporter(Watcher, Protocol):
    """Sees all of a training."""

    def counting(self, what: str, total: int) -> None:
        """Something that takes long begins, in so many steps."""

    def counted(self, done: int) -> None:
        """Count `done` more of them as done."""

    def noted(self, message: str) -> None:
        """A fact worth a line."""

    def warned(self, message: str) -> None:
        """Something the user has to know."""


class SilentReporter(SilentWatcher):
    """Shows nothing."""

    def counting(self, what: str, total: int) -> None:
        """Nothing."""

    def counted(self, done: int) -> None:
        """Nothing."""

    def noted(self, message: str) -> None:
        """Nothing."""

    def warned(self, message: str) -> None:
        """Nothing."""
