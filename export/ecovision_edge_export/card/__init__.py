"""MODEL_CARD.md, written from what was measured and from what is known, and from nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.markdown import plain, section, table
from ecovision_edge.bundle.manifest import ArtifactEntry, Manifest
from ecovision_edge_export.card.facts import Facts, known_facts
from ecovision_edge_export.card.front_matter import front_matter
from ecovision_edge_export.card.measured import (
    accuracy_lines,
    calibration_section,
    latency_lines,
    parity_lines,
)
from ecovision_edge_export.card.sizes import size_lines
from ecovision_edge_export.card.turned import turn_lines
from ecovision_edge_export.finished.speed import Speed
from ecovision_edge_export.parity.figures import Parity
from ecovision_edge_export.parity.frontier import Frontier

__all__ = ["CARD_NAME", "FETCH", "Facts", "known_facts", "write_card"]

CARD_NAME = "MODEL_CARD.md"
MOST_OF_DOUBT = 1000  # characters

FETCH = "fetch"
"""The part of the card that says where the bundle can be had; what pushes it to a hub fills it in."""

_GENERAL_LIMITS = (
    "A label is not a decision: an empty tray, a hand, or an unknown item gets one of the labels too.",
    "The figures hold for photographs like those they were measured on.",
)


def write_card(
    manifest: Manifest,
    parity: Sequence[Parity],
    facts: Facts | None = None,
    speeds: Sequence[Speed] = (),
    frontier: Frontier | None = None,
) -> str:
    """Return the text of MODEL_CARD.md: the same for the same arguments, the latency's machine apart.

    Args:
        manifest: Of the bundle.
        parity: Of each artifact.
        facts: What is known of the weights; None is nothing.
        speeds: What was timed on this machine.
        frontier: Accuracy and cost at several sizes, if they were measured.
    """
    facts = facts or Facts()
    contract = manifest.contract
    lines = [
        *front_matter(manifest, parity, facts),
        "",
        f"# {plain(manifest.name)}",
        "",
        f"A classifier of images into {len(contract.labels)} classes: torchvision's "
        f"`{contract.weights.architecture}`, exported by ecovision-edge "
        f"{manifest.provenance['ecovision_edge']} to run on small computers without PyTorch. This folder is "
        "a bundle: models, the contract that says how to prepare their input, and test vectors.",
    ]
    sections = {
        "Use": _use(manifest),
        "Contract": table(_contract_rows(manifest, facts)),
        "Files": _files(manifest),
        "Training data and recipe": [*(facts.training or ("Not known.",))],
        "Accuracy by class": accuracy_lines(parity, manifest.provenance.get("validation")),
        "Accuracy by turn": turn_lines(parity, facts.turns),
        **({"Sizes": size_lines(frontier, manifest.sizes)} if frontier is not None else {}),
        "Calibration": calibration_section(parity),
        "Parity with PyTorch": parity_lines(parity),
        "Latency": latency_lines(speeds),
        "Limits": [
            f"- {limit}"
            for limit in (*facts.limits, *_unproved(manifest), *_GENERAL_LIMITS, *_int8_limits(manifest))
        ],
    }
    for title, body in sections.items():
        lines += ["", f"## {title}", "", *body]
    return "\n".join([*lines, ""])


def _unproved(manifest: Manifest) -> list[str]:
    """Return what the export took for granted, and what it found to be likely wrong."""
    assumed, doubts = (manifest.provenance.get(key) for key in ("assumed", "doubts"))
    lines = [f"{plain(str(doubt), MOST_OF_DOUBT)}." for doubt in doubts] if isinstance(doubts, list) else []
    if isinstance(assumed, list) and assumed:
        said = ", ".join(plain(str(item)) for item in assumed)
        lines.append(f"Assumed, since the checkpoint does not say it: {said}.")
    return lines


def _int8_limits(manifest: Manifest) -> list[str]:
    """Return where int8 sums are not the same on every CPU; see `ecovision_edge_export.int8.exact`."""
    clipped = [a.name for a in manifest.artifacts if str(a.recipe.get("activations")).startswith("uint8")]
    return [
        f"The figures of {name} are those of exact integer sums, which Arm and x86 with VNNI compute. Other "
        "x86 clips some of them, and now and then answers otherwise."
        for name in clipped
    ]


def _use(manifest: Manifest) -> list[str]:
    source = "./ecovision-edge"
    if all(a.format == "tflite" for a in manifest.artifacts):
        source = f"'{source}[litert]'"
    return [
        *section(FETCH, []),
        "In the folder of this card, with Python 3.10 or newer and some `photo.jpg`:",
        "",
        "```sh",
        f"pip install {source}  # a copy of its source",
        "ecovision-edge verify .",
        "ecovision-edge classify photo.jpg --bundle .",
        "```",
        "",
        "```python",
        "from ecovision_edge import Classifier, read_image",
        "",
        'classifier = Classifier.load(".")',
        'prediction = classifier.classify(read_image("photo.jpg"))',
        "print(prediction.label, prediction.score)",
        "```",
    ]


def _contract_rows(manifest: Manifest, facts: Facts) -> list[list[str]]:
    contract = manifest.contract
    weights, spec, norm = contract.weights, contract.input, contract.normalization
    resize: str = contract.resize.mode
    if contract.resize.shortest is not None:
        resize = f"shorter edge to {contract.resize.shortest}, centre crop"
    revision = f" at {plain(weights.revision)}" if weights.revision else ""
    by = "in the graph" if norm.in_graph else "by the runtime"
    return [
        ["what", "value"],
        ["architecture", plain(weights.architecture)],
        ["weights", f"{plain(weights.source)}{revision}"],
        ["weights sha256", f"`{weights.sha256}`"],
        ["licence of the weights", facts.license or "not known"],
        ["labels, in order", ", ".join(map(plain, contract.labels))],
        ["input", f"`{spec.name}`: {spec.layout} {spec.dtype} {spec.color}, {spec.height} x {spec.width}"],
        ["resize", f"{resize}, filter `{contract.resize.filter}`"],
        ["mean, std (RGB)", f"{norm.mean}, {norm.std}, {by}"],
        ["output", f"`{contract.output.name}`: {contract.output.kind}"],
    ]


def _files(manifest: Manifest) -> list[str]:
    """Hashes, and how int8 was made. A calibration looks for the end of a row as it stands here."""
    rows = [["artifact", "file", "bytes", "sha256"]]
    for entry in manifest.artifacts:
        file = entry.file
        rows.append([entry.name, f"`{file.file}`", str(file.bytes), f"`{file.sha256}`"])
    made = [
        f"- {entry.name}: {_recipe(entry, manifest.provenance.get('calibration'))}"
        for entry in manifest.artifacts
        if entry.recipe
    ]
    return [
        *table(rows),
        "",
        "`bundle.json` is the manifest; `golden.npz` holds inputs, and the outputs expected of them.",
        *(["", *made] if made else []),
    ]


def _recipe(entry: ArtifactEntry, calibration: JsonValue) -> str:
    """Return how an int8 artifact was made, in a sentence."""
    recipe = entry.recipe
    ranges = f"ranges by {recipe.get('ranges')}"
    if isinstance(calibration, dict):
        generated = calibration.get("evidence") == "generated"
        seen = f"{calibration.get('images')} {'synthetic frames' if generated else 'photographs'}"
        if recipe.get("ranges") == "trained":
            ranges = f"ranges of a quantization-aware training, measured on {seen} before it"
        else:
            ranges = f"{ranges} from {seen}"
    serves = recipe.get("serves")
    others = f", serving {', '.join(map(str, serves))} too" if isinstance(serves, list) else ""
    return (
        f"quantized for {recipe.get('target')}{others}, {recipe.get('format')}: activations "
        f"{recipe.get('activations')}, weights {recipe.get('weights')}, {ranges}; "
        f"blocks {recipe.get('fp32_blocks')} in fp32."
    )
