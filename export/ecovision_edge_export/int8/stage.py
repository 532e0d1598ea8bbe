"""The int8 half of an export: what to quantize by, where it comes from, and whether it pays here."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.errors import DatasetError, ImageReadError
from ecovision_edge.photographs.images import read_image
from ecovision_edge.preprocess import Preprocessor
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge_export.finished.speed import NOT_FASTER
from ecovision_edge_export.graph.graphs import Graph
from ecovision_edge_export.int8.calibrate import Calibration, measure
from ecovision_edge_export.int8.layers import layer_rows
from ecovision_edge_export.int8.quantize import Quantized
from ecovision_edge_export.int8.recipe import Recipe
from ecovision_edge_export.int8.report import noun_of
from ecovision_edge_export.int8.search import MOST_LEADING, Seen, Trial, make_int8, ranked, search
from ecovision_edge_export.int8.sessions import NetworkInput
from ecovision_edge_export.int8.table import REFERENCE_CALIBRATION, CalibrationTable, Evidence, prepare
from ecovision_edge_export.int8.trained import TrainedRanges
from ecovision_edge_export.options import ExportOptions
from ecovision_edge_export.parity.measure import GENERATED_IMAGES
from ecovision_edge_export.photographs.dataset import Photograph, PhotographSet, choose
from ecovision_edge_export.photographs.seen import check_image
from ecovision_edge_export.targets import Target
from ecovision_edge_export.transcript import Transcript
from ecovision_edge_export.weights.checkpoint import REFERENCE

__all__ = [
    "DEFAULT_FP32_BLOCKS",
    "RECORDED_TARGET",
    "Recipes",
    "find_recipes",
    "quantize_by",
]

DEFAULT_FP32_BLOCKS = (2, 4, 6, 8)
"""Where no photograph can tell: one more than the reference needs; the next where the parity gate says no."""

RECORDED_TARGET: Target = "arm64"
"""What the recipe recorded with the reference was searched for."""

MIN_OTHERS = 32  # fewer say nothing of an agreement of 98 %
MAX_OTHERS = 256  # held in memory: 40 MB at 224 x 224 uint8
LAYER_INPUTS = 16
NUMBER_ROWS = 7  # of the search, see its step 1


@dataclass(frozen=True, slots=True)
class Recipes(Sequence[CalibrationTable]):
    """Tables, the first to be taken first, and network inputs that set none of their ranges.

    `searched` says whether those inputs are photographs, enough of them to choose a recipe by.
    """

    tables: tuple[CalibrationTable, ...]
    inputs: tuple[NetworkInput, ...]
    searched: bool = False

    def __getitem__(self, index: int) -> CalibrationTable:  # type: ignore[override]
        return self.tables[index]

    def __len__(self) -> int:
        return len(self.tables)


def find_recipes(
    options: ExportOptions,
    contract: Contract,
    graph: onnx.ModelProto,
    calib: PhotographSet | None,
    targets: Sequence[Target],
    script: Transcript,
    trained: TrainedRanges | None = None,
) -> dict[Target, Recipes]:
    """Ranges and recipes to try, for each target.

    Those that the weights were trained for, where they fit; else from the photographs in `calib`; else, for
    the reference, from the table that was recorded with it; else from synthetic frames, which is weak and
    is told.
    """
    preprocessor = Preprocessor(contract)
    if trained is not None:
        misfit = trained.misfit(contract)
        if misfit is None:
            return _trained_recipes(options, trained, preprocessor, graph, calib, targets, script)
        script.warn(
            f"the int8 ranges that this checkpoint was trained for are of another network input ({misfit}): "
            "not used, int8 is made as of any checkpoint"
        )
    if calib is None and _recorded_fits(options):
        return _recorded_recipes(options, preprocessor, targets, script)
    photographs = others = None
    if calib is not None:
        photographs, others = _choose(calib, options, script)
        if len(photographs) < options.calib_size:
            script.warn(
                f"--calib has {len(photographs)} photographs, fewer than the {options.calib_size} asked for"
            )
    else:
        script.warn(
            "no --calib: int8 ranges come from synthetic frames, which is weak evidence; give photographs"
        )
    calibration = _calibrate(preprocessor, graph, photographs, script)
    if others is None or len(others) < MIN_OTHERS:
        return _default_recipes(options, calibration, preprocessor, targets, script)
    return _searched_recipes(options, calibration, preprocessor, graph, others, targets, script)


def _recorded_recipes(
    options: ExportOptions, preprocessor: Preprocessor, targets: Sequence[Target], script: Transcript
) -> dict[Target, Recipes]:
    """Take the ranges and the recipe that were recorded with the reference."""
    with script.stage("calibrate"):
        table = CalibrationTable.loads(REFERENCE_CALIBRATION.read_bytes(), REFERENCE_CALIBRATION.name)
        script.figure(f"ranges and recipe recorded with the reference, from {table.images} photographs")
    recipe, blocks = table.recipe, options.fp32_blocks
    if blocks is not None and blocks != recipe.fp32_blocks:
        recipe = dataclasses.replace(recipe, fp32_blocks=blocks, fp32_also=())
        table = dataclasses.replace(table, room={}, tried=())
    inputs = _drawn(preprocessor, LAYER_INPUTS)
    found = {}
    for target in targets:
        tried = table.tried if target == RECORDED_TARGET else ()  # their costs are those of that CPU
        own = dataclasses.replace(table, recipe=recipe.for_target(target), tried=tried)
        found[target] = Recipes((own,), inputs)
    return found


def _calibrate(
    preprocessor: Preprocessor, graph: onnx.ModelProto, photographs: PhotographSet | None, script: Transcript
) -> Calibration:
    """Measure the graph's tensors on photographs; on synthetic frames where there are none."""
    total = len(photographs) if photographs is not None else GENERATED_IMAGES
    evidence: Evidence = "photographs" if photographs is not None else "generated"
    with script.stage("calibrate"):
        calibration = measure(
            graph,
            lambda: _network_inputs(preprocessor, photographs),
            digest=photographs.digest() if photographs is not None else hashlib.sha256(b"drawn").hexdigest(),
            evidence=evidence,
            progress=lambda done: script.progress("calibrate", done, 2 * total),
        )
        silent = len(calibration.silent)
        folded = f", {silent} constant excitation{'' if silent == 1 else 's'} folded" if silent else ""
        script.figure(
            f"{len(calibration.histograms)} tensors over {calibration.images} {noun_of(evidence)}, "
            f"{len(calibration.scales)} groups of channels equalized{folded}"
        )
    return calibration


