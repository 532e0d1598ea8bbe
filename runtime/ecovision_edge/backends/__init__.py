"""The engines that run a network, behind one Protocol.

An engine gets the model's bytes (already hashed by whoever read them) and gives logits. It knows nothing of
frames, labels or probabilities.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.names import quoted
from ecovision_edge.base.records import dataclass
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.bundle.manifest import Format
from ecovision_edge.errors import OptionError

__all__ = ["Backend", "BackendOptions", "default_threads"]

MAX_THREADS = 256


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """How an engine runs.

    Args:
        threads: Threads for one inference, 1 to 256; None is `default_threads()`.
        providers: onnxruntime execution providers in order of preference, each one that is installed; None
            is the CPU. One whose libraries cannot be loaded is left out with a warning in the log
            `ecovision_edge` if the CPU is named too, else it is an error. `cuda` is short for
            `CUDAExecutionProvider`.
        provider_options: Options of the providers, name and value, as onnxruntime documents them
            (`trt_fp16_enable`, `1`); whose each is, `base.providers.choose_providers` says.
        spinning: Whether the engine's threads wait for work by spinning, as onnxruntime does by default.
            Sleeping threads leave the cores to the rest of the program, but waking them for each layer costs
            more than a second thread gains: with the reference int8 and two threads on two x86 cores the
            median was 4.3 ms sleeping, 2.6 ms spinning, against 3.8 ms with one thread. LiteRT has no such
            choice, and does not look at it.
        delegate: A shared library that LiteRT gives the operators to that it can run, for an accelerator
            (`libedgetpu.so.1`); None is XNNPACK alone, on the CPU. Providers are for ONNX models, a delegate
            is for TFLite models: an engine refuses what is the other's.
        fp16: Whether LiteRT computes in fp16 what the model computes in fp32 (`half`), about twice as fast
            where the CPU has such arithmetic; elsewhere it is refused, as it is for ONNX models and with a
            delegate.
    """

    threads: int | None = None
    providers: tuple[str, ...] | None = None
    spinning: bool = True
    delegate: str | None = None
    fp16: bool = False
    provider_options: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        threads = self.threads
        if threads is not None and (
            isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= MAX_THREADS
        ):
            raise OptionError("threads", expected=f"1 to {MAX_THREADS}, or none", found=quoted(threads))
        delegate = self.delegate
        if delegate is not None and (not isinstance(delegate, str) or not delegate or "\0" in delegate):
            raise OptionError(
                "delegate", expected="the name of a shared library, or none", found=quoted(delegate)
            )
        if self.provider_options and self.providers is None:
            raise OptionError(
                "provider_options", expected="providers beside them", found=self.provider_options[0][0]
            )
        if self.fp16 and delegate is not None:
            raise OptionError("fp16", expected="no delegate with it", found=delegate)

    def fitting(self, format: Format) -> BackendOptions:
        """Return them without what is the other engine's."""
        if format == "onnx":
            return replace(self, delegate=None, fp16=False)
        return replace(self, providers=None, provider_options=())


class Backend(Protocol):
    """A loaded network. Not thread-safe unless the engine says so."""

    @property
    def engine(self) -> str:
        """Name and version of the engine, for instance `onnxruntime 1.32.0`."""
        ...

    @property
    def contract(self) -> Contract:
        """The contract that stands in the model file itself."""
        ...

    @property
    def threads(self) -> int:
        """Threads for one inference."""
        ...

    def run(self, batch: npt.NDArray[np.uint8 | np.float32]) -> npt.NDArray[np.float32]:
        """Run `contract.input.shape(n)` of the contract's dtype; returns `(n, classes)` float32."""
        ...


def default_threads() -> int:
    """Return the cores that this process may use, at most 4: a network this small gains nothing beyond."""
    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        usable = os.cpu_count() or 1
    return max(1, min(4, usable))
