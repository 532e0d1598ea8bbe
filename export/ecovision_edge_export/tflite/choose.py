"""Which blocks of the int8 .tflite model stay fp32: the cheapest on the target that is good enough.

How numbers are found, ranges and equalization and biases, is what the search for ONNX chose on the same
photographs. What remains is how many leading blocks stay fp32, and in what order to try is known: the network
is always the same. Measured with LiteRT 2.3 on the reference, of its fp32 model:

| leading blocks in fp32 | none | 0 | 0-1 | 0-2 |
|---|---|---|---|---|
| instructions, cortex-a76 | 0.450 | 0.473 | 0.480 | |
| instructions, cortex-a72 | 0.907 | 0.878 | 0.874 | |
| time, x86 with AVX2 | 1.07 | 1.01 | 1.00 | 1.02 |

Where what stays fp32 is computed in fp16 (cortex-a76, millions of instructions):

| leading blocks in fp32 | none | 0 | 0-1 | 0-2 |
|---|---|---|---|---|
| and nothing else | 41.2 | 41.9 | 41.1 | |
| and depthwise layers of stride 1 | 39.0 | | 39.1 | |
| and their excitations | 38.7, with block 1 38.3 | | 38.8 | 40.3 |

Depthwise layers of stride 2 cost more in fp16 than in int8 (0.3 of those with 5 x 5 taps), as their larger
inputs have to be converted. In fp32 such a model takes 47.6, where 0-1 alone take 43.8: it is for fp16.

So with dot products int8 is cheapest everywhere, and without them it costs as much as fp32 at the beginning,
where tensors are large and channels few. x86 with VNNI, not measured, is taken to be like dot products.
"""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from ecovision_edge.backends import BackendOptions
from ecovision_edge.backends.litert import LiteRtBackend
from ecovision_edge.base.fields import JsonValue
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.errors import ExportError
from ecovision_edge_export.int8.fidelity import Fidelity, fidelity, logits_of
from ecovision_edge_export.int8.recipe import Recipe
from ecovision_edge_export.int8.sessions import NetworkInput
from ecovision_edge_export.int8.sharing import Shared
from ecovision_edge_export.int8.table import CalibrationTable
from ecovision_edge_export.targets import Target, computes_in_fp16
from ecovision_edge_export.tflite.quantize import quantize_tflite

__all__ = ["Kept", "TfliteTrial", "open_once", "tflite_loss", "tflite_recipe", "tflite_trials"]

ORDER: dict[Target, tuple[int, ...]] = {
    "x86-vnni": (-1, 0, 1, 2, 3),
    "x86": (1, 2, 3),
    "arm64": (1, 2, 3),
    "arm64-dotprod": (-1, 0, 1, 2, 3),
    "arm64-fp16": (1, 2, 3),
}
"""Leading blocks in fp32, as `Recipe.fp32_blocks` counts them; the cheapest first.

For fp16 an int8 stem is not tried: of the reference it saves 1 % and costs one answer in a hundred, and fp16
on the device some more.
"""

HALF_TEXT = "depthwise layers of stride 1 and their excitations"
HALF_ALSO = (1,)
"""Of block 1 the depthwise layer reads what the residual adds, and the layer between is small."""

COSTS: dict[Target, dict[tuple[int, bool], float]] = {
    "x86-vnni": {(-1, False): 41.2, (0, False): 43.3, (1, False): 43.8},
    "x86": {(-1, False): 1.07, (0, False): 1.01, (1, False): 1.0, (2, False): 1.02},
    "arm64": {(-1, False): 0.907, (0, False): 0.878, (1, False): 0.874},
    "arm64-dotprod": {(-1, False): 41.2, (0, False): 43.3, (1, False): 43.8, (1, True): 47.6},
    "arm64-fp16": {
        (-1, False): 41.2,
        (0, False): 41.9,
        (1, False): 41.1,
        (1, True): 38.8,
        (2, True): 40.3,
    },
}
"""Of the tables above, by leading blocks in fp32 and whether it is made for fp16; each target has its own
unit. What is missing was not measured."""

OPEN_SECONDS = 120
OPENER = """
import sys
from ecovision_edge.backends import BackendOptions
from ecovision_edge.backends.litert import LiteRtBackend
import numpy
with open(sys.argv[1], "rb") as file:
    backend = LiteRtBackend(file.read(), BackendOptions(threads=1))
spec = backend.contract.input
backend.run(numpy.zeros(spec.shape(1), spec.dtype))
"""


@dataclass(frozen=True, slots=True)
class TfliteTrial:
    """One int8 model: its recipe, its bytes, how near to fp32 it is, and all rows tried up to it.

    `half`: its depthwise layers of stride 1 stay fp32 too, to be computed in fp16.
    """

    recipe: Recipe
    data: bytes
    fidelity: Fidelity
    tried: tuple[JsonValue, ...]
    half: bool = False

    @property
    def form(self) -> tuple[int, bool]:
        """What decides its cost: leading blocks in fp32, and `half`."""
        return self.recipe.fp32_blocks, self.half

    @property
    def fp32_text(self) -> str:
        """What stays fp32, as `0-1, last layer`."""
        return f"{self.recipe.fp32_text}, last layer" + (f", {HALF_TEXT}" if self.half else "")


