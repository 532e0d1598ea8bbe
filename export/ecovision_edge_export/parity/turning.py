"""The photographs that judged an export once more, turned: in a bin things lie as they fall."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ecovision_edge.classifier import Classifier
from ecovision_edge.photographs.images import read_image
from ecovision_edge.photographs.labelled import spread
from ecovision_edge.photographs.letterbox import strip_bars
from ecovision_edge.photographs.turns import MOST_TURNED, Picture, TurnCounter, TurnReport
from ecovision_edge_export.finished.made import Made
from ecovision_edge_export.parity.figures import Parity
from ecovision_edge_export.photographs.dataset import Photograph, PhotographSet
from ecovision_edge_export.transcript import Transcript

__all__ = ["QUARTERS", "count_turns", "measure_turned"]

QUARTERS = 4
"""Turns that an export measures: right, upside down, left, and upright beside them."""


def measure_turned(
    made: Sequence[Made], parity: tuple[Parity, ...], val: PhotographSet | None, script: Transcript
) -> tuple[Parity, ...]:
    """Return the parity of each artifact with its accuracy by turn; as it was without labelled photographs.

    Args:
        made: The artifacts.
        parity: Of each, in the same order.
        val: What judged them.
        script: Gets a stage.

    Raises:
        ImageReadError: a file is no image any more.
        InferenceError: an engine failed.
    """
    if val is None or not val.labelled:
        return parity
    chosen = spread(val.photographs, MOST_TURNED)
    with script.stage("turn"):
        reports = count_turns(made, chosen, lambda done: script.progress("turn", done, len(chosen)))
        turned = tuple(replace(p, turns=report) for p, report in zip(parity, reports, strict=True))
        script.figure("; ".join(filter(None, map(_words, turned))))
    return turned


def count_turns(
    made: Sequence[Made],
    photographs: Sequence[Photograph],
    progressed: Callable[[int], None],
    *,
    bars: bool = True,
) -> tuple[TurnReport, ...]:
    """Ask each model about the photographs at four turns; each file is read once.

    Args:
        made: The models.
        photographs: With labels, at least one.
        progressed: Called with how many are done, after each.
        bars: Whether the photographs count with their letterbox bars too; without, `published` of a report
            is its `stripped`, for half of the work.

    Raises:
        ImageReadError: a file is no image any more.
        InferenceError: an engine failed.
    """
    counters = [TurnCounter(QUARTERS, _predictor(Classifier(m.backend(), artifact=m.name))) for m in made]
    for done, photograph in enumerate(photographs, 1):
        picture = read_image(photograph.path)
        if not bars:
            picture = np.ascontiguousarray(strip_bars(picture))
        assert photograph.label is not None  # the set is labelled
        for counter in counters:
            counter.add(picture, photograph.label)
        progressed(done)
    return tuple(report for counter in counters if (report := counter.report()) is not None)


def _predictor(classifier: Classifier) -> Callable[[Sequence[Picture]], list[int]]:
    return lambda views: [classifier.classify(view).index for view in views]


def _words(parity: Parity) -> str | None:
    if parity.turns is None:
        return None
    t = parity.turns.stripped
    return (
        f"{parity.artifact} {100 * t.upright.accuracy:.1f} % upright, {100 * t.mean:.1f} % in the mean of "
        f"{len(t.by_turn)} turns, {100 * t.worst.accuracy:.1f} % at worst"
    )