def _default_recipes(
    options: ExportOptions,
    calibration: Calibration,
    preprocessor: Preprocessor,
    targets: Sequence[Target],
    script: Transcript,
) -> dict[Target, Recipes]:
    """Take the default recipe, with more and more blocks in fp32: nothing is there to search by."""
    numbers = DEFAULT_FP32_BLOCKS if options.fp32_blocks is None else (options.fp32_blocks,)
    recipes = [Recipe(fp32_blocks=blocks) for blocks in numbers]
    script.warn(
        f"fewer than {MIN_OTHERS} photographs left to search by: the default recipe, "
        f"with blocks {recipes[0].fp32_text} in fp32"
    )
    table = calibration.table(recipes[0])  # ranges do not hang on which blocks are fp32: found once
    inputs = _drawn(preprocessor, LAYER_INPUTS)
    return {
        target: Recipes(
            tuple(dataclasses.replace(table, recipe=recipe.for_target(target)) for recipe in recipes), inputs
        )
        for target in targets
    }


def _searched_recipes(
    options: ExportOptions,
    calibration: Calibration,
    preprocessor: Preprocessor,
    graph: onnx.ModelProto,
    others: PhotographSet,
    targets: Sequence[Target],
    script: Transcript,
) -> dict[Target, Recipes]:
    """Search for recipes on photographs that set no range."""
    inputs = tuple(_network_inputs(preprocessor, PhotographSet(others.photographs[:MAX_OTHERS])))
    seen = Seen()
    return {
        target: _searched_for(target, options, calibration, graph, inputs, seen, script) for target in targets
    }


def _searched_for(
    target: Target,
    options: ExportOptions,
    calibration: Calibration,
    graph: onnx.ModelProto,
    inputs: tuple[NetworkInput, ...],
    seen: Seen,
    script: Transcript,
) -> Recipes:
    with script.stage("search"):
        agree = options.agree / 100
        trials = search(
            graph,
            calibration,
            inputs,
            target=target,
            agree=agree,
            fp32_blocks=options.fp32_blocks,
            progress=lambda tried: script.progress("search", tried, NUMBER_ROWS + MOST_LEADING),
            seen=seen,
        )
        best = ranked(trials, agree)
        rows = tuple(t.to_json() for t in trials)
        first = best[0]
        script.figure(f"{len(trials)} recipes on {len(inputs)} other photographs; {_best(first, target)}")
    if not first.within(agree):
        script.warn(
            f"no recipe that was tried is good enough there: expected agreement >= {options.agree:g} %; the "
            "gate judges the most faithful one; fp32 is recommended"
        )
    elif first.cost >= NOT_FASTER:
        script.warn(f"int8 is not faster than fp32 on {target}, as modelled: fp32 is recommended")
    return Recipes(tuple(dataclasses.replace(t.table, tried=rows) for t in best), inputs, searched=True)


