"""The export, whole: checkpoint, trace, simplify, fold, quantize, parity gate, bundle."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from ecovision_edge.base.device import read_cpu
from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.names import short
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.bundle.manifest import Manifest
from ecovision_edge.bundle.writing import check_target, write_folder
from ecovision_edge.errors import ExportError, OptionError
from ecovision_edge.photographs.labelled import check_mapped, class_folders, parse_map
from ecovision_edge_export.card import known_facts
from ecovision_edge_export.finished.made import Made
from ecovision_edge_export.finished.onnx_file import finish
from ecovision_edge_export.finished.speed import Speed, compare_speed
from ecovision_edge_export.graph.fold import fold_preprocessing
from ecovision_edge_export.graph.graphs import Graph
from ecovision_edge_export.graph.sides import at_size
from ecovision_edge_export.graph.trace import OPSET, simplify, trace
from ecovision_edge_export.int8.report import describe, recipe_json
from ecovision_edge_export.int8.stage import (
    Recipes,
    find_recipes,
    quantize_by,
    resolve_target,
)
from ecovision_edge_export.int8.trained import TrainedRanges
from ecovision_edge_export.options import ExportOptions, make_contract, overruled
from ecovision_edge_export.parity.baseline import TorchBaseline
from ecovision_edge_export.parity.doubts import Verdict, judge_network
from ecovision_edge_export.parity.figures import GateClosedError, Parity
from ecovision_edge_export.parity.turning import measure_turned
from ecovision_edge_export.photographs.dataset import PhotographSet, list_photographs
from ecovision_edge_export.photographs.seen import read_validation
from ecovision_edge_export.publish.assemble import Unproved, assemble
from ecovision_edge_export.publish.assumptions import assumptions
from ecovision_edge_export.publish.gate import pass_gate
from ecovision_edge_export.sizes import measure_sizes, settle_size, sides_of
from ecovision_edge_export.targets import Target, assumed_target
from ecovision_edge_export.transcript import Reporter, Transcript
from ecovision_edge_export.weights.checkpoint import Checkpoint, build_model, load_checkpoint

__all__ = ["ExportResult", "export_bundle", "prepare_graph"]

VERIFIER = (sys.executable, "-m", "ecovision_edge", "verify")
VERIFY_SECONDS = 300


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What an export made: the bundle's folder, its manifest, the parity of each artifact, the transcript."""

    path: Path
    manifest: Manifest
    parity: tuple[Parity, ...]
    transcript: dict[str, JsonValue]

    def to_json(self) -> dict[str, JsonValue]:
        """Return all of it, every flip too."""
        return {
            "bundle": self.path.name,
            "name": self.manifest.name,
            "version": self.manifest.version,
            "contract": self.manifest.contract.to_json(),
            "artifacts": [a.to_json() for a in self.manifest.artifacts],
            "parity": {p.artifact: p.to_json() for p in self.parity},
            "provenance": dict(self.manifest.provenance),
            **self.transcript,
        }


def export_bundle(options: ExportOptions, out: Path, reporter: Reporter | None = None) -> ExportResult:
    """Export a checkpoint to a verified bundle in the folder `out`.

    An older bundle in `out` is replaced, in one step, and only by one that passed.

    Raises:
        CheckpointError, DownloadError: the weights.
        OptionError, DatasetError, ImageReadError: the options, the photographs.
        GateClosedError: an artifact disagrees with PyTorch by more than its budget, or the accuracy is below
            what was expected; nothing is written.
        BundleWriteError: `out` is no place to write a bundle to; nothing is changed.
        ExportError, StageError: a stage failed; the message says which.
    """
    check_target(out)
    script = Transcript(reporter or Reporter())
    with script.stage("load"):
        checkpoint = load_checkpoint(options.weights, num_classes=options.num_classes, labels=options.labels)
        for note in checkpoint.notes:
            script.warn(note)
        contract = make_contract(options, checkpoint)
        script.figure(f"{checkpoint.source.source}, {checkpoint.num_classes} classes")
    listed, calib = _list(options, contract)
    notes = [note for found in (listed, calib) if found is not None for note in found.notes]
    for warning in (*notes, *_doubts(options, checkpoint, contract, listed)):
        script.warn(warning)
    sides = sides_of(options, contract, listed)
    val = read_validation(listed, checkpoint.seen, "--val", script) if listed is not None else None
    judges, target = val.photographs if val is not None else None, resolve_target(options.target)
    frontier, graph = None, None
    if sides and judges is not None:
        graph = prepare_graph(checkpoint, contract, script)
        frontier = measure_sizes(sides, options, contract, graph, judges, target, script)
        options = settle_size(options, checkpoint, contract, frontier)
        contract = make_contract(options, checkpoint)
        graph = at_size(graph, contract.input)
    assumed = assumptions(options, checkpoint)
    if assumed:
        script.warn(f"assumed: {', '.join(assumed)}: the checkpoint does not say")
    baseline = TorchBaseline(checkpoint, contract)
    verdict = None if judges is None else _judge(options, baseline, contract, judges, script)
    if graph is None:
        graph = prepare_graph(checkpoint, contract, script)
    recipes = None
    if options.int8:
        text, name = checkpoint.quantization, checkpoint.source.source
        trained = TrainedRanges.loads(text, f"{name}: quantization") if text is not None else None
        recipes = find_recipes(options, contract, graph, calib, target, script, trained)
    run = ExportRun(options, contract, graph, target, recipes, baseline, judges, script)
    made: list[Made] = []
    parity: list[Parity] = []
    for format, make in (("onnx", _make_onnx), ("tflite", _make_tflite)):
        if format in options.formats:
            more, measured = make(run)
            made += more
            parity += measured
    parity = list(measure_turned(made, tuple(parity), judges, script))
    table = recipes.tables[0] if recipes is not None else None
    facts = known_facts(checkpoint.source, checkpoint.training)
    unproved = Unproved(assumed, verdict.doubts if verdict is not None else ())
    manifest, files = assemble(
        options, contract, made, tuple(parity), table, val, facts, run.speeds, unproved, frontier
    )
    with script.stage("write"):
        write_folder(out, files, _verify)
        total = sum(map(len, files.values()))
        but = "; its answers are not shown to be better than chance" if verdict and verdict.by_chance else ""
        script.figure(
            f"{out.name}, version {manifest.version}, {len(files)} files, {total / 1e6:.1f} MB, verified{but}"
        )
    return ExportResult(out, manifest, tuple(parity), script.to_json())


