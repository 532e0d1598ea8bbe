"""The manifest, the golden vectors and all other files of a bundle."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timezone
from pathlib import Path

import numpy as np

from ecovision_edge.base.device import KERNEL_FEATURES, read_cpu
from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.version import __version__
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.bundle.folder import MANIFEST_NAME
from ecovision_edge.bundle.golden import Golden
from ecovision_edge.bundle.identity import dated_version
from ecovision_edge.bundle.manifest import ArtifactEntry, FileEntry, Format, Manifest
from ecovision_edge.bundle.sizes import SizeEntry
from ecovision_edge.preprocess import Preprocessor
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge_export.card import CARD_NAME, Facts, write_card
from ecovision_edge_export.finished.made import Made
from ecovision_edge_export.finished.speed import Speed
from ecovision_edge_export.int8.table import CalibrationTable
from ecovision_edge_export.options import ExportOptions
from ecovision_edge_export.parity.figures import Parity
from ecovision_edge_export.parity.frontier import Frontier
from ecovision_edge_export.photographs.seen import Validation
from ecovision_edge_export.weights.checkpoint import REFERENCE

__all__ = ["Unproved", "assemble", "export_day"]

GOLDEN_VECTORS = 4
FP32_TOLERANCE = 1e-3  # of golden fp32 logits; the parity budget on identical inputs

_EVERY = ("torch", "torchvision", "onnx", "onnxscript", "onnxsim", "onnxruntime", "numpy", "pillow")
_LIBRARIES: dict[Format, tuple[str, ...]] = {
    "onnx": _EVERY,
    "tflite": (*_EVERY, "litert-torch", "ai-edge-quantizer", "ai-edge-litert"),
}


@dataclass(frozen=True, slots=True)
class Unproved:
    """What parity says nothing of: what was assumed, and what is likely wrong; a sentence each."""

    assumed: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def assemble(
    options: ExportOptions,
    contract: Contract,
    made: Sequence[Made],
    parity: tuple[Parity, ...],
    table: CalibrationTable | None,
    val: Validation | None,
    facts: Facts,
    speeds: Sequence[Speed] = (),
    unproved: Unproved | None = None,
    frontier: Frontier | None = None,
    sizes: tuple[SizeEntry, ...] = (),
) -> tuple[Manifest, dict[str, bytes]]:
    """Return the manifest, and every file of the bundle by name."""
    inputs = Preprocessor(contract).prepare_batch([draw_frame(seed) for seed in range(GOLDEN_VECTORS)])
    backends = {m.name: m.backend() for m in made}
    logits = {
        name: np.concatenate([backend.run(inputs[i : i + 1]) for i in range(len(inputs))])
        for name, backend in backends.items()
    }
    golden = Golden(inputs, logits).dumps()
    files = {"golden.npz": golden}
    entries = []
    for m, p in zip(made, parity, strict=True):
        files[m.file] = m.data
        entries.append(
            ArtifactEntry(
                _entry(m.file, m.data),
                m.format,
                m.precision,
                _golden_tolerance(p),
                m.opset,
                recipe=m.recipe,
                parity=p.summary(),
                targets=m.targets,
            )
        )
    provenance: dict[str, JsonValue] = {
        "ecovision_edge": __version__,
        "versions": {name: importlib.metadata.version(name) for m in made for name in _LIBRARIES[m.format]},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu_features": [*sorted(read_cpu().features & KERNEL_FEATURES)],
        "seed": options.seed,
        "calibration": _calibration_json(table),
        "validation": {
            "evidence": parity[0].evidence,
            "images": parity[0].images,
            **(val.to_json() if val is not None else {"digest": None}),
        },
        "parity_waived": any(not p.ok for p in parity),
        **({"sizes": frontier.to_json()} if frontier is not None else {}),
        **({"training": dict(facts.record)} if facts.record else {}),
        **({"assumed": [*unproved.assumed]} if unproved and unproved.assumed else {}),
        **({"doubts": [*unproved.doubts]} if unproved and unproved.doubts else {}),
    }
    name = options.name or (REFERENCE if options.weights == REFERENCE else Path(contract.weights.source).stem)
    manifest = Manifest(name, contract, tuple(entries), _entry("golden.npz", golden), provenance, sizes=sizes)
    version = options.version or dated_version(export_day(os.environ), manifest.dumps())
    manifest = replace(manifest, version=version)
    files[MANIFEST_NAME] = manifest.dumps()
    shipped = {m.name for m in made}  # fp32 is timed beside int8 where it is not asked for, too
    timed = [s for s in speeds if s.artifact in shipped]
    files[CARD_NAME] = write_card(manifest, parity, facts, timed, frontier).encode()
    return manifest, files


def export_day(environment: Mapping[str, str]) -> date:
    """Return the day in UTC; that of SOURCE_DATE_EPOCH where a build is to give the same bytes on any day.

    Source: reproducible-builds.org/specs/source-date-epoch: seconds since 1970.
    """
    epoch = environment.get("SOURCE_DATE_EPOCH", "")
    if epoch.isascii() and epoch.isdigit() and len(epoch) <= 11:
        return datetime.fromtimestamp(int(epoch), timezone.utc).date()
    return datetime.now(timezone.utc).date()


def _entry(file: str, data: bytes) -> FileEntry:
    return FileEntry(file, hashlib.sha256(data).hexdigest(), len(data))


def _calibration_json(table: CalibrationTable | None) -> JsonValue:
    if table is None:
        return None
    return {"evidence": table.evidence, "images": table.images, "digest": table.digest}


def _golden_tolerance(parity: Parity) -> float:
    """Say how far logits of a device may be from the golden ones: as far as this artifact's from PyTorch's.

    For fp32 that is its budget.
    """
    return parity.budget.max_dlogit or max(FP32_TOLERANCE, float(f"{parity.max_dlogit:.2g}"))
