"""MODEL_CARD.md, written from what was measured and from nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from ecovision_edge.manifest import ArtifactEntry, Manifest
from ecovision_edge_export.parity import Parity
from ecovision_edge_export.tables import parity_rows

__all__ = ["write_card"]


def write_card(manifest: Manifest, parity: Sequence[Parity]) -> str:
    """The text of MODEL_CARD.md."""
    contract = manifest.contract
    weights, spec, norm = contract.weights, contract.input, contract.normalization
    resize: str = contract.resize.mode
    if contract.resize.shortest is not None:
        resize = f"shorter edge to {contract.resize.shortest}, centre crop"
    revision = f" at {weights.revision}" if weights.revision else ""
    by = "in the graph" if norm.in_graph else "by the runtime"
    lines = [
        f"# {_plain(manifest.name)}",
        "",
        f"A garbage classifier of {len(contract.labels)} classes, exported by ecovision-edge "
        f"{manifest.provenance['ecovision_edge']}.",
        "",
        "| what | value |",
        "|---|---|",
        f"| architecture | {weights.architecture} |",
        f"| weights | {_plain(weights.source)}{revision} |",
        f"| weights sha256 | `{weights.sha256}` |",
        f"| labels | {_plain(', '.join(contract.labels))} |",
        f"| input | `{spec.name}`: {spec.layout} {spec.dtype} {spec.color}, {spec.height} x {spec.width} |",
        f"| resize | {resize}, filter `{contract.resize.filter}` |",
        f"| mean, std (RGB) | {norm.mean}, {norm.std}, {by} |",
        f"| output | `{contract.output.name}`: {contract.output.kind} |",
        "",
        "## Files",
        "",
        "| artifact | file | bytes | sha256 |",
        "|---|---|---|---|",
        *(_file_row(entry) for entry in manifest.artifacts),
        "",
        "## Parity with PyTorch",
        "",
        _evidence(parity),
        "",
        *_markdown(parity_rows(parity)),
        "",
        *(f"Waived: {p.artifact} {failure}." for p in parity for failure in p.failures()),
        "## Limits",
        "",
        "A label is not a decision: an empty tray, a hand, or an unknown item gets one of the labels too.",
        "The figures hold for photographs like those they were measured on.",
        "",
    ]
    return "\n".join(lines)


def _file_row(entry: ArtifactEntry) -> str:
    return f"| {entry.name} | `{entry.file.file}` | {entry.file.bytes} | `{entry.file.sha256}` |"


def _evidence(parity: Sequence[Parity]) -> str:
    first = parity[0]
    if first.evidence == "generated":
        return (
            f"Measured on {first.images} drawn frames, not on photographs: weak evidence. Agreement counts "
            f"the {first.judged} of them on which PyTorch itself is firm."
        )
    return (
        "PyTorch eager with torchvision and PIL against this runtime, end to end from "
        f"{first.images} image files."
    )


def _markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return [head, "|---" * len(rows[0]) + "|", *body]


def _plain(text: str) -> str:
    """Foreign text in a Markdown table."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("`", "'").replace("<", "&lt;")