def _trained_recipes(
    options: ExportOptions,
    trained: TrainedRanges,
    preprocessor: Preprocessor,
    graph: onnx.ModelProto,
    calib: PhotographSet | None,
    targets: Sequence[Target],
    script: Transcript,
) -> dict[Target, Recipes]:
    """By the ranges of a quantization-aware training; what is to be found is how many blocks stay fp32."""
    table = trained.table
    with script.stage("calibrate"):
        prepare(Graph.copy_of(graph), table)  # a table of another graph is an error here, not later
        script.figure(
            f"ranges of a quantization-aware training on {table.images} photographs, from the checkpoint; "
            "none are measured, no bias is corrected"
        )
    others = _choose(calib, options, script)[1] if calib is not None else PhotographSet(())
    judged = len(others) >= MIN_OTHERS
    inputs = (
        tuple(_network_inputs(preprocessor, PhotographSet(others.photographs[:MAX_OTHERS])))
        if judged
        else _drawn(preprocessor, LAYER_INPUTS)
    )
    seen = Seen()
    return {
        target: _trained_for(target, options, table, graph, inputs, seen, script, judged=judged)
        for target in targets
    }


def _trained_for(
    target: Target,
    options: ExportOptions,
    table: CalibrationTable,
    graph: onnx.ModelProto,
    inputs: tuple[NetworkInput, ...],
    seen: Seen,
    script: Transcript,
    *,
    judged: bool,
) -> Recipes:
    with script.stage("search"):
        # Synthetic frames judge nothing: the cheapest comes first, and the gate decides.
        agree = options.agree / 100 if judged else 0.0
        trials = search(
            graph,
            dataclasses.replace(table, recipe=table.recipe.for_target(target)),
            inputs,
            target=target,
            agree=agree,
            fp32_blocks=options.fp32_blocks,
            progress=lambda tried: script.progress("search", tried, MOST_LEADING + 1),
            seen=seen,
        )
        best = ranked(trials, agree)
        on = f" on {len(inputs)} photographs" if judged else ", the cheapest first"
        script.figure(f"{len(trials)} choices of blocks in fp32{on}; {_best(best[0], target, judged=judged)}")
    rows = tuple(t.to_json() for t in trials) if judged else ()
    return Recipes(tuple(dataclasses.replace(t.table, tried=rows) for t in best), inputs, searched=judged)


def _best(trial: Trial, target: Target, *, judged: bool = True) -> str:
    found = trial.fidelity
    faithful = (
        f"agreement {100 * found.agreement:.1f} % (expected {100 * found.expected_agreement:.2f} %), SQNR "
        f"{found.sqnr_db:.1f} dB, "
    )
    cost = f"{trial.cost:.2f} of fp32's cost on {target}, modelled"
    return f"{trial.what}: {faithful if judged else ''}{cost}"


def quantize_by(
    graph: onnx.ModelProto, table: CalibrationTable, inputs: Sequence[NetworkInput]
) -> tuple[Quantized, CalibrationTable, list[JsonValue]]:
    """Return the int8 model, its table, and the report of its layers."""
    made, table = make_int8(graph, table, inputs)
    return made, table, layer_rows(made, table, inputs[:LAYER_INPUTS])


def _choose(
    calib: PhotographSet, options: ExportOptions, script: Transcript
) -> tuple[PhotographSet, PhotographSet]:
    """Choose the photographs that set ranges and as many others, of those that can be read; tell the rest.

    Raises:
        DatasetError: none can be read.
    """

    def readable(photograph: Photograph) -> bool:
        try:
            check_image(photograph)
        except ImageReadError as e:
            script.warn(f"left out: {e.message}")
            return False
        return True

    chosen = choose(calib, options.calib_size, options.seed, readable)
    if not len(chosen[0]):
        raise DatasetError(
            "--calib", expected="a photograph that can be read", found=f"{len(calib)} that cannot"
        )
    return chosen


def _network_inputs(preprocessor: Preprocessor, photographs: PhotographSet | None) -> Iterator[NetworkInput]:
    if photographs is None:
        yield from _drawn(preprocessor, GENERATED_IMAGES)
    else:
        for photograph in photographs.photographs:
            yield preprocessor.prepare(read_image(photograph.path))


def _drawn(preprocessor: Preprocessor, count: int) -> tuple[NetworkInput, ...]:
    # Not those that parity is judged by.
    return tuple(preprocessor.prepare(draw_frame(10_000 + seed)) for seed in range(count))


def _recorded_fits(options: ExportOptions) -> bool:
    """Return whether the recorded ranges were measured on what will be exported."""
    default = ExportOptions(weights=REFERENCE)
    return options.weights == REFERENCE and all(
        getattr(options, name) == getattr(default, name)
        for name in ("mean", "std", "resize", "size", "input_form")
    )
