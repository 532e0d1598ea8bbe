"""Is PyTorch's own answer any good? Parity says that the export answers likewise, also where both are wrong.

A checkpoint rarely says how photographs were prepared, nor always the order of its labels. Where labelled
photographs show that the network hardly works, the mistakes that people make are tried out, and one that
explains the answers far better is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.stats import wilson_interval
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.errors import OptionError
from ecovision_edge_export.parity.assignment import best_assignment
from ecovision_edge_export.parity.baseline import TorchBaseline
from ecovision_edge_export.parity.figures import GateClosedError
from ecovision_edge_export.parity.measure import photograph_cases, torch_logits
from ecovision_edge_export.parity.variants import explain_by_preparation
from ecovision_edge_export.photographs.dataset import PhotographSet
from ecovision_edge_export.transcript import Transcript

__all__ = ["Verdict", "judge_network"]

FAR_BETTER = 0.05
"""Least gain in accuracy that a mistake is named for; above 1 less this no mistake is looked for."""

NEARLY_ALL = 0.9
_EXCESS = 0.3  # more answers of one class than photographs of it
_FEW = 10  # photographs; fewer show no pattern
_SHOWN = 20  # labels of another order


@dataclass(frozen=True, slots=True)
class Verdict:
    """What photographs say of PyTorch's answers.

    Args:
        images: Photographs.
        correct: Right answers; None where the photographs have no labels.
        chance: Accuracy of guessing, 0 to 1.
        doubts: What is likely wrong, a sentence each.
    """

    images: int
    correct: int | None
    chance: float
    doubts: tuple[str, ...] = ()

    @property
    def by_chance(self) -> bool:
        """Whether the accuracy is not shown to be better than guessing."""
        return self.correct is not None and wilson_interval(self.correct, self.images)[0] <= self.chance


def judge_network(
    baseline: TorchBaseline,
    contract: Contract,
    photographs: PhotographSet,
    option: str,
    script: Transcript,
    *,
    expect: float | None = None,
    waived: bool = False,
) -> Verdict:
    """Answer the photographs with PyTorch as the stage `judge`, and warn of what is likely wrong.

    Args:
        baseline: PyTorch; it remembers the answers for parity.
        contract: Says how photographs are prepared, and the labels.
        photographs: With or without labels.
        option: The option that named them, for messages.
        script: Runs the stage, and warns.
        expect: Least accuracy, per cent.
        waived: Whether an accuracy below `expect` is a warning alone.

    Raises:
        GateClosedError: the accuracy is below `expect`.
        OptionError: `expect` for photographs without labels.
        ImageReadError: a file that is no image.
    """
    if expect is not None and not photographs.labelled:
        raise OptionError(
            "--expect-accuracy",
            expected=f"{option} with one folder per class",
            found="photographs without labels",
        )
    labels = contract.labels
    with script.stage("judge"):
        logits = torch_logits(
            baseline, photograph_cases(photographs), lambda done, total: script.progress("judge", done, total)
        )
        answers = logits.argmax(axis=1)
        truth = _truth(photographs)
        doubts = [] if truth is None else list(_mistakes(answers, truth, labels, option))
        if truth is not None and not doubts and _poor(answers, truth):
            found = explain_by_preparation(
                baseline, contract, photographs, lambda done, total: script.progress("judge", done, total)
            )
            doubts += [found] if found is not None else []
        doubts += _one_class(answers, truth, labels, option)
        correct = None if truth is None else int((answers == truth).sum())
        verdict = Verdict(len(answers), correct, 1 / len(labels))
        if verdict.by_chance:
            doubts.insert(0, _chance(verdict, option))
        verdict = Verdict(verdict.images, correct, verdict.chance, tuple(doubts))
        script.figure(_figure(verdict, option))
    for doubt in doubts:
        script.warn(doubt)
    _expect(verdict, option, script, expect, waived=waived)
    return verdict


def _expect(verdict: Verdict, option: str, script: Transcript, expect: float | None, *, waived: bool) -> None:
    if expect is None or verdict.correct is None or 100 * verdict.correct >= expect * verdict.images:
        return
    found = f"{_share(verdict)} on {option}"
    if waived:
        script.warn(f"waived by --allow-parity-failure: expected an accuracy of {expect:g} %, found {found}")
        return
    raise GateClosedError(
        "PyTorch's own accuracy is below --expect-accuracy, nothing was written",
        (),
        script.to_json(),
        expected=f"{expect:g} %",
        found=found + (f": {verdict.doubts[-1]}" if verdict.doubts else ""),
        fix="check the labels' order and how photographs were prepared (--labels, --imgsz, --resize, --mean, "
        "--std), or waive it with --allow-parity-failure",
    )


def _truth(photographs: PhotographSet) -> npt.NDArray[np.intp] | None:
    known = [p.label for p in photographs.photographs if p.label is not None]
    return np.array(known, np.intp) if len(known) == len(photographs) else None


def _poor(answers: npt.NDArray[np.intp], truth: npt.NDArray[np.intp]) -> bool:
    """Return whether another explanation can be far better at all."""
    return len(truth) >= _FEW and float((answers == truth).mean()) <= 1 - FAR_BETTER


def _mistakes(
    answers: npt.NDArray[np.intp], truth: npt.NDArray[np.intp], labels: Sequence[str], option: str
) -> Iterator[str]:
    """Labels in another order, where that explains the answers far better.

    The order is found on one half of each class's photographs and judged on the other, both ways round:
    among many classes some order explains any answers.
    """
    if not _poor(answers, truth):
        return
    position = np.zeros(len(truth), int)
    for label in np.unique(truth):
        position[truth == label] = np.arange((truth == label).sum())
    right = 0
    for half in (0, 1):
        order = _order(answers[position % 2 == half], truth[position % 2 == half], len(labels))
        judged = position % 2 != half
        right += int((order[answers[judged]] == truth[judged]).sum())
    now = int((answers == truth).sum())
    far = right - now >= FAR_BETTER * len(truth)
    if far and wilson_interval(right, len(truth))[0] > wilson_interval(now, len(truth))[1]:
        order = _order(answers, truth, len(labels))
        renamed = [labels[i] for i in order]
        explained = int((order[answers] == truth).sum())
        yield (
            f"likely mistake: the labels are in another order. With {_named(labels, renamed)}, "
            f"{100 * explained / len(truth):.1f} % of {option} are right instead of "
            f"{100 * now / len(truth):.1f} %: give --labels in the order the model was trained on"
        )


def _order(answers: npt.NDArray[np.intp], truth: npt.NDArray[np.intp], classes: int) -> npt.NDArray[np.intp]:
    """For each output the class that it stands for in the best pairing."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (answers, truth), 1)
    return best_assignment(counts)


