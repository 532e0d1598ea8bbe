"""The synthetic tray of `demo:`, scored; a developers' tool.

    python -m ecovision_edge_bench.score.drawn --items 200 --seed 1 [--one-frame]

Its items are synthetic, so what the network says of them means little; found, missed, doubled and false
count.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence

from ecovision_edge.camera.scene import DEMO_FPS, Scene
from ecovision_edge.simulation.truth import TrueItem, Truth
from ecovision_edge_bench.score.measuring import add_arguments, make_judge, report, run_tool
from ecovision_edge_bench.score.run import Seen

__all__ = ["main", "scene_frames", "scene_truth"]


def scene_truth(scene: Scene, items: int, fps: float = DEMO_FPS) -> Truth:
    """Return what lies on the tray of a scene until so many items have gone, and a second more."""
    some = list(itertools.islice(scene.items(), items))
    return Truth(
        tuple(
            TrueItem(
                id=k,
                label=item.kind,
                arrives_s=item.enters / fps,
                rests_s=item.arrives / fps,
                leaves_s=item.gone / fps,
            )
            for k, item in enumerate(some)
        ),
        some[-1].gone / fps + 1,
    )


def scene_frames(scene: Scene, truth: Truth, fps: float = DEMO_FPS) -> Iterator[Seen]:
    """Return the frames that the truth is about."""
    return ((scene.frame(n), n / fps) for n in range(_count(truth, fps)))


def main(argv: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m ecovision_edge_bench.score.drawn", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    add_arguments(parser, items=200)
    arguments = parser.parse_args(argv)
    judge = make_judge(arguments)
    scene = Scene(arguments.seed)
    truth = scene_truth(scene, arguments.items)
    title = f"synthetic, {arguments.items} items, seed {arguments.seed}"
    report(arguments, judge, scene_frames(scene, truth), _count(truth, DEMO_FPS), truth, title)


def _count(truth: Truth, fps: float) -> int:
    return round(truth.seconds * fps)


if __name__ == "__main__":
    sys.exit(run_tool(main, "drawn"))