@dataclass(frozen=True, slots=True)
class ExportRun:
    """What both formats are made of."""

    options: ExportOptions
    contract: Contract
    graph: onnx.ModelProto
    target: Target
    recipes: Recipes | None
    baseline: TorchBaseline
    val: PhotographSet | None
    script: Transcript
    speeds: list[Speed] = field(default_factory=list)

    def gate(self, *made: Made) -> tuple[Parity, ...]:
        return pass_gate(self.options, self.baseline, made, self.val, self.script)


def _make_onnx(run: ExportRun) -> tuple[list[Made], tuple[Parity, ...]]:
    """Return the ONNX artifacts and their parity; int8 by the first recipe that the gate lets through."""
    contract, script = run.contract, run.script
    fp32 = Made("fp32", "onnx", finish(run.graph, contract))
    kept = [fp32] if "fp32" in run.options.precisions else []
    if run.recipes is None:
        return kept, run.gate(*kept)
    if read_cpu().u8s8_saturates is not False:
        script.warn(
            "this CPU may clip int8 sums (no VNNI): parity and golden vectors are those of exact sums, "
            "as Arm and x86 with VNNI give"
        )
    for number, proposed in enumerate(run.recipes, 1):
        with script.stage("quantize"):
            int8, table, layers = quantize_by(run.graph, proposed, run.recipes.inputs)
            recipe = recipe_json(table, run.target, layers)
            made = Made("int8", "onnx", finish(int8.model, contract), recipe, finish(int8.judged, contract))
            script.figure(describe(table, run.target))
        try:
            parity = run.gate(*kept, made)
        except GateClosedError as e:
            if number == len(run.recipes) or not _only_int8_failed(e):
                raise
            script.warn(_next_recipe(e, table.recipe.fp32_text))
            continue
        run.speeds.extend(compare_speed(fp32, made, contract, run.target, script))
        return [*kept, made], parity
    raise AssertionError  # the loop returns or raises


def _make_tflite(run: ExportRun) -> tuple[list[Made], tuple[Parity, ...]]:
    """Return the TFLite artifacts and their parity; int8 by the first recipe that the gate lets through."""
    from ecovision_edge_export.tflite.choose import open_once, tflite_recipe, tflite_trials
    from ecovision_edge_export.tflite.convert import convert
    from ecovision_edge_export.tflite.flatbuffer import finish as finish_tflite

    options, contract, script = run.options, run.contract, run.script
    with script.stage("convert"):
        fp32 = Made("fp32", "tflite", finish_tflite(convert(run.graph, contract), contract))
        open_once(fp32.data)
        script.figure(f"fp32 .tflite, {len(fp32.data) / 1e6:.1f} MB, opened and run once")
    kept = [fp32] if "fp32" in options.precisions else []
    if run.recipes is None:
        return kept, run.gate(*kept)
    table = run.recipes.tables[0]
    searched, trained = run.recipes.searched, table.trained
    blocks: tuple[int, ...] | None = None
    if options.fp32_blocks is not None:
        blocks = (options.fp32_blocks,)
    elif not searched and not trained:
        blocks = tuple(t.recipe.fp32_blocks for t in run.recipes.tables)
    trials = tflite_trials(
        run.graph,
        table,
        contract,
        run.recipes.inputs,
        target=run.target,
        agree=options.agree / 100 if searched else 0.0,  # synthetic frames judge nothing: the gate does
        fp32_blocks=blocks,
        progress=lambda done, total: script.progress("quantize", done, total),
    )
    closed: GateClosedError | None = None
    while True:
        with script.stage("quantize"):
            trial = next(trials, None)
            if trial is not None:
                made = Made("int8", "tflite", trial.data, tflite_recipe(trial, table, run.target))
                script.figure(
                    f"int8 .tflite for {run.target}, {len(trial.data) / 1e6:.1f} MB, blocks "
                    f"{trial.recipe.fp32_text} in fp32: SQNR {trial.fidelity.sqnr_db:.1f} dB"
                )
            elif closed is not None:
                raise closed
        assert trial is not None
        try:
            parity = run.gate(*kept, made)
        except GateClosedError as e:
            if not _only_int8_failed(e):
                raise
            closed = e
            script.warn(_next_recipe(e, trial.recipe.fp32_text))
            continue
        run.speeds.extend(compare_speed(fp32, made, contract, run.target, script))
        return [*kept, made], parity


