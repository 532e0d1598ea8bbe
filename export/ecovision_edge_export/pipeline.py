"""The export, whole: checkpoint, trace, simplify, fold, quantize, parity gate, bundle."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from ecovision_edge._fields import JsonValue
from ecovision_edge._version import __version__
from ecovision_edge.backends import BackendOptions
from ecovision_edge.backends.onnx import OnnxBackend
from ecovision_edge.bundle import MANIFEST_NAME
from ecovision_edge.classifier import Classifier
from ecovision_edge.contract import METADATA_KEY, Contract
from ecovision_edge.device import KERNEL_FEATURES, read_cpu
from ecovision_edge.drawn import draw_frame
from ecovision_edge.errors import ExportError
from ecovision_edge.golden import Golden
from ecovision_edge.manifest import ArtifactEntry, FileEntry, Manifest, Precision
from ecovision_edge.preprocess import Preprocessor
from ecovision_edge_export.baseline import TorchBaseline
from ecovision_edge_export.calibrate import CalibrationTable
from ecovision_edge_export.card import write_card
from ecovision_edge_export.checkpoint import REFERENCE, Checkpoint, build_model, load_checkpoint
from ecovision_edge_export.dataset import PhotographSet, list_photographs
from ecovision_edge_export.fold import fold_preprocessing
from ecovision_edge_export.int8 import (
    compare_speed,
    describe,
    find_recipes,
    noun_of,
    quantize_by,
    recipe_json,
    resolve_target,
)
from ecovision_edge_export.options import ExportOptions, make_contract
from ecovision_edge_export.parity import GateClosedError, Parity, budget_for, measure_parity
from ecovision_edge_export.trace import OPSET, simplify, trace
from ecovision_edge_export.transcript import Reporter, SilentReporter, Transcript
from ecovision_edge_export.write import check_target, write_folder

__all__ = ["ExportResult", "export_bundle", "prepare_graph"]

GOLDEN_VECTORS = 4
FP32_TOLERANCE = 1e-3  # of golden fp32 logits; the parity budget on identical inputs
VERIFIER = (sys.executable, "-m", "ecovision_edge", "verify")
VERIFY_SECONDS = 300

_LIBRARIES = ("torch", "torchvision", "onnx", "onnxscript", "onnxsim", "onnxruntime", "numpy", "pillow")


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What an export made: the bundle's folder, its manifest, the parity of each artifact, the transcript."""

    path: Path
    manifest: Manifest
    parity: tuple[Parity, ...]
    transcript: dict[str, JsonValue]

    def to_json(self) -> dict[str, JsonValue]:
        """All of it, every flip too."""
        return {
            "bundle": self.path.name,
            "name": self.manifest.name,
            "contract": self.manifest.contract.to_json(),
            "artifacts": [a.to_json() for a in self.manifest.artifacts],
            "parity": {p.artifact: p.to_json() for p in self.parity},
            "provenance": dict(self.manifest.provenance),
            **self.transcript,
        }


@dataclass(frozen=True, slots=True)
class _Made:
    """A finished model file and how it was made; gate and golden vectors run `judged`: see `exact`."""

    precision: Precision
    data: bytes
    judged: bytes
    recipe: dict[str, JsonValue]

    @property
    def name(self) -> str:
        return f"{self.precision}-onnx"


def export_bundle(options: ExportOptions, out: Path, reporter: Reporter | None = None) -> ExportResult:
    """Export a checkpoint to a verified bundle in the folder `out`.

    An older bundle in `out` is replaced, in one step, and only by one that passed.

    Raises:
        CheckpointError, DownloadError: the weights.
        OptionError, DatasetError, ImageReadError: the options, the photographs.
        GateClosedError: an artifact disagrees with PyTorch by more than its budget; nothing is written.
        BundleWriteError: `out` is no place to write a bundle to; nothing is changed.
        ExportError, StageError: a stage failed; the message says which.
    """
    check_target(out)
    script = Transcript(reporter or SilentReporter())
    with script.stage("load"):
        checkpoint = load_checkpoint(options.weights, num_classes=options.num_classes)
        contract = make_contract(options, checkpoint)
        script.figure(f"{checkpoint.source.source}, {checkpoint.num_classes} classes")
        for note in checkpoint.notes:
            script.warn(note)
    val = list_photographs(options.val, contract.labels, "--val") if options.val else None
    calib = list_photographs(options.calib, None, "--calib") if options.calib else None
    for warning in _doubts(options, checkpoint, contract, val):
        script.warn(warning)
    graph = prepare_graph(checkpoint, contract, script)
    made = []
    if "fp32" in options.precisions:
        fp32 = finish(graph, contract)
        made.append(_Made("fp32", fp32, fp32, {}))
    table: CalibrationTable | None = None
    if "int8" in options.precisions:
        made, parity, table = _int8_that_passes(
            options, checkpoint, contract, graph, made, calib, val, script
        )
    else:
        parity = _gate(options, checkpoint, contract, made, val, script)
    manifest, files = _assemble(options, contract, made, parity, table, val)
    with script.stage("write"):
        write_folder(out, files, _verify)
        total = sum(map(len, files.values()))
        script.figure(f"{out.name}, {len(files)} files, {total / 1e6:.1f} MB, verified")
    return ExportResult(out, manifest, parity, script.to_json())


