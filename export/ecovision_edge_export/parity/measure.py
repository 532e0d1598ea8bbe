"""Parity: does the exported model, in the runtime that devices use, answer as PyTorch does?

On one side PyTorch eager with torchvision's preprocessing of PIL images, on the other the runtime's own
`Classifier`, each end to end from the image file. Parity is a gate: see `Budget`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from ecovision_edge.classifier import Classifier
from ecovision_edge.photographs.images import read_image
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge_export.parity.baseline import TorchBaseline
from ecovision_edge_export.parity.figures import Accuracy, Budget, Flip, HalfParity, Parity
from ecovision_edge_export.parity.outcomes import measure_outcome
from ecovision_edge_export.photographs.dataset import PhotographSet

__all__ = ["Half", "generated_cases", "measure_parity", "photograph_cases", "torch_logits"]

GENERATED_IMAGES = 128
FIRM_MARGIN = 0.2
"""On generated images only those count for agreement where PyTorch's own first class leads by this much
probability: a drawing that PyTorch itself is unsure of proves nothing either way."""

TENSOR_CHECKS = 256  # inputs on which logits are compared tensor to tensor
_BATCH = 16


@dataclass(frozen=True, slots=True)
class Case:
    """One image for both sides: its name, its label if known, and how each side gets at it."""

    name: str
    label: int | None
    frame: Callable[[], npt.NDArray[np.uint8]]
    prepare: Callable[[TorchBaseline], object]


@dataclass(frozen=True, slots=True)
class Half:
    """An artifact in fp16, to be measured beside itself; `how` and `gated` as of `HalfParity`."""

    classifier: Classifier
    budget: Budget
    how: str
    gated: bool


def photograph_cases(photographs: PhotographSet) -> Sequence[Case]:
    """Cases that each side reads from the file itself."""
    return [
        Case(
            p.name,
            p.label,
            lambda path=p.path: read_image(path),  # type: ignore[misc]
            lambda baseline, path=p.path: baseline.prepare_file(path),  # type: ignore[misc]
        )
        for p in photographs.photographs
    ]


def generated_cases(count: int) -> Sequence[Case]:
    """Synthetic frames, for want of photographs."""
    return [
        Case(
            f"drawn-{i}",
            None,
            lambda seed=i: draw_frame(seed),  # type: ignore[misc]
            lambda baseline, seed=i: baseline.prepare_frame(draw_frame(seed)),  # type: ignore[misc]
        )
        for i in range(count)
    ]


def torch_logits(
    baseline: TorchBaseline,
    cases: Sequence[Case],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> npt.NDArray[np.float32]:
    """PyTorch's logits `(n, classes)`, which the baseline remembers for who asks again.

    Raises:
        ImageReadError: a file that is no image.
    """
    rows, done = [], 0
    for group in _groups(cases, _BATCH):
        rows.append(_torch_logits(baseline, group))
        done += len(group)
        progress(done, len(cases))
    return np.concatenate(rows)


def measure_parity(
    baseline: TorchBaseline,
    artifacts: Mapping[str, tuple[Classifier, Budget]],
    photographs: PhotographSet | None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    halves: Mapping[str, Half] | None = None,
) -> tuple[Parity, ...]:
    """Compare each artifact with PyTorch on the photographs, or on synthetic frames where there are none.

    Args:
        baseline: PyTorch.
        artifacts: By name, the runtime's classifier and the budget.
        photographs: With or without labels; None for synthetic frames.
        progress: Called with the images done and their number.
        halves: For the names of some artifacts the same in fp16.

    Raises:
        ImageReadError: a file that is no image, on either side.
        InferenceError: an engine failed.
    """
    halves = halves or {}
    asked = {**artifacts, **{_in_fp16(name): (h.classifier, h.budget) for name, h in halves.items()}}
    cases = photograph_cases(photographs) if photographs is not None else generated_cases(GENERATED_IMAGES)
    every = max(1, math.ceil(len(cases) / TENSOR_CHECKS))
    torch_rows: list[npt.NDArray[np.float32]] = []
    rows: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in asked}
    dlogit = dict.fromkeys(asked, 0.0)
    done = 0
    for group in _groups(cases, _BATCH):
        torch_rows.append(_torch_logits(baseline, group))
        for position, case in enumerate(group):
            frame = case.frame()
            for name, (classifier, _) in asked.items():
                network_input = classifier.prepare(frame)
                logits = classifier.run(network_input)
                rows[name].append(logits)
                if (done + position) % every == 0:
                    same = baseline.logits(baseline.from_network_input(network_input))
                    dlogit[name] = max(dlogit[name], float(np.abs(logits - same).max()))
        done += len(group)
        progress(done, len(cases))
    expected = np.concatenate(torch_rows)
    evidence: Literal["photographs", "generated"] = "generated" if photographs is None else "photographs"
    found = {name: np.concatenate(rows[name]) for name in asked}
    compared = {
        name: _compare(
            name,
            evidence,
            cases,
            expected,
            found[name],
            classifier,
            budget,
            dlogit[name],
            len(range(0, len(cases), every)),
        )
        for name, (classifier, budget) in asked.items()
    }
    for name, half in halves.items():
        moved = float(np.abs(found[_in_fp16(name)] - found[name]).max())
        there = HalfParity(half.how, compared[_in_fp16(name)], moved, half.gated)
        compared[name] = replace(compared[name], half=there)
    return tuple(compared[name] for name in artifacts)


def _in_fp16(name: str) -> str:
    return f"{name} in fp16"


def _compare(
    name: str,
    evidence: Literal["photographs", "generated"],
    cases: Sequence[Case],
    expected: npt.NDArray[np.float32],
    found: npt.NDArray[np.float32],
    classifier: Classifier,
    budget: Budget,
    max_dlogit: float,
    tensors: int,
) -> Parity:
    p, q = classifier.probabilities(expected), classifier.probabilities(found)
    first, second = p.argmax(1), q.argmax(1)
    top = np.sort(p, axis=1)
    judged = (top[:, -1] - top[:, -2] >= FIRM_MARGIN) if evidence == "generated" else np.ones(len(p), bool)
    same = first == second
    largest = np.abs(p - q).max(axis=1)
    labels = classifier.labels
    flips = tuple(
        Flip(
            image=cases[i].name,
            torch_label=labels[first[i]],
            torch_score=float(p[i, first[i]]),
            label=labels[second[i]],
            score=float(q[i, second[i]]),
            truth=None if (at := cases[i].label) is None else labels[at],
        )
        for i in np.flatnonzero(~same).tolist()
    )
    truth = _truth(cases)
    return Parity(
        artifact=name,
        evidence=evidence,
        images=len(cases),
        judged=int(judged.sum()),
        agreed=int((same & judged).sum()),
        max_dp=float(largest.max()),
        mean_dp=float(largest.mean()),
        max_dlogit=max_dlogit,
        tensors=tensors,
        flips=flips,
        accuracy=None if truth is None else _accuracy(truth, first, second),
        budget=budget,
        torch_outcome=None if truth is None else measure_outcome(labels, truth, p),
        outcome=None if truth is None else measure_outcome(labels, truth, q),
    )


def _truth(cases: Sequence[Case]) -> npt.NDArray[np.intp] | None:
    """Return the label of each, where all have one."""
    known = [case.label for case in cases if case.label is not None]
    return np.array(known, np.intp) if len(known) == len(cases) else None


def _accuracy(
    truth: npt.NDArray[np.intp], first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]
) -> Accuracy:
    a, b = first == truth, second == truth
    return Accuracy(len(truth), int(a.sum()), int(b.sum()), int((a & ~b).sum()), int((b & ~a).sum()))


def _torch_logits(baseline: TorchBaseline, group: Sequence[Case]) -> npt.NDArray[np.float32]:
    import torch

    names = tuple(case.name for case in group)
    if names not in baseline.remembered:
        prepared = [case.prepare(baseline) for case in group]
        stacked = torch.stack([x for x in prepared if isinstance(x, torch.Tensor)])
        baseline.remembered[names] = baseline.logits(stacked)
    return baseline.remembered[names]


def _groups(cases: Sequence[Case], size: int) -> Iterator[Sequence[Case]]:
    for start in range(0, len(cases), size):
        yield cases[start : start + size]
