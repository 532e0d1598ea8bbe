"""What must give no event, and what must not keep one away; a developers' tool.

    python -m ecovision_edge_bench.score.gates [--items 10] [--photographs DIR] [--only jitter]

A row for each trial: a script of `--items` things, or of as many distractors on an empty tray, and what the
decider made of them. Without photographs the things are synthetic, and their labels mean nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ecovision_edge.base.columns import plain_table
from ecovision_edge.base.fields import JsonValue
from ecovision_edge.cli.output import progress_bar, write_json
from ecovision_edge.errors import OptionError
from ecovision_edge.simulation.composed import compose
from ecovision_edge.simulation.script import (
    Arrival,
    Camera,
    Departure,
    Empty,
    Hand,
    Item,
    Light,
    Meanwhile,
    Script,
    Step,
)
from ecovision_edge_bench.score.compose import ordinary_things
from ecovision_edge_bench.score.document import document
from ecovision_edge_bench.score.match import Score
from ecovision_edge_bench.score.measuring import add_arguments, consoles, make_judge, run_tool

__all__ = ["TRIALS", "Trial", "main", "trial_script"]

Things = Sequence[tuple[str, str | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One row.

    Args:
        name: In the table.
        camera: What is done to each frame.
        comes, goes: Of the things.
        meanwhile: What happens while each of them lies there.
        alone: Steps without a thing, done as often as there would be things; none: things come.
        stays: Seconds that each lies there.
    """

    name: str
    camera: Camera = field(default_factory=Camera)
    comes: Arrival = "slide"
    goes: Departure = "slide"
    meanwhile: tuple[Meanwhile, ...] = ()
    alone: tuple[Step, ...] = ()
    stays: float = 4.5


def _lamp(factor: float, over: float) -> tuple[Step, ...]:
    return Light(factor, over), Empty(4.0), Light(1.0, over), Empty(4.0)


TRIALS: tuple[Trial, ...] = (
    *(Trial(name=f"jitter {px:g} px", camera=Camera(jitter_px=px)) for px in (0.0, 0.05, 0.1, 0.3, 1.0)),
    *(Trial(name=f"grain {levels:g} levels", camera=Camera(grain=levels)) for levels in (3.0, 6.0)),
    *(Trial(name=f"flicker {share:.0%}", camera=Camera(flicker=share)) for share in (0.02, 0.05, 0.1)),
    Trial(name="light +-20 % in 20 s", camera=Camera(drift=0.2, drift_period_s=20)),
    Trial(name="falls", comes="drop", goes="gone"),
    Trial(name="laid and taken by hand", comes="hand", goes="hand"),
    Trial(name="pushed", meanwhile=(Meanwhile("nudge", 1.0),), stays=5.5),
    Trial(name="pushed after 3 s", meanwhile=(Meanwhile("nudge", 3.0),), stays=5.5),
    Trial(name="a hand over it", meanwhile=(Meanwhile("hand", 0.6),), stays=5.5),
    Trial(
        name="lamp x 2 over it",
        meanwhile=(Meanwhile("light", 0.6, 2.0, 0.1), Meanwhile("light", 4.5, 1.0, 0.1)),
        stays=5.5,
    ),
    Trial(
        name="lamp x 0.5 over it",
        meanwhile=(Meanwhile("light", 0.6, 0.5, 0.1), Meanwhile("light", 4.5, 1.0, 0.1)),
        stays=5.5,
    ),
    Trial(name="swapped, never empty", comes="swap", goes="swap"),
    Trial(name="stays for a minute", stays=60.0),
    Trial(name="nothing comes", alone=(Empty(8.0),)),
    Trial(name="nothing, flicker 10 %", alone=(Empty(8.0),), camera=Camera(flicker=0.1)),
    Trial(name="nothing, jitter 0.3 px", alone=(Empty(8.0),), camera=Camera(jitter_px=0.3)),
    Trial(name="lamp x 2, tray empty", alone=_lamp(2.0, 0.1)),
    Trial(name="lamp x 1.3, tray empty", alone=_lamp(1.3, 0.1)),
    Trial(name="lamp x 0.5, tray empty", alone=_lamp(0.5, 0.1)),
    Trial(name="lamp x 0.5 over 3 s", alone=_lamp(0.5, 3.0)),
    Trial(name="a hand passes", alone=(Hand(0.0), Empty(3.0))),
    Trial(name="a hand rests 1 s", alone=(Hand(1.0), Empty(3.0))),
    Trial(name="a hand rests 3 s", alone=(Hand(3.0), Empty(3.0))),
    Trial(name="a hand rests 6 s", alone=(Hand(6.0), Empty(3.0))),
)
"""All of them, in the order of the table."""


def trial_script(trial: Trial, things: Things, seed: int) -> Script:
    """Return the script of a trial: these things come, or its distractors do as often."""
    steps: list[Step] = [Empty(1.5)]
    for k, (label, picture) in enumerate(things):
        if trial.alone:
            steps += trial.alone
            continue
        # Of things that are swapped the first still comes, and the last still goes.
        comes: Arrival = "slide" if trial.comes == "swap" and k == 0 else trial.comes
        goes: Departure = "slide" if trial.goes == "swap" and k == len(things) - 1 else trial.goes
        steps.append(
            Item(
                label=label,
                picture=picture,
                comes=comes,
                goes=goes,
                stays=trial.stays,
                meanwhile=trial.meanwhile,
            )
        )
        if goes != "swap":
            steps.append(Empty(1.5))
    return Script(steps=tuple(steps), seed=seed, camera=trial.camera)


def main(argv: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        prog="python -m ecovision_edge_bench.score.gates",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser, items=10)
    parser.add_argument("--photographs", type=Path, help="one folder per class; default: synthetic things")
    parser.add_argument("--only", default="", help="trials with this in their name")
    arguments = parser.parse_args(argv)
    judge = make_judge(arguments)
    trials = [trial for trial in TRIALS if arguments.only in trial.name]
    if not trials:
        raise OptionError("--only", expected="part of a trial's name", found=arguments.only)
    things = ordinary_things(arguments.photographs, judge.classifier.labels, arguments.items, arguments.seed)
    out, errors = consoles()
    rows = [("trial", "items", "found", "missed", "doubled", "false")]
    documents: list[JsonValue] = []
    with progress_bar(errors, "trials", len(trials)) as step:
        for trial in trials:
            composed = compose(trial_script(trial, things, arguments.seed))
            score = judge.score(((f.image, f.at_s) for f in composed), composed.truth)
            rows.append(_row(trial, score))
            documents.append(document(score, trial.name, judge.matching, judge.to_json()))
            step()
    if arguments.json is not None:
        write_json({"trials": documents}, arguments.json)
    if str(arguments.json) != "-":
        out.print("\n".join(plain_table(rows)))


def _row(trial: Trial, score: Score) -> tuple[str, str, str, str, str, str]:
    """Counts; a dash where nothing could be found."""
    name, false = trial.name, str(len(score.false))
    if not score.items:
        return name, "-", "-", "-", "-", false
    return name, str(len(score.items)), str(score.found), str(score.missed), str(score.doubled), false


if __name__ == "__main__":
    sys.exit(run_tool(main, "gates"))
