"""The export, whole: checkpoint, trace, simplify, fold, quantize, parity gate, bundle."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from ecovision_edge.base.device import read_cpu
from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.names import short
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.bundle.manifest import Manifest
from ecovision_edge.bundle.sizes import SizeEntry
from ecovision_edge.bundle.writing import check_target, write_folder
from ecovision_edge.errors import ExportError, OptionError
from ecovision_edge.photographs.labelled import check_mapped, class_folders, parse_map
from ecovision_edge_export.card import known_facts
from ecovision_edge_export.finished.made import Made
from ecovision_edge_export.finished.speed import Speed
from ecovision_edge_export.graph.fold import fold_preprocessing
from ecovision_edge_export.graph.graphs import Graph
from ecovision_edge_export.graph.sides import at_size
from ecovision_edge_export.graph.trace import OPSET, simplify, trace
from ecovision_edge_export.int8.stage import Recipes, find_recipes
from ecovision_edge_export.int8.table import CalibrationTable
from ecovision_edge_export.int8.trained import TrainedRanges
from ecovision_edge_export.making import ExportRun, make_artifacts
from ecovision_edge_export.options import ExportOptions, make_contract, overruled
from ecovision_edge_export.parity.baseline import TorchBaseline
from ecovision_edge_export.parity.doubts import Verdict, judge_network
from ecovision_edge_export.parity.figures import GateClosedError, Parity
from ecovision_edge_export.parity.frontier import Frontier
from ecovision_edge_export.parity.turning import measure_turned
from ecovision_edge_export.photographs.dataset import PhotographSet, list_photographs
from ecovision_edge_export.photographs.seen import Validation, read_validation
from ecovision_edge_export.publish.assemble import Unproved, assemble
from ecovision_edge_export.publish.assumptions import assumptions
from ecovision_edge_export.sizes import kept_sizes, measure_sizes, options_at, settle_size, sides_of
from ecovision_edge_export.targets import Target, assumed_target, resolve_targets
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
    work = _Work(checkpoint, calib, val, resolve_targets(options.target), script)
    frontier, graph, given = None, None, contract
    if sides and work.judges is not None:
        graph = prepare_graph(checkpoint, contract, script)
        frontier = measure_sizes(sides, options, contract, graph, work.judges, work.targets[0], script)
        options = settle_size(options, checkpoint, contract, frontier)
        contract = make_contract(options, checkpoint)
    assumed = assumptions(options, checkpoint)
    if assumed:
        script.warn(f"assumed: {', '.join(assumed)}: the checkpoint does not say")
    baseline = TorchBaseline(checkpoint, contract)
    verdict = None if work.judges is None else _judge(options, baseline, contract, work.judges, script)
    if graph is None:
        graph = prepare_graph(checkpoint, contract, script)
    unproved = Unproved(assumed, verdict.doubts if verdict is not None else ())
    made = work.make(options, contract, graph, baseline)
    others = {}
    if options.keep_sizes and frontier is not None:
        others = _other_sizes(work, options, given, contract, graph, frontier, unproved)
    kept = kept_sizes(frontier, contract, others) if frontier is not None and others else ()
    manifest, files = work.assemble(options, contract, made, unproved, frontier, kept)
    for size in kept:
        files |= {f"{size.folder}/{name}": data for name, data in others.get(size.side, {}).items()}
    with script.stage("write"):
        write_folder(out, files, _verify)
        total = sum(map(len, files.values()))
        but = "; its answers are not shown to be better than chance" if verdict and verdict.by_chance else ""
        script.figure(
            f"{out.name}, version {manifest.version}, {len(files)} files, {total / 1e6:.1f} MB, verified{but}"
        )
    return ExportResult(out, manifest, made.parity, script.to_json())


@dataclass(frozen=True, slots=True)
class _Artifacts:
    """What was made at one size."""

    made: tuple[Made, ...]
    parity: tuple[Parity, ...]
    table: CalibrationTable | None
    speeds: tuple[Speed, ...]


@dataclass(frozen=True, slots=True)
class _Work:
    """What the bundles of all sizes are made of."""

    checkpoint: Checkpoint
    calib: PhotographSet | None
    val: Validation | None
    targets: tuple[Target, ...]
    script: Transcript

    @property
    def judges(self) -> PhotographSet | None:
        """The photographs of --val, without those that the training saw where it says so."""
        return self.val.photographs if self.val is not None else None

    def make(
        self, options: ExportOptions, contract: Contract, graph: onnx.ModelProto, baseline: TorchBaseline
    ) -> _Artifacts:
        """Make and judge the models of one size; `graph` may be of another. Raises as `make_artifacts`."""
        checkpoint, script = self.checkpoint, self.script
        graph = at_size(graph, contract.input)
        recipes: dict[Target, Recipes] = {}
        if options.int8:
            text, name = checkpoint.quantization, checkpoint.source.source
            trained = TrainedRanges.loads(text, f"{name}: quantization") if text is not None else None
            recipes = find_recipes(options, contract, graph, self.calib, self.targets, script, trained)
        run = ExportRun(options, contract, graph, recipes, baseline, self.judges, script)
        made, parity = make_artifacts(run)
        parity = measure_turned(made, parity, self.judges, script)
        table = recipes[self.targets[0]].tables[0] if recipes else None
        return _Artifacts(made, parity, table, tuple(run.speeds))

    def assemble(
        self,
        options: ExportOptions,
        contract: Contract,
        found: _Artifacts,
        unproved: Unproved,
        frontier: Frontier | None = None,
        kept: tuple[SizeEntry, ...] = (),
    ) -> tuple[Manifest, dict[str, bytes]]:
        """Return the manifest, and every file of the bundle by name."""
        facts = known_facts(self.checkpoint.source, self.checkpoint.training)
        return assemble(
            options,
            contract,
            found.made,
            found.parity,
            found.table,
            self.val,
            facts,
            found.speeds,
            unproved,
            frontier,
            kept,
        )


def _other_sizes(
    work: _Work,
    options: ExportOptions,
    given: Contract,
    contract: Contract,
    graph: onnx.ModelProto,
    frontier: Frontier,
    unproved: Unproved,
) -> dict[int, dict[str, bytes]]:
    """Make the bundles of the other sizes; their files by size. What the gate refuses is left out, and told.

    Args:
        work: As of the bundle's own size.
        options: Of the bundle.
        given: The contract at the size that the options named.
        contract: The bundle's own.
        graph: Of any size.
        frontier: All sizes.
        unproved: Holds at every size.
    """
    found = {}
    for figure in frontier.figures:
        if figure.side == contract.input.height:
            continue
        with work.script.stage("size"):
            work.script.figure(f"{figure.side}x{figure.side}, beside {contract.input.height}")
        there = options_at(options, work.checkpoint, given, figure.side)
        theirs = make_contract(there, work.checkpoint)
        try:
            made = work.make(there, theirs, graph, TorchBaseline(work.checkpoint, theirs))
        except GateClosedError as e:
            why = "; ".join(f"{p.artifact} {failure}" for p in e.parity for failure in p.failures())
            work.script.warn(f"size {figure.side} is left out, the gate refuses it: {why or e.message}")
            continue
        found[figure.side] = work.assemble(there, theirs, made, unproved)[1]
    return found


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
