"""Parity of a finished bundle, again or on other photographs."""

from __future__ import annotations

from pathlib import Path

from ecovision_edge.backends import BackendOptions
from ecovision_edge.bundle.contract import WeightsSource
from ecovision_edge.bundle.folder import Bundle
from ecovision_edge.classifier import Classifier
from ecovision_edge.errors import CheckpointError, OptionError
from ecovision_edge.photographs.labelled import check_mapped, class_folders, parse_map
from ecovision_edge_export.parity.baseline import TorchBaseline
from ecovision_edge_export.parity.doubts import judge_network
from ecovision_edge_export.parity.figures import Parity, budget_for
from ecovision_edge_export.parity.measure import measure_parity
from ecovision_edge_export.photographs.dataset import list_photographs
from ecovision_edge_export.photographs.seen import read_validation
from ecovision_edge_export.transcript import Reporter, Transcript
from ecovision_edge_export.weights.checkpoint import load_checkpoint

__all__ = ["recheck_parity", "weights_spec"]


def recheck_parity(
    path: Path,
    images: Path | None,
    *,
    map_text: str | None = None,
    weights: str | None = None,
    artifact: str | None = None,
    agree: float = 98.0,
    max_drop: float = 0.5,
    expect_accuracy: float | None = None,
    options: BackendOptions | None = None,
    reporter: Reporter | None = None,
) -> tuple[Parity, ...]:
    """Measure the parity of a bundle's artifacts with the checkpoint that they came from.

    Args:
        path: The bundle.
        images: Photographs, one folder per class or flat; None for synthetic frames.
        map_text: Folders of other names, as `ecovision_edge.photographs.labelled.parse_map` reads it.
        weights: The checkpoint, as `load_checkpoint` takes it; None takes the contract's source.
        artifact: One artifact's name; None is all.
        agree: Least int8 agreement, per cent.
        max_drop: Maximum drop of int8 accuracy, in percentage points.
        expect_accuracy: Least accuracy on `images`, per cent, of PyTorch and of each artifact.
        options: How the engines run; each artifact takes those of its own engine.
        reporter: Shows the stages.

    Raises:
        CheckpointError: not the checkpoint that the bundle was exported from, by its sha256.
        GateClosedError: PyTorch's accuracy is below `expect_accuracy`.
        Others: as `Bundle.open`, `Classifier.load`, `load_checkpoint`, `measure_parity`.
    """
    script = Transcript(reporter or Reporter())
    with script.stage("load"):
        bundle = Bundle.open(path)
        source = bundle.contract.weights
        try:
            checkpoint = load_checkpoint(weights or weights_spec(source), labels=bundle.contract.labels)
        except CheckpointError as e:
            raise CheckpointError(
                e.message, fix="give the checkpoint that the bundle was exported from with --weights"
            ) from e
        if checkpoint.source.sha256 != source.sha256:
            raise CheckpointError(
                "not the checkpoint that this bundle was exported from",
                expected=f"{source.source}, sha256 {source.sha256}",
                found=f"{checkpoint.source.source}, sha256 {checkpoint.source.sha256}",
                fix="give the right one with --weights",
            )
        entries = bundle.manifest.artifacts if artifact is None else (bundle.artifact(artifact),)
        artifacts = {
            e.name: (
                Classifier.from_bundle(bundle, e.name, (options or BackendOptions()).fitting(e.format)),
                budget_for(e.precision, agree=agree, max_drop=max_drop, expect=expect_accuracy),
            )
            for e in entries
        }
        script.figure(f"{bundle.manifest.name}: {', '.join(artifacts)}")
    photographs = None
    if images is None:
        script.warn("no --images: parity is measured on synthetic frames, which is weak evidence")
        if map_text is not None:
            raise OptionError("--map", expected="--images, whose folders it names", found="none")
        if expect_accuracy is not None:
            raise OptionError("--expect-accuracy", expected="--images in one folder per class", found="none")
    else:
        labels = bundle.contract.labels
        mapping = parse_map(map_text, labels) if map_text is not None else {}
        check_mapped(mapping, {images: class_folders(images)})
        listed = list_photographs(images, labels, "--images", mapping)
        for note in listed.notes:
            script.warn(note)
        photographs = read_validation(listed, checkpoint.seen, "--images", script).photographs
    baseline = TorchBaseline(checkpoint, bundle.contract)
    if photographs is not None:
        judge_network(baseline, bundle.contract, photographs, "--images", script, expect=expect_accuracy)
    with script.stage("parity"):
        result = measure_parity(
            baseline,
            artifacts,
            photographs,
            lambda done, total: script.progress("parity", done, total),
        )
        script.figure(", ".join(f"{p.artifact} {100 * p.agreement:.2f} %" for p in result))
    return result


def weights_spec(source: WeightsSource) -> str:
    """Say what `load_checkpoint` takes to find the contract's weights, the hub's at their revision."""
    if not source.source.startswith("hf://") or source.revision is None:
        return source.source
    owner, repo, file = source.source.removeprefix("hf://").split("/", 2)
    return f"hf://{owner}/{repo}@{source.revision}/{file}"
