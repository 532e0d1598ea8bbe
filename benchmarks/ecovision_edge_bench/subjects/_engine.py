"""What the subjects of other engines share: their errors become ours, facts are read from their files."""

from __future__ import annotations

import contextlib
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.probability import softmax
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.errors import EcovisionError, InferenceError, ModelError
from ecovision_edge_bench.subjects import Facts, Frame, Probabilities

__all__ = ["EngineSubject", "first_line", "hash_files", "opening"]


class EngineSubject(ABC):
    """A network in one engine. An adapter says how to run it, and with what a frame is prepared."""

    def __init__(self, facts: Facts, contract: Contract, prepare: Callable[[Frame], Any]) -> None:
        self._facts = facts
        self._contract = contract
        self._prepare = prepare

    @property
    def facts(self) -> Facts:
        """What it runs."""
        return self._facts

    def prepare(self, frame: Frame) -> object:
        """Frame to network input."""
        return self._prepare(frame)

    def infer(self, prepared: object) -> npt.NDArray[np.generic]:
        """Run the network on one prepared input; returns its output as a numpy array.

        Raises:
            InferenceError: the engine failed.
        """
        try:
            return self._run(prepared)
        except EcovisionError:
            raise
        except Exception as e:  # the engines' errors share no base class
            raise InferenceError(f"{self._facts.engine} failed to run the model", found=first_line(e)) from e

    def post(self, output: object) -> Probabilities:
        """Softmax of the logits, after the contract's temperature.

        Raises:
            InferenceError: the output is not finite or of another shape.
        """
        logits = np.asarray(output)
        classes = len(self._contract.labels)
        if logits.size != classes or not np.isfinite(logits).all():
            raise InferenceError(
                f"wrong output of {self._facts.engine}",
                expected=f"{classes} finite numbers",
                found=f"{logits.shape}, {int(np.isfinite(logits).sum())} finite",
            )
        return softmax(logits.reshape(classes), self._contract.temperature)

    @abstractmethod
    def _run(self, prepared: object) -> npt.NDArray[np.generic]:
        """Run the engine; may raise what the engine raises."""


@contextlib.contextmanager
def opening(engine: str, source: str) -> Iterator[None]:
    """Whatever an engine raises while it opens a model is a ModelError."""
    try:
        yield
    except EcovisionError:
        raise
    except Exception as e:  # the engines' errors share no base class
        raise ModelError(f"{engine} cannot open {Path(source).name}", found=first_line(e)) from e


def hash_files(paths: Sequence[Path]) -> tuple[str, int]:
    """sha256 over the bytes of the files in the order of their names, and how many bytes they are.

    Raises:
        ModelError: one cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    for path in sorted(paths, key=lambda p: p.name):
        try:
            data = path.read_bytes()
        except OSError as e:
            raise ModelError(f"cannot read {path.name}", found=reason_of(e)) from e
        digest.update(data)
        size += len(data)
    return digest.hexdigest(), size


def first_line(error: BaseException) -> str:
    """Return the first line of what it says that says something, at most 300 characters; else its type.

    A line that ends in a colon only announces the next one, which then belongs to it.
    """
    lines = [line.strip() for line in str(error).splitlines() if any(map(str.isalnum, line))]
    if not lines:
        return type(error).__name__
    return (" ".join(lines[:2]) if lines[0].endswith(":") else lines[0])[:300]
