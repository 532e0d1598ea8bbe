"""The search for an int8 recipe: the fastest on the target whose answers are near enough to fp32's.

Judged on photographs that set no range, with the sums that devices give (see `exact`):

1. How numbers are found costs nothing on the device. From a start with the stem and block 1 in fp32 each way
   of finding ranges is tried; then, one after the other, channels not equalized, biases not corrected, one
   scale for all of a layer's weights. What has the best SQNR is taken. Room for clipped rows is not tried but
   always given from there on, since without it the answers of a CPU that clips are not these.
2. Which blocks stay fp32 costs time. As many leading blocks as needed are tried, 0 to 3 in any case.
3. Where a cheaper choice is not good enough, blocks are added to it singly: those that gain most for their
   cost, which is measured for each block.
4. Of those within the budget the cheapest on the target are taken, as modelled (`costs`); of those that cost
   the same, within the model's error, the one with the best SQNR. The parity gate has the last word: what it
   refuses on the validation photographs gives way to the next.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import onnx

from ecovision_edge.base.fields import JsonValue
from ecovision_edge_export.int8.calibrate import Calibration
from ecovision_edge_export.int8.costs import MODEL_ERROR, Work, modelled_cost, work_of
from ecovision_edge_export.int8.fidelity import Fidelity, Logits, fidelity, logits_of
from ecovision_edge_export.int8.headroom import room_of_rows
from ecovision_edge_export.int8.quantize import Quantized, blocks_of, quantize
from ecovision_edge_export.int8.recipe import RANGE_METHODS, Recipe
from ecovision_edge_export.int8.sessions import NetworkInput
from ecovision_edge_export.int8.table import CalibrationTable
from ecovision_edge_export.targets import Target

__all__ = ["Seen", "Trial", "make_int8", "ranked", "search"]

START_BLOCKS = 1
LEAST_LEADING = 4  # choices of leading blocks that are always tried: 0 to 3
MOST_LEADING = 9  # 0 to 8
MOST_ADDED = 3
ROOM_INPUTS = 32
BLOCK_INPUTS = 64
WORTH_DB = 0.1  # less is noise of the sample


@dataclass(frozen=True, slots=True)
class Trial:
    """One row of the search.

    Args:
        stage: `numbers`, `leading blocks` or `added blocks`.
        what: What was tried, in words.
        table: Its recipe and ranges.
        fidelity: Against fp32.
        cost: Modelled, of the fp32 model's on the target.
    """

    stage: str
    what: str
    table: CalibrationTable
    fidelity: Fidelity
    cost: float

    def within(self, agree: float) -> bool:
        """Return whether its agreement is at least `agree`, 0 to 1, as counted and as expected."""
        return self.fidelity.within(agree)

    def to_json(self) -> dict[str, JsonValue]:
        """Return the row as JSON values."""
        return {
            "stage": self.stage,
            "what": self.what,
            "fp32_blocks": self.table.recipe.fp32_text,
            **self.fidelity.to_json(),
            "modelled_cost": round(self.cost, 3),
        }


@dataclass(frozen=True, slots=True)
class Seen:
    """What a search has found that hangs on no target: the next one, for another target, need not again."""

    tables: dict[Recipe, CalibrationTable] = field(default_factory=dict)
    tried: dict[Recipe, tuple[CalibrationTable, Fidelity, Work]] = field(default_factory=dict)


def search(
    model: onnx.ModelProto,
    numbers: Calibration | CalibrationTable,
    inputs: Sequence[NetworkInput],
    *,
    target: Target,
    agree: float,
    fp32_blocks: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
    seen: Seen | None = None,
) -> tuple[Trial, ...]:
    """Try recipes; all rows, in the order tried. `ranked` says which are to be taken.

    Args:
        model: The fp32 graph.
        numbers: What was measured on it; or the ranges that it was trained for, with the recipe of fewest
            leading blocks in fp32: then step 2 is all there is to do.
        inputs: Network inputs that set no range, at least one.
        target: Whose costs decide.
        agree: Least agreement with fp32, 0 to 1.
        fp32_blocks: How many leading blocks stay fp32; None finds it.
        progress: Called with the number of recipes tried.
        seen: Of a search with the same model, numbers and inputs for another target; is added to.
    """
    seen = seen or Seen()
    if isinstance(numbers, CalibrationTable):
        table = numbers
        trying = _Search(model, lambda _: table, inputs, target, progress, seen)
        recipe, first = table.recipe, table.recipe.fp32_blocks
    else:
        trying = _Search(model, numbers.table, inputs, target, progress, seen)
        start = Recipe(fp32_blocks=START_BLOCKS if fp32_blocks is None else fp32_blocks, headroom=False)
        recipe, first = trying.numbers(start.for_target(target)), 0
    if fp32_blocks is not None:
        trying.leading(recipe, fp32_blocks)
    else:
        trying.all_leading(recipe, first, agree)
        if isinstance(numbers, Calibration):
            trying.added(agree)
    return tuple(trying.rows)


def ranked(trials: Sequence[Trial], agree: float) -> tuple[Trial, ...]:
    """Return the trials within the budget, best first; where there is none, the most faithful one."""
    final = [t for t in trials if t.stage != "numbers"]
    good = sorted((t for t in final if t.within(agree)), key=lambda t: t.cost)
    if not good:
        return (max(final, key=lambda t: t.fidelity.sqnr_db),)
    alike = [t for t in good if t.cost <= good[0].cost * (1 + MODEL_ERROR)]
    alike.sort(key=lambda t: -t.fidelity.sqnr_db)
    return (*alike, *(t for t in good if t not in alike))


def make_int8(
    model: onnx.ModelProto, table: CalibrationTable, inputs: Sequence[NetworkInput]
) -> tuple[Quantized, CalibrationTable]:
    """Quantize as the table says; and the table, with the room of rows that `inputs` call for."""
    if table.room or not table.recipe.headroom:
        return quantize(model, table), table
    plain = quantize(model, dataclasses.replace(table, recipe=table.recipe.for_target("x86")))
    roomy = dataclasses.replace(table, room=room_of_rows(plain, inputs[:ROOM_INPUTS]))
    return quantize(model, roomy), roomy


class _Search:
    """What has been tried so far."""

    def __init__(
        self,
        model: onnx.ModelProto,
        table_of: Callable[[Recipe], CalibrationTable],
        inputs: Sequence[NetworkInput],
        target: Target,
        progress: Callable[[int], None],
        seen: Seen,
    ) -> None:
        self.rows: list[Trial] = []
        self._model = model
        self._table_of = table_of
        self._inputs = inputs
        self._target = target
        self._progress = progress
        self._expected: Logits = logits_of(model, inputs)
        self._fp32_cost = modelled_cost(target, work_of(model, {n.name for n in model.graph.node}))
        self._seen = seen

    def any_within(self, agree: float) -> bool:
        """Return whether any final row is good enough."""
        return any(t.within(agree) for t in self.rows if t.stage != "numbers")

    def numbers(self, start: Recipe) -> Recipe:
        """Step 1."""
        best: Trial | None = None
        for method in RANGE_METHODS:
            row = self._try("numbers", f"ranges {method}", dataclasses.replace(start, ranges=method))
            best = row if best is None else _better(best, row)
        assert best is not None
        for what, change in (
            ("channels not equalized", {"equalized": False}),
            ("biases not corrected", {"bias_corrected": False}),
            ("one scale for a layer's weights", {"per_channel": False}),
        ):
            # mypy cannot know the fields' types here
            recipe = dataclasses.replace(best.table.recipe, **change)  # type: ignore[arg-type]
            best = _better(best, self._try("numbers", what, recipe))
        return dataclasses.replace(best.table.recipe, headroom=best.table.recipe.per_channel)

    def leading(self, recipe: Recipe, blocks: int) -> None:
        """Step 2, one row."""
        recipe = dataclasses.replace(recipe, fp32_blocks=blocks)
        self._try("leading blocks", f"fp32: {recipe.fp32_text}", recipe)

    def all_leading(self, recipe: Recipe, first: int, agree: float) -> None:
        """Step 2, from so many blocks on, until one row is good enough."""
        blocks = first
        while blocks < LEAST_LEADING or (blocks < MOST_LEADING and not self.any_within(agree)):
            self.leading(recipe, blocks)
            blocks += 1

    def added(self, agree: float) -> None:
        """Step 3."""
        final = [t for t in self.rows if t.stage == "leading blocks"]
        good = [t.cost for t in final if t.within(agree)]
        base = min(final, key=lambda t: t.cost)
        most = min(good, default=1.0)
        if base.cost * (1 + MODEL_ERROR) >= most:
            return  # nothing with more in fp32 could be faster than what is good enough
        gains = self._gains(base)
        for _ in range(MOST_ADDED):
            if not gains:
                return
            block = gains.pop(0)
            also = tuple(sorted((*base.table.recipe.fp32_also, block)))
            recipe = dataclasses.replace(base.table.recipe, fp32_also=also)
            base = self._try("added blocks", f"fp32: {recipe.fp32_text}", recipe)
            if base.within(agree) or base.cost >= most:
                return

    def _gains(self, base: Trial) -> list[int]:
        """Return the blocks that are worth most for their cost in fp32, best first."""
        few = self._inputs[:BLOCK_INPUTS]
        expected = self._expected[: len(few)]
        recipe = base.table.recipe
        there = fidelity(logits_of(quantize(self._model, base.table).judged, few), expected)
        worth = []
        for block in sorted({b for b in blocks_of(self._model).values() if not recipe.keeps(b)}):
            table = dataclasses.replace(base.table, recipe=dataclasses.replace(recipe, fp32_also=(block,)))
            made = quantize(self._model, table)
            gain = fidelity(logits_of(made.judged, few), expected).sqnr_db - there.sqnr_db
            cost = self._cost(work_of(made.twin, made.fp32)) - base.cost
            if gain > WORTH_DB:
                worth.append((gain / max(cost, 1e-3), block))
        return [block for _, block in sorted(worth, reverse=True)]

    def _cost(self, work: Work) -> float:
        return modelled_cost(self._target, work) / self._fp32_cost

    def _try(self, stage: str, what: str, recipe: Recipe) -> Trial:
        unsigned = dataclasses.replace(recipe, signed=False)  # the same values, to the bit
        if unsigned not in self._seen.tried:
            made, table = make_int8(self._model, self._table(recipe), self._inputs)
            found = fidelity(logits_of(made.judged, self._inputs), self._expected)
            self._seen.tried[unsigned] = table, found, work_of(made.twin, made.fp32)
        table, found, work = self._seen.tried[unsigned]
        table = dataclasses.replace(table, recipe=recipe)
        self.rows.append(Trial(stage, what, table, found, self._cost(work)))
        self._progress(len(self.rows))
        return self.rows[-1]

    def _table(self, recipe: Recipe) -> CalibrationTable:
        """Ranges do not hang on which blocks are fp32: found once."""
        key = Recipe(ranges=recipe.ranges, equalized=recipe.equalized, bias_corrected=recipe.bias_corrected)
        tables = self._seen.tables
        if key not in tables:
            tables[key] = self._table_of(key)
        return dataclasses.replace(tables[key], recipe=recipe)


def _better(a: Trial, b: Trial) -> Trial:
    return b if b.fidelity.sqnr_db > a.fidelity.sqnr_db + WORTH_DB else a
