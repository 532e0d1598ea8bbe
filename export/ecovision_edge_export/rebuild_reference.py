"""Rebuild what ships inside the package: the reference's recorded ranges, and the int8 reference bundle.

With photographs, everything is measured again::

    python -m ecovision_edge_export.rebuild_reference --calib PHOTOGRAPHS --val PHOTOGRAPHS

Temperature, thresholds and views are then fitted to the photographs of `--val` as things lie in a bin:
without their letterbox bars, each at one of the four quarter turns.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.files import replace_file
from ecovision_edge.bundle.folder import Bundle, embedded_bundle_path
from ecovision_edge.bundle.views import parse_views
from ecovision_edge.bundle.writing import write_folder
from ecovision_edge.calibration import (
    Calibration,
    CalibrationOptions,
    Showing,
    calibrate,
    calibrated_bundle,
    classify_photographs,
    verify_calibrated,
)
from ecovision_edge.classifier import Classifier
from ecovision_edge.errors import EcovisionError
from ecovision_edge.photographs.labelled import find_labelled
from ecovision_edge_export.int8.stage import RECORDED_TARGET, find_recipes
from ecovision_edge_export.int8.table import REFERENCE_CALIBRATION, CalibrationTable
from ecovision_edge_export.options import ExportOptions, make_contract
from ecovision_edge_export.photographs.dataset import list_photographs
from ecovision_edge_export.pipeline import ExportResult, export_bundle, prepare_graph
from ecovision_edge_export.targets import resolve_targets
from ecovision_edge_export.transcript import Reporter, Transcript
from ecovision_edge_export.weights.checkpoint import REFERENCE, load_checkpoint

__all__ = [
    "REFERENCE_OPTIONS",
    "REFERENCE_VERSION",
    "calibrate_reference",
    "export_reference",
    "main",
    "record_ranges",
]

REFERENCE_VERSION = "2026.11"
"""Version of the shipped bundle: given, not dated, so that rebuilding it gives the same bytes on any day.

It rises by hand, with new weights, ranges or thresholds."""

REFERENCE_OPTIONS = ExportOptions(
    weights=REFERENCE,
    precisions=("int8",),
    name=REFERENCE,
    target=RECORDED_TARGET,
    version=REFERENCE_VERSION,
)
"""The options that the shipped bundle is exported with, `val` apart: fastest on a Pi, right everywhere."""


MAX_ERROR = 0.1
"""Of a class at its threshold; each item has the decider's own error rate, 0.05, to stay below as well."""


def record_ranges(calib: Path, reporter: Reporter | None = None) -> CalibrationTable:
    """Measure the reference's ranges and find its recipe on photographs; raises as `export_bundle`."""
    options = dataclasses.replace(REFERENCE_OPTIONS, calib=calib)
    checkpoint = load_checkpoint(REFERENCE)
    contract = make_contract(options, checkpoint)
    script = Transcript(reporter or Reporter())
    photographs = list_photographs(calib, None, "--calib")
    for note in photographs.notes:
        script.warn(note)
    graph = prepare_graph(checkpoint, contract, script)
    (target,) = resolve_targets(options.target)
    return find_recipes(options, contract, graph, photographs, (target,), script)[target][0]


def export_reference(out: Path, val: Path | None = None, reporter: Reporter | None = None) -> ExportResult:
    """Export the shipped bundle from the recorded ranges to `out`; raises as `export_bundle`."""
    return export_bundle(dataclasses.replace(REFERENCE_OPTIONS, val=val), out, reporter)


def calibrate_reference(bundle: Bundle, val: Path, out: Path) -> Calibration:
    """Fit temperature, thresholds and views of a bundle to photographs, and put it into the package.

    Args:
        bundle: Exported, anywhere.
        val: Photographs, one folder per class.
        out: Where it then is.

    Raises:
        DatasetError: too few photographs, or no folders of classes.
        BundleWriteError: the disk says no; what was there before is untouched.
    """
    classifier = Classifier.from_bundle(bundle)
    contract = classifier.contract
    showing = Showing(parse_views("auto", any_orientation=contract.any_orientation), turns=4, strip_bars=True)
    images = find_labelled(val, contract.labels).images
    seen = classify_photographs(classifier, [i.path for i in images], showing, whole=True)
    truth = np.array([images[i].label for i in seen.rows], np.intp)
    found = calibrate(
        contract.labels,
        seen.logits,
        truth,
        present=contract.temperature,
        options=CalibrationOptions(MAX_ERROR),
        views=showing.views,
    )
    evidence: dict[str, JsonValue] = {
        "artifact": classifier.artifact,
        "data": val.resolve().name,
        "turns": showing.turns,
        "bars_stripped": showing.strip_bars,
        **found.to_json(),
    }
    files = calibrated_bundle(bundle, found, evidence, REFERENCE_VERSION)
    write_folder(out, files, verify_calibrated)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of this module; the exit status."""
    from ecovision_edge_export.cli.screen import ConsoleReporter

    parser = argparse.ArgumentParser(
        prog="python -m ecovision_edge_export.rebuild_reference", description=__doc__
    )
    parser.add_argument("--calib", type=Path, help="photographs for new ranges; default: those recorded")
    parser.add_argument("--val", type=Path, required=True, help="photographs, one folder per class")
    parser.add_argument("--out", type=Path, default=embedded_bundle_path(), help="default: in the package")
    arguments = parser.parse_args(argv)
    reporter = ConsoleReporter()
    try:
        if arguments.calib is not None:
            replace_file(REFERENCE_CALIBRATION, [record_ranges(arguments.calib, reporter).dumps()])
        with tempfile.TemporaryDirectory() as folder:
            exported = Path(folder) / REFERENCE
            export_reference(exported, arguments.val, reporter)
            calibrate_reference(Bundle.open(exported), arguments.val, arguments.out)
    except EcovisionError as e:
        sys.stderr.write(f"{e}\n")
        return e.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