def _judge(
    options: ExportOptions,
    baseline: TorchBaseline,
    contract: Contract,
    photographs: PhotographSet,
    script: Transcript,
) -> Verdict:
    return judge_network(
        baseline,
        contract,
        photographs,
        "--val",
        script,
        expect=options.expect_accuracy,
        waived=options.allow_parity_failure,
    )


def _only_int8_failed(error: GateClosedError) -> bool:
    return all(p.ok or p.artifact.startswith("int8") for p in error.parity)


def _next_recipe(error: GateClosedError, blocks: str) -> str:
    why = "; ".join(f for p in error.parity for f in p.failures())
    return f"blocks {blocks} in fp32 are not enough ({why}); the next recipe"


def _list(options: ExportOptions, contract: Contract) -> tuple[PhotographSet | None, PhotographSet | None]:
    """Return the photographs of --val and --calib, by the folders' names or --map."""
    folders = [folder for folder in (options.val, options.calib) if folder is not None]
    mapping: Mapping[str, int | None] = {}
    if options.map is not None:
        mapping = parse_map(options.map, contract.labels)
        if not folders:
            raise OptionError("--map", expected="--val or --calib, whose folders it names", found="neither")
        check_mapped(mapping, {folder: class_folders(folder) for folder in folders})
    return (
        list_photographs(options.val, contract.labels, "--val", mapping) if options.val else None,
        list_photographs(options.calib, None, "--calib", mapping) if options.calib else None,
    )


def _doubts(
    options: ExportOptions, checkpoint: Checkpoint, contract: Contract, val: PhotographSet | None
) -> Iterator[str]:
    """Yield what the options leave unproved, or contradict."""
    if checkpoint.labels is not None and contract.labels != checkpoint.labels:
        yield f"--labels are not those in the checkpoint ({short(checkpoint.labels)}): they win"
    yield from overruled(options, checkpoint)
    if val is not None and not val.labelled:
        yield "--val has no folders of classes: agreement is judged, accuracy is not"
    if val is None:
        yield "no --val: parity is measured on synthetic frames, which is weak evidence; the manifest says so"
    if options.int8 and (assumed := assumed_target(options.target, read_cpu())) is not None:
        yield assumed
    if options.calib is not None and not options.int8:
        yield "--calib is for int8 alone, and not used"


def prepare_graph(checkpoint: Checkpoint, contract: Contract, script: Transcript) -> onnx.ModelProto:
    """Return the fp32 graph with preprocessing folded, stage by stage."""
    spec = contract.input
    with script.stage("trace"):
        traced = trace(build_model(checkpoint), spec.height, spec.width)
        script.figure(f"{len(traced.graph.node)} nodes, opset {OPSET}, dynamic batch")
    with script.stage("simplify"):
        g = Graph(simplify(traced))
        script.figure(f"{len(g.model.graph.node)} nodes")
    with script.stage("fold"):
        fold_preprocessing(g, contract)
        script.figure(f"input {spec.layout} {spec.dtype} {spec.color} {spec.height}x{spec.width}")
    return g.model


def _verify(folder: Path) -> None:
    """Verify the new bundle in a process of its own: a model that crashes its engine kills only that."""
    command = [*VERIFIER, str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=VERIFY_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        found = f"no end after {VERIFY_SECONDS} s"
    else:
        if done.returncode == 0:
            return
        said = "; ".join(line for line in done.stdout.splitlines() if line.startswith("FAILED"))
        ended = (
            f"its process died of signal {-done.returncode}" if done.returncode < 0 else done.stderr[-300:]
        )
        found = said or ended.strip()
    raise ExportError(
        "the new bundle does not verify, nothing was written",
        expected="every check to pass",
        found=found,
        fix="export again; where it is int8 that fails, choose --precision fp32",
    )