def _int8_that_passes(
    options: ExportOptions,
    checkpoint: Checkpoint,
    contract: Contract,
    graph: onnx.ModelProto,
    fp32: list[_Made],
    calib: PhotographSet | None,
    val: PhotographSet | None,
    script: Transcript,
) -> tuple[list[_Made], tuple[Parity, ...], CalibrationTable]:
    """All artifacts and their parity; int8 by the first recipe that the gate lets through."""
    target = resolve_target(options.target)
    recipes = find_recipes(options, contract, graph, calib, target, script)
    if read_cpu().u8s8_saturates is not False:
        script.warn(
            "this CPU may clip int8 sums (no VNNI): parity and golden vectors are those of exact sums, "
            "as Arm and x86 with VNNI give"
        )
    for number, proposed in enumerate(recipes, 1):
        with script.stage("quantize"):
            int8, table, layers = quantize_by(graph, proposed, recipes.inputs)
            recipe = recipe_json(table, target, layers)
            made = [*fp32, _Made("int8", finish(int8.model, contract), finish(int8.judged, contract), recipe)]
            script.figure(describe(table, target))
        try:
            parity = _gate(options, checkpoint, contract, made, val, script)
        except GateClosedError as e:
            if number == len(recipes) or any(not p.ok for p in e.parity if p.artifact != "int8-onnx"):
                raise
            why = "; ".join(f for p in e.parity for f in p.failures())
            script.warn(f"blocks {table.recipe.fp32_text} in fp32 are not enough ({why}); the next recipe")
            continue
        compare_speed(finish(graph, contract), made[-1].data, contract, target, script)
        return made, parity, table
    raise AssertionError  # the loop returns or raises


def _doubts(
    options: ExportOptions, checkpoint: Checkpoint, contract: Contract, val: PhotographSet | None
) -> Iterator[str]:
    """What the options leave unproved, or contradict."""
    if checkpoint.labels is not None and contract.labels != checkpoint.labels:
        yield f"--labels are not those in the checkpoint ({', '.join(checkpoint.labels[:4])}, ...): they win"
    if checkpoint.labels is None and options.labels is None:
        yield "the checkpoint says no labels; those of EcoVision are taken for its ten classes"
    if val is not None and not val.labelled:
        yield "--val has no folder a class: agreement is judged, accuracy is not"
    if options.calib is not None and "int8" not in options.precisions:
        yield "--calib is for int8 alone, and not used"


def prepare_graph(checkpoint: Checkpoint, contract: Contract, script: Transcript) -> onnx.ModelProto:
    """The fp32 graph with preprocessing folded, stage by stage."""
    spec = contract.input
    with script.stage("trace"):
        traced = trace(build_model(checkpoint), spec.height, spec.width)
        script.figure(f"{len(traced.graph.node)} nodes, opset {OPSET}, dynamic batch")
    with script.stage("simplify"):
        simplified = simplify(traced)
        script.figure(f"{len(simplified.graph.node)} nodes")
    with script.stage("fold"):
        folded = fold_preprocessing(simplified, contract)
        script.figure(f"input {spec.layout} {spec.dtype} {spec.color} {spec.height}x{spec.width}")
    return folded


