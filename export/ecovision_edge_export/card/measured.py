"""The sections of a card that hold what was measured: accuracy, confusion, calibration, parity, latency."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ecovision_edge.base.device import read_machine
from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.markdown import plain, table
from ecovision_edge.base.probability import CALIBRATION_BINS
from ecovision_edge.base.stats import wilson_interval
from ecovision_edge.calibration.card import unfitted_section
from ecovision_edge_export.finished.speed import Speed
from ecovision_edge_export.parity.figures import Parity
from ecovision_edge_export.parity.outcomes import Outcome
from ecovision_edge_export.parity.tables import parity_rows

__all__ = ["accuracy_lines", "calibration_section", "latency_lines", "parity_lines"]

MOST_PAIRS = 8  # of confused classes


def accuracy_lines(parity: Sequence[Parity], validation: JsonValue) -> list[str]:
    """Accuracy by class, with counts and intervals, and the pairs that are confused most.

    Args:
        parity: Of each artifact.
        validation: What the manifest says of the photographs.
    """
    sides = _sides(parity)
    if not sides:
        return ["Not measured: no labelled photographs were given to the export."]
    first = parity[0]
    return [
        f"On the {first.images} labelled photographs given to the export. Correct: share of the class's "
        f"photographs [Wilson's 95 % interval].{_flattery(validation)}",
        "",
        *table(list(_class_rows(sides))),
        "",
        *_confusion_lines(sides),
    ]


def calibration_section(parity: Sequence[Parity]) -> list[str]:
    """Calibration error as exported, and the part that `calibrate` rewrites."""
    sides = _sides(parity)
    lines = ["As exported, at temperature 1, not measured: that takes labelled photographs."]
    if sides:
        lines = [
            f"Expected calibration error as exported, at temperature 1, in {CALIBRATION_BINS} bins, on the "
            "same photographs: how far the probability of an answer is from the share that is right.",
            "",
            *table([["", *(n for n, _ in sides)], ["ECE", *(f"{o.ece:.4f}" for _, o in sides)]]),
        ]
    return [*lines, "", *unfitted_section()]


def parity_lines(parity: Sequence[Parity]) -> list[str]:
    """Return the parity gate's table, and what was waived."""
    rows = [[cell.replace("|", "\\|") for cell in row] for row in parity_rows(parity)]
    lines = [_evidence(parity), *_in_fp16(parity), "", *table(rows)]
    waived = [f"- Waived: {p.artifact} {failure}." for p in parity for failure in p.failures()]
    return [*lines, *(["", *waived] if waived else [])]


def _in_fp16(parity: Sequence[Parity]) -> list[str]:
    """Say how fp16 was measured, if it was."""
    hows = dict.fromkeys(p.half.how for p in parity if p.half is not None)
    return [
        f"In fp16: what the model computes in fp32 was computed in half precision, {how}; the difference by "
        "it is from the same model's own logits."
        for how in hows
    ]


def latency_lines(speeds: Sequence[Speed]) -> list[str]:
    """Return what the export timed, and on which machine; or that it timed nothing."""
    how = "On a device, `ecovision-edge bench --bundle .` measures it end to end."
    if not speeds:
        return [f"Not measured at export. {how}"]
    machine = read_machine()
    name = plain(f"{machine.board or machine.cpu.model}, {machine.cpu.arch}")
    return [
        f"Of the network alone, one thread, on the machine of the export ({name}, {machine.usable_cores} "
        "cores): medians, the models in turn. What else that machine did meanwhile is not known, so this is "
        f"no benchmark, and holds for no other machine. {how}",
        "",
        *table(
            [["artifact", "ms", "runs"], *([s.artifact, f"{s.median_ms:.2f}", str(s.runs)] for s in speeds)]
        ),
    ]


def _flattery(validation: JsonValue) -> str:
    """Say what makes the accuracy too good; empty where its training data are unknown."""
    known = validation if isinstance(validation, Mapping) else {}
    trained, chosen = known.get("trained_on"), known.get("chosen_on")
    if trained is None:
        return ""
    parts = []
    if trained:
        parts.append(f"The weights were trained on {trained} of them: on new ones accuracy is less.")
    if chosen:
        parts.append(
            f"The training's best epoch was chosen by {chosen} of them, which flatters the accuracy a little."
        )
    return (
        "".join(f" {part}" for part in parts) or " As far as the checkpoint says, none took part in training."
    )


def _sides(parity: Sequence[Parity]) -> list[tuple[str, Outcome]]:
    """PyTorch and each artifact, where labelled photographs were measured."""
    first = parity[0]
    if first.evidence != "photographs" or first.torch_outcome is None:
        return []
    return [
        ("PyTorch", first.torch_outcome),
        *((p.artifact, p.outcome) for p in parity if p.outcome is not None),
    ]


def _class_rows(sides: Sequence[tuple[str, Outcome]]) -> Iterator[list[str]]:
    outcome = sides[0][1]
    yield ["class", "photographs", *(name for name, _ in sides)]
    everything = range(len(outcome.labels))
    for i in everything:
        images = outcome.images_of(i)
        yield [plain(outcome.labels[i]), str(images), *(_share(o.correct_of(i), images) for _, o in sides)]
    total = sum(map(outcome.images_of, everything))
    yield ["all", str(total), *(_share(sum(map(o.correct_of, everything)), total) for _, o in sides)]


def _share(correct: int, images: int) -> str:
    if not images:
        return "none seen"
    low, high = wilson_interval(correct, images)
    return f"{correct}: {100 * correct / images:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def _confusion_lines(sides: Sequence[tuple[str, Outcome]]) -> list[str]:
    """Return the pairs of which some side confuses most photographs, with the counts of all sides."""
    most: dict[tuple[str, str], int] = {}
    for _, outcome in sides:
        for c in outcome.confusions():
            most[c.truth, c.answer] = max(most.get((c.truth, c.answer), 0), c.images)
    pairs = sorted(most, key=lambda pair: -most[pair])[:MOST_PAIRS]
    if not pairs:
        return ["No photograph was called another class."]
    return [
        f"Confused most, of {len(most)} pairs of classes:" if len(most) > len(pairs) else "Confused:",
        "",
        *table(
            [
                ["it is", "called", *(name for name, _ in sides)],
                *([plain(t), plain(a), *(str(o.confused(t, a)) for _, o in sides)] for t, a in pairs),
            ]
        ),
    ]


def _evidence(parity: Sequence[Parity]) -> str:
    first = parity[0]
    if first.evidence == "generated":
        return (
            f"Measured on {first.images} synthetic frames, not on photographs: weak evidence. Agreement "
            f"counts the {first.judged} of them on which PyTorch itself is firm."
        )
    return (
        "PyTorch eager with torchvision and PIL against this runtime, end to end from "
        f"{first.images} image files; probabilities at temperature 1."
    )
