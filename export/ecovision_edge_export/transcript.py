"""Stages and their transcript: what ran, what it found, and where it stopped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.errors import EcovisionError, StageError

__all__ = ["Reporter", "Transcript"]


class Reporter:
    """Sees an export as it goes, and shows nothing: override what is to be shown."""

    def started(self, stage: str) -> None:
        """A stage begins."""

    def progressed(self, stage: str, done: int, total: int) -> None:
        """It has done `done` of `total`."""

    def finished(self, stage: str, figure: str) -> None:
        """It is done; `figure` says what it found."""

    def failed(self, stage: str) -> None:
        """It failed; an error follows."""

    def shown(self, rows: Sequence[Sequence[str]], plot: Sequence[str]) -> None:
        """A table, a head and rows, and the lines of its plot."""

    def warned(self, message: str) -> None:
        """Something the user has to know."""


class Transcript:
    """Runs stages one after the other, and remembers them."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._done: list[tuple[str, str]] = []
        self._warnings: list[str] = []
        self._figure = ""

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Run the block as the stage `name`.

        Raises:
            StageError: the block raised something that is no error of ours; the message says which stage it
                was, and what ran before it. Our own errors go through as they are.
        """
        self._figure = ""
        self._reporter.started(name)
        try:
            yield
        except EcovisionError:
            self._reporter.failed(name)
            raise
        except (KeyboardInterrupt, SystemExit):
            self._reporter.failed(name)
            raise
        except Exception as e:
            self._reporter.failed(name)
            before = ", ".join(n for n, _ in self._done) or "nothing"
            reason = f"{type(e).__name__}: {str(e).strip() or 'no message'}"
            raise StageError(f"stage {name} failed (before it: {before})", found=reason[:500]) from e
        self._done.append((name, self._figure))
        self._reporter.finished(name, self._figure)

    def figure(self, text: str) -> None:
        """What the running stage found."""
        self._figure = text

    def progress(self, stage: str, done: int, total: int) -> None:
        """Pass progress on."""
        self._reporter.progressed(stage, done, total)

    def show(self, rows: Sequence[Sequence[str]], plot: Sequence[str]) -> None:
        """Show a table, a head and rows, and the lines of its plot."""
        self._reporter.shown(rows, plot)

    def warn(self, message: str) -> None:
        """Tell the user, and remember."""
        self._warnings.append(message)
        self._reporter.warned(message)

    def to_json(self) -> dict[str, JsonValue]:
        """Return all stages with what they found, and all warnings."""
        stages: list[JsonValue] = [{"stage": name, "found": figure} for name, figure in self._done]
        return {"stages": stages, "warnings": list(self._warnings)}
