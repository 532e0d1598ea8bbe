"""Workers of configurations: started several at a time, as many as memory holds, until the time is over."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from ecovision_edge_bench.measure.agreement import Classifies
from ecovision_edge_bench.measure.processes import WorkerError
from ecovision_edge_bench.measure.schedule import TakesTurns
from ecovision_edge_bench.subjects import Spec

__all__ = ["Pool", "Runs", "available_bytes"]

MEMORY_SHARE = 0.7  # of what is available; the rest is for the device's other programs


class Runs(TakesTurns, Classifies, Protocol):
    """What a configuration runs in: a `Worker`."""

    ready: dict[str, Any]
    cpu_s: float

    def check_golden(self) -> tuple[bool, str]:
        """See `Worker.check_golden`."""
        ...

    def close(self) -> None:
        """See `Worker.close`."""
        ...


class Pool:
    """The workers that are running, by key.

    Args:
        start: Starts one.
        clock: Seconds.
        available: Bytes of memory that are free now; None where that cannot be read.
    """

    def __init__(
        self,
        start: Callable[[Spec], Runs],
        clock: Callable[[], float],
        available: Callable[[], int | None],
    ) -> None:
        self._start = start
        self._clock = clock
        self._available = available
        self.running: dict[str, Runs] = {}
        self.capacity = 2
        """How many fit into memory at once; known from the first one on."""

    def ensure(self, specs: Sequence[Spec], until: float) -> tuple[dict[str, str], list[str]]:
        """Start those that are not running; returns why some failed, and those there was no time for."""
        failed: dict[str, str] = {}
        todo = [s for s in specs if s.key not in self.running]
        cores = os.cpu_count() or 1
        while todo:
            if self._clock() >= until:
                return failed, [s.key for s in todo]
            # The first alone: how much memory it takes says how many others there may be.
            count = cores if self.running else 1
            group, todo = todo[:count], todo[count:]
            with ThreadPoolExecutor(len(group)) as threads:
                for spec, started in zip(group, threads.map(self._try, group), strict=True):
                    if isinstance(started, str):
                        failed[spec.key] = started
                    else:
                        if not self.running:
                            self.capacity = self._fit(started)
                        self.running[spec.key] = started
        return failed, []

    def retain(self, keys: Collection[str]) -> None:
        """Close all others."""
        for key in [k for k in self.running if k not in keys]:
            self.running.pop(key).close()

    def close(self) -> None:
        """Close all."""
        self.retain(())

    def _try(self, spec: Spec) -> Runs | str:
        try:
            return self._start(spec)
        except WorkerError as e:
            return e.message

    def _fit(self, worker: Runs) -> int:
        free, each = self._available(), worker.ready.get("peak_bytes")
        if free is None or not each:
            return 8  # about 1 GiB, of a hundred MiB each
        return max(2, 1 + int(MEMORY_SHARE * free / each))


def available_bytes() -> int | None:
    """Memory that programs can still get without swapping (`MemAvailable`); None where Linux does not say."""
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return None
    match = re.search(r"^MemAvailable:\s*(\d+) kB$", text, re.MULTILINE)
    return int(match[1]) * 1024 if match else None
