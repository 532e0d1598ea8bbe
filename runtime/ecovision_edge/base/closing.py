"""What is closed at the end of its `with`, and then hides no error of the body."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import TypeVar

__all__ = ["ClosedAtEnd"]

_Closed = TypeVar("_Closed", bound="ClosedAtEnd")


class ClosedAtEnd(ABC):
    """A context manager whose `close` may raise what went wrong meanwhile."""

    def __enter__(self: _Closed) -> _Closed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except BaseException:
            if error is None:
                raise  # else that one says more

    @abstractmethod
    def close(self) -> None:
        """Stop, and wait for the end. Idempotent."""