def _named(labels: Sequence[str], renamed: Sequence[str]) -> str:
    if tuple(renamed) == tuple(sorted(labels)):
        return "the labels sorted"
    if len(labels) <= _SHOWN:
        return "the order " + ", ".join(renamed)
    moved = [f"{new} for {old}" for old, new in zip(labels, renamed, strict=True) if old != new]
    return ", ".join(moved[:_SHOWN]) + (f" and {len(moved) - _SHOWN} more" if len(moved) > _SHOWN else "")


def _one_class(
    answers: npt.NDArray[np.intp],
    truth: npt.NDArray[np.intp] | None,
    labels: Sequence[str],
    option: str,
) -> list[str]:
    """Say where nearly all get one class that the photographs do not show."""
    counts = np.bincount(answers, minlength=len(labels))
    top = int(counts.argmax())
    share = float(counts[top]) / len(answers)
    if len(answers) < _FEW or share < NEARLY_ALL:
        return []
    said = f"PyTorch calls {100 * share:.0f} % of {option} {labels[top]}"
    if truth is None:
        return [f"{said}: if they show more than that, the weights or their preparation are wrong"]
    shown = float((truth == top).mean())
    if share - shown < _EXCESS:
        return []
    return [
        f"{said}, which {100 * shown:.0f} % of them are: likely untrained weights, or a wrong --mean or --std"
    ]


def _chance(verdict: Verdict, option: str) -> str:
    return (
        f"PyTorch itself is right on {_share(verdict)} of {option}: not shown to be better than chance "
        f"({100 * verdict.chance:.1f} %). That the export answers likewise proves nothing"
    )


def _share(verdict: Verdict) -> str:
    assert verdict.correct is not None  # its callers have labels
    low, high = wilson_interval(verdict.correct, verdict.images)
    return (
        f"{verdict.correct} of {verdict.images}, {100 * verdict.correct / verdict.images:.1f} % "
        f"(95 % interval {100 * low:.1f} to {100 * high:.1f})"
    )


def _figure(verdict: Verdict, option: str) -> str:
    if verdict.correct is None:
        return f"PyTorch answered {verdict.images} photographs of {option}, which have no labels"
    return f"PyTorch is right on {_share(verdict)} of {option}"
