"""The export, whole: checkpoint, trace, simplify, fold, quantize, parity gate, bundle."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import platform
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
from ecovision_edge.images import read_image
from ecovision_edge.manifest import ArtifactEntry, FileEntry, Manifest, Precision
from ecovision_edge.preprocess import Preprocessor
from ecovision_edge.verify import verify_bundle
from ecovision_edge_export.baseline import TorchBaseline
from ecovision_edge_export.calibrate import (
    REFERENCE_CALIBRATION,
    CalibrationTable,
    Evidence,
    NetworkInput,
    measure_ranges,
)
from ecovision_edge_export.card import write_card
from ecovision_edge_export.checkpoint import REFERENCE, Checkpoint, build_model, load_checkpoint
from ecovision_edge_export.dataset import PhotographSet, choose, list_photographs
from ecovision_edge_export.exact import as_devices_compute
from ecovision_edge_export.fold import fold_preprocessing
from ecovision_edge_export.options import ExportOptions, make_contract
from ecovision_edge_export.parity import (
    GENERATED_IMAGES,
    GateClosedError,
    Parity,
    budget_for,
    measure_parity,
)
from ecovision_edge_export.quantize import (
    MAX_FP32_BLOCKS,
    MIN_AGREEMENT,
    MIN_SQNR_DB,
    BlockChoice,
    blocks_of,
    choose_fp32_blocks,
    quantize,
)
from ecovision_edge_export.trace import OPSET, simplify, trace
from ecovision_edge_export.transcript import Reporter, SilentReporter, Transcript
from ecovision_edge_export.write import check_target, write_folder

__all__ = ["ExportResult", "calibrate", "export_bundle", "prepare_graph"]

GOLDEN_VECTORS = 4
FP32_TOLERANCE = 1e-3  # of golden fp32 logits; the parity budget on identical inputs
DEFAULT_FP32_BLOCKS = 4  # where no photograph can tell; see quantize

MIN_OTHERS = 32  # fewer say nothing of an agreement of 99 %
MAX_OTHERS = 256  # held in memory: 40 MB at 224 x 224 uint8

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
        table = calibrate(options, contract, graph, calib, script)
        with script.stage("quantize"):
            assert table.fp32_blocks is not None
            int8 = quantize(graph, table, table.fp32_blocks)
            judged = finish(as_devices_compute(int8), contract)
            made.append(_Made("int8", finish(int8, contract), judged, _recipe(table)))
            kept = sum(b <= table.fp32_blocks for b in blocks_of(graph).values())
            script.figure(f"QDQ u8s8 per channel, blocks 0-{table.fp32_blocks} ({kept} nodes) in fp32")
        if read_cpu().u8s8_saturates is not False:
            script.warn(
                "this CPU may clip int8 sums (no VNNI): parity and golden vectors are those of exact sums, "
                "as Arm and x86 with VNNI give; on this machine prefer fp32"
            )
    parity = _gate(options, checkpoint, contract, made, val, script)
    manifest, files = _assemble(options, contract, made, parity, table, val)
    with script.stage("write"):
        write_folder(out, files, _verify)
        total = sum(map(len, files.values()))
        script.figure(f"{out.name}, {len(files)} files, {total / 1e6:.1f} MB, verified")
    return ExportResult(out, manifest, parity, script.to_json())


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


def calibrate(
    options: ExportOptions,
    contract: Contract,
    graph: onnx.ModelProto,
    calib: PhotographSet | None,
    script: Transcript,
) -> CalibrationTable:
    """Ranges, and the number of leading blocks to keep in fp32.

    From the photographs in `calib`; else, for the reference, from the table that was recorded with it; else
    from drawn frames, which is weak, and said.
    """
    if calib is None and _recorded_fits(options):
        with script.stage("calibrate"):
            table = CalibrationTable.loads(REFERENCE_CALIBRATION.read_bytes(), REFERENCE_CALIBRATION.name)
            script.figure(f"ranges recorded with the reference, from {table.images} photographs")
            wanted = options.fp32_blocks
            return _with_blocks(table, table.fp32_blocks if wanted is None else wanted)
    photographs = others = None
    if calib is not None:
        photographs, others = choose(calib, options.calib_size, options.seed)
        if len(photographs) < options.calib_size:
            script.warn(
                f"--calib has {len(photographs)} photographs, fewer than the {options.calib_size} asked for"
            )
    else:
        script.warn(
            "no --calib: int8 ranges come from drawn frames, which is weak evidence; give photographs"
        )
    preprocessor = Preprocessor(contract)
    total = len(photographs) if photographs is not None else GENERATED_IMAGES
    evidence: Evidence = "photographs" if photographs is not None else "generated"
    with script.stage("calibrate"):
        table = measure_ranges(
            graph,
            lambda: _network_inputs(preprocessor, photographs),
            digest=photographs.digest() if photographs is not None else hashlib.sha256(b"drawn").hexdigest(),
            evidence=evidence,
            progress=lambda done: script.progress("calibrate", done, 2 * total),
        )
        folded = f", {len(table.silent)} constant excitations folded" if table.silent else ""
        script.figure(
            f"{len(table.ranges)} tensors over {table.images} {_noun(evidence)}, "
            f"{len(table.scales)} groups of channels equalized{folded}"
        )
    if options.fp32_blocks is not None:
        return _with_blocks(table, options.fp32_blocks)
    if others is None or len(others) < MIN_OTHERS:
        script.warn(
            f"fewer than {MIN_OTHERS} photographs left to choose fp32 blocks by: "
            f"{DEFAULT_FP32_BLOCKS} leading blocks stay fp32"
        )
        return _with_blocks(table, DEFAULT_FP32_BLOCKS)
    with script.stage("search"):
        others = PhotographSet(others.photographs[:MAX_OTHERS])
        rows = choose_fp32_blocks(
            graph,
            table,
            list(_network_inputs(preprocessor, others)),
            lambda tried: script.progress("search", tried, MAX_FP32_BLOCKS),
        )
        chosen = rows[-1]
        script.figure(
            f"{chosen.fp32_blocks} blocks in fp32: agreement {100 * chosen.agreement:.1f} %, "
            f"SQNR {chosen.sqnr_db:.1f} dB on {len(others)} other photographs{_tried(rows)}"
        )
    if not chosen.good:
        script.warn(
            f"{chosen.fp32_blocks} blocks in fp32 are the most that were tried, and not enough: expected "
            f"agreement >= {100 * MIN_AGREEMENT:g} % and SQNR >= {MIN_SQNR_DB:g} dB; the gate judges"
        )
    return _with_blocks(table, chosen.fp32_blocks)


def _network_inputs(preprocessor: Preprocessor, photographs: PhotographSet | None) -> Iterator[NetworkInput]:
    if photographs is None:
        for seed in range(GENERATED_IMAGES):
            yield preprocessor.prepare(draw_frame(10_000 + seed))  # not those that parity is judged by
    else:
        for photograph in photographs.photographs:
            yield preprocessor.prepare(read_image(photograph.path))


def _recorded_fits(options: ExportOptions) -> bool:
    """Whether the recorded ranges were measured on what will be exported."""
    default = ExportOptions(weights=REFERENCE)
    return options.weights == REFERENCE and all(
        getattr(options, name) == getattr(default, name)
        for name in ("mean", "std", "resize", "size", "input_form")
    )


def _with_blocks(table: CalibrationTable, blocks: int | None) -> CalibrationTable:
    chosen = DEFAULT_FP32_BLOCKS if blocks is None else blocks
    return dataclasses.replace(table, fp32_blocks=chosen)


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
            + f" of {parity[0].judged} {_noun(parity[0].evidence)}"
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
    report = verify_bundle(folder)
    if not report.ok:
        failed = "; ".join(f"{c.name}: {c.detail}" for c in report.checks if not c.ok)
        raise ExportError("the new bundle does not verify, nothing was written", found=failed)


def _entry(file: str, data: bytes) -> FileEntry:
    return FileEntry(file, hashlib.sha256(data).hexdigest(), len(data))


def _recipe(table: CalibrationTable) -> dict[str, JsonValue]:
    return {
        "format": "QDQ",
        "activations": "uint8 per tensor",
        "weights": "int8 per channel, of expansions 7 bits",
        "ranges": "least mean square error",
        "equalized": len(table.scales),
        "folded_excitations": [*table.silent],
        "fp32_blocks": table.fp32_blocks,
    }


def _calibration_json(table: CalibrationTable | None) -> JsonValue:
    if table is None:
        return None
    return {"evidence": table.evidence, "images": table.images, "digest": table.digest}


def _advice(parity: tuple[Parity, ...]) -> str:
    """What to do about a closed gate."""
    ways = ["look at the flips (--json has all)"] if any(p.flips for p in parity) else []
    if any(not p.ok and p.judged and p.artifact.startswith("int8") for p in parity):
        ways += ["give more --calib photographs", "raise --fp32-blocks"]
    return ", ".join([*ways, "or waive it with --allow-parity-failure"])


def _golden_tolerance(parity: Parity) -> float:
    """How far a device's logits may be from the golden ones: as far as this artifact's are from PyTorch's.

    For fp32 that is its budget.
    """
    return parity.budget.max_dlogit or max(FP32_TOLERANCE, float(f"{parity.max_dlogit:.2g}"))


def _tried(rows: tuple[BlockChoice, ...]) -> str:
    before = [f"{r.fp32_blocks}: {100 * r.agreement:.1f} %, {r.sqnr_db:.1f} dB" for r in rows[:-1]]
    return f" (fewer: {'; '.join(before)})" if before else ""


def _noun(evidence: str) -> str:
    return "photographs" if evidence == "photographs" else "drawn frames"
