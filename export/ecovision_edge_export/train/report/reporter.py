"""Who sees a training as it goes."""

from __future__ import annotations

from ecovision_edge_export.train.core.terms import Watcher

__all__ = ["Reporter"]


class Reporter(Watcher):
    """Sees all of a training, and shows nothing: override what is to be shown."""

    def counting(self, what: str, total: int) -> None:
        """Something that takes long begins, in so many steps."""

    def counted(self, done: int) -> None:
        """Count `done` more of them as done."""

    def noted(self, message: str) -> None:
        """A fact worth a line."""

    def warned(self, message: str) -> None:
        """Something the user has to know."""
