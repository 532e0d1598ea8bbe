"""How long the models take on this machine, where that was measured."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from ecovision_edge.backends import BackendOptions
from ecovision_edge.backends.engines import open_model
from ecovision_edge.base.device import read_cpu
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.preprocess import Preprocessor
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge_export.finished.made import Made
from ecovision_edge_export.targets import Target, target_of
from ecovision_edge_export.transcript import Transcript

__all__ = ["NOT_FASTER", "Speed", "compare_speed"]

NOT_FASTER = 0.97
"""Of fp32's time: less than this is no gain to speak of."""

ROUNDS = 60


@dataclass(frozen=True, slots=True)
class Speed:
    """Time of one inference of the network alone, on one thread.

    Args:
        artifact: Its name.
        median_ms: Milliseconds.
        runs: Of how many the median is; artifacts that were compared took turns.
    """

    artifact: str
    median_ms: float
    runs: int


def compare_speed(
    fp32: Made, int8: Made, contract: Contract, target: Target, script: Transcript
) -> tuple[Speed, ...]:
    """Time both models here, in turn, if this machine is the target; say so where int8 does not pay.

    What was measured is told, and goes into the model card alone: the same photographs give the same bytes of
    all that the manifest names.
    """
    if target != target_of(read_cpu()):
        return ()
    batch = Preprocessor(contract).prepare(draw_frame(0))
    with script.stage("time"):
        backends = [open_model(made.data, made.format, BackendOptions(threads=1)) for made in (int8, fp32)]
        seconds: list[list[float]] = [[], []]
        for _ in range(ROUNDS):
            for backend, taken in zip(backends, seconds, strict=True):
                start = time.perf_counter()
                backend.run(batch)
                taken.append(time.perf_counter() - start)
        warm = ROUNDS // 6
        quick, slow = (statistics.median(taken[warm:]) * 1000 for taken in seconds)
        script.figure(
            f"here, one thread, medians of {ROUNDS - warm} in turn: {int8.name} {quick:.2f} ms, {fp32.name} "
            f"{slow:.2f} ms, ratio {quick / slow:.2f}"
        )
    if quick >= NOT_FASTER * slow:
        script.warn(
            f"{int8.name} is not faster than fp32 on this machine: fp32 is recommended here "
            f"(--precision fp32, or --artifact {fp32.name} on the device)"
        )
    return Speed(int8.name, quick, ROUNDS - warm), Speed(fp32.name, slow, ROUNDS - warm)
