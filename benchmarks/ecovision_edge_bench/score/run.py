"""Decisions over frames: by `BinDecider` as a bin makes them, and by single frames as many bins do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias, Union

from ecovision_edge.decision import BinDecider, DeciderOptions, DecisionSettings
from ecovision_edge.errors import OptionError
from ecovision_edge.loop import LoopResult
from ecovision_edge.smart_bin import fit_options
from ecovision_edge_bench.score.match import Decision

if TYPE_CHECKING:
    from ecovision_edge.classifier import Classifier
    from ecovision_edge.prediction import Prediction
    from ecovision_edge.rules import Rules
    from ecovision_edge.simulation.pictures import Image

__all__ = ["ONE_FRAME_ABOVE", "Seen", "decide", "decide_by_single_frames", "default_rules", "make_decider"]

ONE_FRAME_ABOVE = 0.6
"""A score as one guesses it: bins in the field take 0.4 to 0.8."""

Seen: TypeAlias = tuple[Union["Image", LoopResult], float]
"""A frame, or one with its prediction, and its time, seconds from the first frame."""


def make_decider(
    classifier: Classifier, rules: Rules | None, options: DeciderOptions | None = None
) -> BinDecider:
    """Make a decider as `SmartBin` does, for frames alone: only those that are needed are classified.

    Without `options` it decides as the rules say; always by the picture, for a recording has no trigger.
    """
    if options is None:
        options = (DecisionSettings() if rules is None else rules.decision).options()
    options = replace(options, gate="picture")
    return BinDecider(
        classifier.labels,
        rules,
        fit_options(options, classifier),
        thresholds=classifier.contract.thresholds,
        views=classifier.contract.views,
        classify=classifier.classify,
        run="score",
    )


def decide(
    frames: Iterable[Seen], decider: BinDecider, progressed: Callable[[], None] = lambda: None
) -> list[Decision]:
    """Give the frames to a decider, by their own clock; its events.

    Raises:
        InferenceError: the engine failed. And whatever `frames` raises.
    """
    found: list[Decision] = []
    for seen, at_s in frames:
        # As `SmartBin` does with every frame: the part that is classified depends on those before it.
        observation = decider.observe(_image(seen), at_s)
        if isinstance(seen, LoopResult):
            observation = replace(seen.observation, look=observation.look)
        event = decider.step(observation, at_s)
        if event is not None:
            found.append(Decision(at_s, event.label, event.bin, event.reason))
        progressed()
    return found


def decide_by_single_frames(
    frames: Iterable[Seen],
    classify: Callable[[Image], Prediction],
    rules: Rules | None,
    *,
    above: float = ONE_FRAME_ABOVE,
    progressed: Callable[[], None] = lambda: None,
) -> list[Decision]:
    """Decide as a simple controller does: it acts on one frame, when its label is another one.

    It has no notion of an empty tray. It acts when a frame says a label with at least `above`, unless that
    is the label that it acted on last.

    Args:
        frames: With their times.
        classify: For frames without a prediction (`Classifier.classify`).
        rules: Where each label goes; None makes each label a bin of its own.
        above: The least score, 0 to 1.
        progressed: Called after each frame.

    Raises:
        OptionError: `above` is out of range.
    """
    if not 0 <= above <= 1:
        raise OptionError("the least score of a single frame", expected="0 to 1", found=above)
    found: list[Decision] = []
    last: str | None = None
    for seen, at_s in frames:
        said = seen.prediction if isinstance(seen, LoopResult) else None
        prediction = said or classify(_image(seen))  # a bin left it unclassified; it knows no empty tray
        if prediction.score >= above and prediction.label != last:
            last = prediction.label
            bin = last if rules is None else rules.bin_of[last]
            found.append(Decision(at_s, last, bin, f"{last} at {prediction.score:.2f} in one frame"))
        progressed()
    return found


def _image(seen: Image | LoopResult) -> Image:
    return seen.frame.image if isinstance(seen, LoopResult) else seen


def default_rules(labels: Sequence[str]) -> Rules | None:
    """Return the worked example of a German household, where the labels are its; else each label is a bin."""
    from importlib import resources

    from ecovision_edge.rules import Rules

    text = (resources.files("ecovision_edge") / "data" / "rules" / "de-household.toml").read_text("utf-8")
    rules = Rules.loads(text, "de-household.toml")
    return rules if set(labels) == set(rules.bin_of) else None
