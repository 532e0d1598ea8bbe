"""Sequences composed of photographs, or of synthetic things: a developers' tool that makes recordings.

    python -m ecovision_edge_bench.score.compose --photographs DIR --items 100 --seed 1 [--one-frame]
    python -m ecovision_edge_bench.score.compose --photographs DIR --items 100 --turn 0.2
    python -m ecovision_edge_bench.score.compose --photographs DIR --items 20 --out recording
    python -m ecovision_edge_bench.score.compose --script script.json --out recording

Photographs, one folder per class, lose their grey letterbox bars and come to lie on a synthetic tray, in
the ways of `ordinary_script`, or as a script says (see `script_file`). They lie as they fell, in any
orientation; `--turn 0.2` lays them down nearly upright. Without `--photographs` the things are synthetic. The
sequence is scored as it is made; with `--out` it is written as a recording instead, with `truth.json` and
`script.json` beside it, which `ecovision-edge score --recording` reads, and `ecovision-edge run --source`
replays. A recording has the photographs in it: it is theirs to publish who took them. It is large: 91
frames an item, 100 kB each as PNG, at the defaults (20 items: 186 MB, and 38 s of one core of an x86).

The same arguments give the same frames.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ecovision_edge.cli.output import progress_bar
from ecovision_edge.errors import OptionError
from ecovision_edge.simulation.composed import compose
from ecovision_edge.simulation.pictures import choose_photographs
from ecovision_edge.simulation.script import ANY_TURN, Item, Script, Step
from ecovision_edge.simulation.script_file import load_script
from ecovision_edge.simulation.truth import read_document
from ecovision_edge_bench.score.measuring import Judge, add_arguments, consoles, make_judge, report, run_tool
from ecovision_edge_bench.score.ordinary import ordinary_script

__all__ = ["main", "ordinary_things"]

_DRAWN_LABELS = ("battery", "biological", "cardboard", "clothes", "glass", "metal", "paper", "shoes")


def ordinary_things(
    photographs: Path | None, labels: tuple[str, ...], count: int, seed: int
) -> list[tuple[str, str | None]]:
    """Label and picture of so many things, all classes alike; without photographs such as can be drawn.

    Raises:
        DatasetError: not one folder per class.
    """
    if photographs is None:
        return [(_DRAWN_LABELS[(k + seed) % len(_DRAWN_LABELS)], None) for k in range(count)]
    chosen = choose_photographs(photographs, labels, count, seed)
    return [(labels[image.label], str(image.path)) for image in chosen]


def main(argv: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m ecovision_edge_bench.score.compose", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    add_arguments(parser, items=100)
    parser.add_argument("--photographs", type=Path, help="one folder per class; default: synthetic things")
    parser.add_argument(
        "--script", type=Path, help="a script of what happens, with items and a seed of its own"
    )
    parser.add_argument(
        "--turn",
        type=float,
        help="maximum turn of a thing in radians; default: any, or the script's",
    )
    parser.add_argument("--fps", type=float, default=12.0, help="frames a second")
    parser.add_argument("--size", default="320x240", help="size of a frame: WIDTHxHEIGHT")
    parser.add_argument(
        "--out", type=Path, help="write a recording with its truth to this folder, some 9 MB per item"
    )
    arguments = parser.parse_args(argv)
    judge = make_judge(arguments)
    script = _script(arguments, judge)
    composed = compose(script)
    what = "synthetic things" if arguments.photographs is None else "photographs"
    if arguments.out is None:
        frames = ((frame.image, frame.at_s) for frame in composed)
        turns = "any orientation" if script.turn == ANY_TURN else f"turned by {script.turn:g} at most"
        title = f"composed, {what}, {len(composed.truth.items)} items, {turns}, seed {script.seed}"
        report(arguments, judge, frames, len(composed), composed.truth, title)
        return
    from ecovision_edge_bench.score.recording import write_recording

    out, errors = consoles()
    seconds = len(composed) / script.fps
    errors.print(f"recording {len(composed)} frames, {seconds:.0f} s, {len(composed.truth.items)} items")
    with progress_bar(errors, "recording", len(composed)) as step:
        write_recording(arguments.out, composed, judge.classifier, step)
    size = sum(path.stat().st_size for path in arguments.out.iterdir())
    out.print(f"{len(composed)} frames in {arguments.out}, {size / 1e6:.0f} MB")


def _script(arguments: argparse.Namespace, judge: Judge) -> Script:
    labels = judge.classifier.labels
    if arguments.script is None:
        width, x, height = arguments.size.partition("x")
        if not (x and width.isdecimal() and height.isdecimal()):
            raise OptionError("--size", expected="WIDTHxHEIGHT, like 320x240", found=arguments.size)
        things = ordinary_things(arguments.photographs, labels, arguments.items, arguments.seed)
        turn = ANY_TURN if arguments.turn is None else arguments.turn
        size = int(width), int(height)
        return ordinary_script(things, arguments.seed, turn=turn, fps=arguments.fps, size=size)
    script = load_script(read_document(arguments.script, "a script"), str(arguments.script))
    if arguments.turn is not None:
        script = replace(script, turn=arguments.turn)
    return (
        script if arguments.photographs is None else _with_photographs(script, arguments.photographs, labels)
    )


def _with_photographs(script: Script, folder: Path, labels: tuple[str, ...]) -> Script:
    """Return the script with photographs in place of what would be drawn."""
    wanted = [step for step in script.steps if isinstance(step, Item) and step.picture is None]
    piles: dict[str, list[str]] = {}
    for image in choose_photographs(folder, labels, len(labels) * max(1, len(wanted)), script.seed):
        piles.setdefault(labels[image.label], []).append(str(image.path))
    steps: list[Step] = []
    for step in script.steps:
        if isinstance(step, Item) and step.picture is None:
            if step.label not in piles:
                raise OptionError(
                    "an item of the script", expected=f"one of {', '.join(piles)}", found=step.label
                )
            steps.append(replace(step, picture=piles[step.label].pop()))
        else:
            steps.append(step)
    return replace(script, steps=tuple(steps))


if __name__ == "__main__":
    sys.exit(run_tool(main, "compose"))