def finish(model: onnx.ModelProto, contract: Contract) -> bytes:
    """The model file: contract in the metadata, checked by `onnx.checker`, the same bytes each time."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    onnx.helper.set_model_props(result, {METADATA_KEY: contract.dumps()})
    onnx.checker.check_model(result, full_check=True)
    data: bytes = result.SerializeToString(deterministic=True)
    return data


def _gate(
    options: ExportOptions,
    checkpoint: Checkpoint,
    contract: Contract,
    made: list[_Made],
    val: PhotographSet | None,
    script: Transcript,
) -> tuple[Parity, ...]:
    """Measure parity; let through only what meets its budget, or what was waived."""
    if val is None:
        script.warn(
            "no --val: parity is measured on drawn frames, which is weak evidence; the manifest says so"
        )
    with script.stage("parity"):
        artifacts = {
            m.name: (
                Classifier(OnnxBackend(m.judged, BackendOptions(threads=1)), artifact=m.name),
                budget_for(m.precision, agree=options.agree, max_drop=options.max_drop),
            )
            for m in made
        }
        parity = measure_parity(
            TorchBaseline(checkpoint, contract),
            artifacts,
            val,
            lambda done, total: script.progress("parity", done, total),
        )
        script.figure(
            ", ".join(f"{p.artifact} agrees on {100 * p.agreement:.2f} %" for p in parity)
            + f" of {parity[0].judged} {noun_of(parity[0].evidence)}"
        )
        failures = [f"{p.artifact} {failure}" for p in parity for failure in p.failures()]
        if failures and not options.allow_parity_failure:
            flips = [f.image for p in parity if not p.ok for f in p.flips]
            raise GateClosedError(
                "parity failed, nothing was written",
                parity,
                script.to_json(),
                found="; ".join(failures) + (f"; flipped: {', '.join(flips[:8])}" if flips else ""),
                fix=_advice(parity),
            )
    for failure in failures:
        script.warn(f"waived by --allow-parity-failure: {failure}")
    return parity


def _assemble(
    options: ExportOptions,
    contract: Contract,
    made: list[_Made],
    parity: tuple[Parity, ...],
    table: CalibrationTable | None,
    val: PhotographSet | None,
) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest, and every file of the bundle by name."""
    inputs = Preprocessor(contract).prepare_batch([draw_frame(seed) for seed in range(GOLDEN_VECTORS)])
    # One thread: the device's self-test must not depend on how sums were split here.
    backends = {m.name: OnnxBackend(m.judged, BackendOptions(threads=1)) for m in made}
    logits = {
        name: np.concatenate([backend.run(inputs[i : i + 1]) for i in range(len(inputs))])
        for name, backend in backends.items()
    }
    golden = Golden(inputs, logits).dumps()
    files = {"golden.npz": golden}
    entries = []
    for m, p in zip(made, parity, strict=True):
        file = f"model.{m.precision}.onnx"
        files[file] = m.data
        entries.append(
            ArtifactEntry(
                _entry(file, m.data),
                "onnx",
                m.precision,
                _golden_tolerance(p),
                OPSET,
                recipe=m.recipe,
                parity=p.summary(),
            )
        )
    provenance: dict[str, JsonValue] = {
        "ecovision_edge": __version__,
        "versions": {name: importlib.metadata.version(name) for name in _LIBRARIES},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu_features": [*sorted(read_cpu().features & KERNEL_FEATURES)],
        "seed": options.seed,
        "calibration": _calibration_json(table),
        "validation": {
            "evidence": parity[0].evidence,
            "images": parity[0].images,
            "digest": val.digest() if val is not None else None,
        },
        "parity_waived": any(not p.ok for p in parity),
    }
    name = options.name or (REFERENCE if options.weights == REFERENCE else Path(contract.weights.source).stem)
    manifest = Manifest(name, contract, tuple(entries), _entry("golden.npz", golden), provenance)
    files[MANIFEST_NAME] = manifest.dumps()
    files["MODEL_CARD.md"] = write_card(manifest, parity).encode()
    return manifest, files


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


def _entry(file: str, data: bytes) -> FileEntry:
    return FileEntry(file, hashlib.sha256(data).hexdigest(), len(data))


def _calibration_json(table: CalibrationTable | None) -> JsonValue:
    if table is None:
        return None
    return {"evidence": table.evidence, "images": table.images, "digest": table.digest}


def _advice(parity: tuple[Parity, ...]) -> str:
    """What to do about a closed gate."""
    ways = ["look at the flips (--json has all)"] if any(p.flips for p in parity) else []
    if any(not p.ok and p.judged and p.artifact.startswith("int8") for p in parity):
        ways += ["give more --calib photographs", "raise --fp32-blocks", "ship fp32 alone (--precision fp32)"]
    return ", ".join([*ways, "or waive it with --allow-parity-failure"])


def _golden_tolerance(parity: Parity) -> float:
    """How far a device's logits may be from the golden ones: as far as this artifact's are from PyTorch's.

    For fp32 that is its budget.
    """
    return parity.budget.max_dlogit or max(FP32_TOLERANCE, float(f"{parity.max_dlogit:.2g}"))
