"""The head of a model card that the Hugging Face hub reads: YAML, by huggingface_hub's own writer.

https://huggingface.co/docs/hub/model-cards#model-card-metadata
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ecovision_edge.base.extras import require
from ecovision_edge.bundle.manifest import Manifest
from ecovision_edge_export.card.facts import Facts
from ecovision_edge_export.parity.figures import Parity

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

__all__ = ["front_matter"]


def front_matter(manifest: Manifest, parity: Sequence[Parity], facts: Facts) -> list[str]:
    """Return the lines from `---` to `---`.

    Licence and base model stand there where they are known, accuracy where labelled photographs were
    measured that the weights were not trained on, as far as is known.

    Raises:
        MissingDependencyError: the extra `export` is not installed.
    """
    require("huggingface_hub", "export", "0.30")
    from huggingface_hub import ModelCardData

    relation = facts.base_relation
    if facts.base_model and relation is None:  # the hub's own weights, converted
        relation = "quantized" if any(a.precision == "int8" for a in manifest.artifacts) else None
    results = list(_results(manifest, parity))
    data = ModelCardData(
        license=facts.license,
        library_name="ecovision-edge",
        pipeline_tag="image-classification",
        tags=_tags(manifest, facts),
        base_model=facts.base_model,
        base_model_relation=relation,
        metrics=["accuracy"] if results else None,
        model_name=manifest.name if results else None,
        eval_results=results or None,
    )
    return ["---", *data.to_yaml().splitlines(), "---"]


def _tags(manifest: Manifest, facts: Facts) -> list[str]:
    """Words to find it by, each true of what is in the bundle."""
    formats = sorted({a.format for a in manifest.artifacts})
    precisions = {a.precision for a in manifest.artifacts}
    words = [manifest.contract.weights.architecture, "image-classification", *formats, *facts.tags]
    return [*words, *(["int8", "quantized"] if "int8" in precisions else [])]


def _results(manifest: Manifest, parity: Sequence[Parity]) -> Iterator[EvalResult]:
    """Accuracy of each artifact; none of photographs without labels, or of those that were trained on."""
    from huggingface_hub import EvalResult

    validation = manifest.provenance.get("validation")
    known = validation if isinstance(validation, dict) else {}
    if known.get("trained_on"):
        return
    digest = known.get("digest")
    for p in parity:
        if p.evidence != "photographs" or p.accuracy is None:
            continue
        a = p.accuracy
        yield EvalResult(
            task_type="image-classification",
            dataset_type="imagefolder",  # the hub's word for one folder per class
            dataset_name="labelled photographs of the exporter's own",
            dataset_args={"images": a.images, **({"sha256": digest} if digest else {})},
            metric_type="accuracy",
            metric_name=f"top-1 accuracy, {p.artifact}",
            metric_value=round(a.artifact_correct / a.images, 6),
        )
