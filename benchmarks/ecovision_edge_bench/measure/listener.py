"""Who hears how a run goes. It imports nothing, so that a command line may have it before a run."""

from __future__ import annotations

__all__ = ["Listener"]


class Listener:
    """Hears how a run goes, and tells nobody: override what is to be shown."""

    def phase(self, name: str) -> None:
        """A phase begins."""

    def progress(self, share: float) -> None:
        """Tell the share that is done, 0 to 1."""

    def note(self, message: str) -> None:
        """Something the user has to know at once."""