@dataclass(frozen=True, slots=True)
class Kept:
    """Models that were made for one target, for another that tries the same; by `TfliteTrial.form`."""

    made: dict[tuple[int, bool], tuple[bytes, Fidelity]] = field(default_factory=dict)


def tflite_loss(firsts: Mapping[Target, TfliteTrial]) -> Callable[[Target, Target], float]:
    """Return what each target's model loses on the others, see `sharing.Loss`.

    Args:
        firsts: For each target the trial that is taken first.
    """

    def loss(lead: Target, target: Target) -> float:
        if firsts[lead].data == firsts[target].data:
            return 0.0
        costs = COSTS[target]
        other, own = costs.get(firsts[lead].form), costs.get(firsts[target].form)
        return math.inf if other is None or own is None else other / own - 1

    return loss


def tflite_trials(
    model: onnx.ModelProto,
    table: CalibrationTable,
    contract: Contract,
    inputs: Sequence[NetworkInput],
    *,
    target: Target,
    agree: float,
    fp32_blocks: Sequence[int] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    kept: Kept | None = None,
) -> Iterator[TfliteTrial]:
    """Models good enough on `inputs`, the cheapest first; where none is, the most faithful one.

    Each is made only when it is asked for, and was opened and run once in a process of its own.

    Args:
        model: The fp32 graph.
        table: Its ranges and the recipe that was found.
        contract: Of the bundle.
        inputs: Network inputs that set no range, at least one.
        target: Whose order of costs is followed.
        agree: Least agreement with fp32, 0 to 1, counted and expected (see `fidelity`).
        fp32_blocks: Numbers of leading blocks to try, in this order; None tries those of the target.
        progress: Called with the models made and the most that may be.
        kept: What was made for another target of the same model, table and inputs; is added to.

    Raises:
        ExportError: a tool failed, or LiteRT cannot open what it made.
        MissingDependencyError: the extra `litert-export` is not installed.
    """
    order = ORDER[target] if fp32_blocks is None else fp32_blocks
    half = computes_in_fp16(target)
    known = (kept or Kept()).made
    expected = logits_of(model, inputs)
    rows: list[JsonValue] = []
    made: list[TfliteTrial] = []
    given = False
    for number, blocks in enumerate(order, 1):
        recipe = dataclasses.replace(
            table.recipe,
            fp32_blocks=blocks,
            fp32_also=HALF_ALSO if half else (),
            headroom=False,
            signed=False,
        )
        if (blocks, half) not in known:
            data = quantize_tflite(model, table, recipe, contract, inputs, half=half)
            open_once(data)
            known[blocks, half] = data, fidelity(_logits(data, inputs), expected)
        data, found = known[blocks, half]
        rows.append(
            {
                "stage": "leading blocks",
                "what": f"fp32: {recipe.fp32_text}",
                "fp32_blocks": recipe.fp32_text,
                **found.to_json(),
            }
        )
        made.append(TfliteTrial(recipe, data, found, tuple(rows), half))
        progress(number, len(order))
        if found.within(agree):
            given = True
            yield made[-1]
    if not given:
        best = max(made, key=lambda t: t.fidelity.sqnr_db)
        yield dataclasses.replace(best, tried=tuple(rows))


def tflite_recipe(trial: TfliteTrial, table: CalibrationTable, shared: Shared) -> dict[str, JsonValue]:
    """Return what the manifest says of the artifact: recipe, and the rows that were tried."""
    recipe = trial.recipe
    searched = not table.trained or bool(table.tried)
    judged = "the first within the agreement asked for" if searched else "the first by trained ranges"
    return {
        "format": "static int8",
        **shared.to_json(),
        "activations": "int8 per tensor",
        "weights": "int8 per channel" if recipe.per_channel else "int8 per tensor",
        "ranges": table.method,
        "equalized": len(table.scales),
        "folded_excitations": [*table.silent],
        "biases_corrected": recipe.bias_corrected,
        "fp32_blocks": trial.fp32_text,
        "chosen_because": f"{judged}, in the order of costs on the target, that the parity gate let through",
        "tried": [*trial.tried] if searched else [],
    }


def open_once(data: bytes) -> None:
    """Open and run a finished .tflite file in a process of its own, which alone dies if LiteRT does.

    Raises:
        ExportError: it could not.
    """
    with tempfile.TemporaryDirectory(prefix="ecovision-edge-") as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(data)
        try:
            done = subprocess.run(
                [sys.executable, "-c", OPENER, str(path)],
                capture_output=True,
                text=True,
                timeout=OPEN_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            found = f"no end after {OPEN_SECONDS} s"
        else:
            if done.returncode == 0:
                return
            last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
            found = f"signal {-done.returncode}" if done.returncode < 0 else last[:300]
    raise ExportError(
        "LiteRT cannot run the model",
        expected="that it opens and runs",
        found=found,
        fix="choose --formats onnx, and report this checkpoint",
    )


def _logits(data: bytes, inputs: Sequence[NetworkInput]) -> npt.NDArray[np.float32]:
    backend = LiteRtBackend(data, BackendOptions(threads=1))
    return np.concatenate([backend.run(x) for x in inputs])
