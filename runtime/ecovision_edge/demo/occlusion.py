"""Where a network looked: grey patches are slid over its input, and the answer is asked for again each time.

The method: M. D. Zeiler, R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014,
section 4.2. It needs the network's answers alone, so it works with every engine and precision, int8 too,
where a map of activations or gradients would need the network's inside.

A patch also covers what lies beside the thing that matters, so the map is coarser than its patches; and what
the network would have said of a picture without the thing is only guessed at by a grey one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.probability import log_sum_exp
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.errors import InferenceError, OptionError

__all__ = ["BUDGET_S", "LEVELS", "Occlusion", "covering_color", "occlude"]

Batch = npt.NDArray[np.uint8 | np.float32]
Logits = npt.NDArray[np.float32]

BUDGET_S = 5.0
"""Seconds that a map may take by default; the coarsest grid is gone through whatever it takes."""

LEVELS = (5, 9, 17)
"""Patches along a side, level by level: each grid has the one before it in it. 25, 81 and 289 in all."""

_PATCHES_PER_SIDE = 4  # a patch is a quarter of the side: those of the coarsest grid just meet


@dataclass(frozen=True, slots=True)
class Occlusion:
    """How much less sure the network was of one label while a place was covered.

    Args:
        index: The label, its place in `contract.labels`.
        drop: `(height, width) float32`: for each pixel of the network's input the fall of the label's
            log-odds, ln(p / (1 - p)), mean over the patches that covered it. Negative where the network
            became surer.
        strongest: Greatest fall by a single patch; its odds are divided by exp(strongest). 0 or less:
            no patch made the network less sure.
        runs: How often the network was run, once for the whole picture included.
        grid: Patches along a side, one of `LEVELS`.
        patch: Height and width of a patch, pixels.
        seconds: How long it took.
    """

    index: int
    drop: npt.NDArray[np.float32]
    strongest: float
    runs: int
    grid: int
    patch: tuple[int, int]
    seconds: float


def covering_color(contract: Contract) -> Batch:
    """Return the colour that covers, as network input: the mean of the training data, which says least.

    Returns:
        `(3,)` in the order of the input's channels: levels `uint8 BGR`, or `float32` zeros where the input is
        normalized already.
    """
    if contract.input.dtype == "float32":
        return np.zeros(3, np.float32)
    levels = np.rint(np.array(contract.normalization.mean[::-1]) * 255)
    color: npt.NDArray[np.uint8] = np.clip(levels, 0, 255).astype(np.uint8)
    return color


def occlude(
    run: Callable[[Batch], Logits],
    batch: Batch,
    contract: Contract,
    index: int | None = None,
    *,
    budget_s: float = BUDGET_S,
    clock: Callable[[], float] = time.perf_counter,
) -> Occlusion:
    """Slide a grey patch over one network input, and map how much each place mattered to one label.

    Patches are a quarter of the side, their centres on a grid that reaches the edges. The coarsest grid
    covers everything once; a finer one follows only while its runs, as long as those before them, fit into
    the budget.

    Args:
        run: Logits `(1, classes)` of a network input, as `Classifier.run`.
        batch: One network input, `contract.input.shape(1)`, as `Classifier.prepare` gives it; not changed.
        contract: The model's.
        index: The label, its place in `contract.labels`; None is the most probable one.
        budget_s: Seconds, above 0.
        clock: Seconds, for tests.

    Raises:
        OptionError: another shape, no such label, or no budget.
        InferenceError: the network's answer is not finite; or whatever `run` raises.
    """
    _check(batch, contract, index, budget_s)
    channels_last = contract.input.layout == "NHWC"
    height, width = contract.input.height, contract.input.width
    color = covering_color(contract)
    start = clock()

    def ask(network_input: Batch) -> Logits:
        logits: Logits = run(network_input)[0]
        if not np.isfinite(logits).all():
            raise InferenceError("the network's answer is not finite", found=logits[~np.isfinite(logits)][0])
        return logits

    first = ask(batch)
    chosen = int(first.argmax()) if index is None else index
    whole = _log_odds(first, chosen, contract.temperature)
    fine = LEVELS[-1]
    drops = np.full((fine, fine), np.nan)
    rows, columns = _spans(height), _spans(width)
    runs, grid = 1, LEVELS[0]
    for level in LEVELS:
        step = (fine - 1) // (level - 1)
        todo = [(i, j) for i in range(0, fine, step) for j in range(0, fine, step) if np.isnan(drops[i, j])]
        if level != LEVELS[0] and (clock() - start) * (1 + len(todo) / runs) > budget_s:
            break
        for i, j in todo:
            covered = batch.copy()
            if channels_last:
                covered[0, rows[i], columns[j], :] = color
            else:
                covered[0, :, rows[i], columns[j]] = color[:, None, None]
            drops[i, j] = whole - _log_odds(ask(covered), chosen, contract.temperature)
        runs, grid = runs + len(todo), level
    patch = _side(height), _side(width)
    drop = _by_pixel(drops, rows, columns, height, width)
    return Occlusion(chosen, drop, float(np.nanmax(drops)), runs, grid, patch, clock() - start)


def _check(batch: Batch, contract: Contract, index: int | None, budget_s: float) -> None:
    if batch.shape != contract.input.shape(1):
        raise OptionError(
            "network input to occlude", expected=f"shape {contract.input.shape(1)}", found=batch.shape
        )
    if index is not None and not 0 <= index < len(contract.labels):
        raise OptionError("label to occlude", expected=f"0 to {len(contract.labels) - 1}", found=index)
    if not budget_s > 0:
        raise OptionError("seconds for an occlusion map", expected="above 0", found=budget_s)


def _side(length: int) -> int:
    return math.ceil(length / _PATCHES_PER_SIDE)


def _spans(length: int) -> list[slice]:
    """Return the pixels that patches along a side cover: centres from edge to edge, cut off at the edges.

    A pixel that a patch touches is covered, so that no gaps are left between patches where the side cannot
    be divided.
    """
    half = length / _PATCHES_PER_SIDE / 2
    centres = [i * length / (LEVELS[-1] - 1) for i in range(LEVELS[-1])]
    return [slice(max(0, math.floor(c - half)), min(length, math.ceil(c + half))) for c in centres]


def _log_odds(logits: Logits, index: int, temperature: float) -> float:
    """Compute ln(p / (1 - p)) of one label's probability p from the logits: exact near 1 too."""
    scaled = logits.astype(np.float64) / temperature
    others = np.delete(scaled, index)
    return float(scaled[index] - log_sum_exp(others[None])[0])


def _by_pixel(
    drops: npt.NDArray[np.float64], rows: list[slice], columns: list[slice], height: int, width: int
) -> npt.NDArray[np.float32]:
    """Return for each pixel the mean over the patches that cover it; the coarsest grid leaves none out."""
    total, count = np.zeros((height, width)), np.zeros((height, width))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            if not np.isnan(drops[i, j]):
                total[row, column] += drops[i, j]
                count[row, column] += 1
    return (total / count).astype(np.float32)
