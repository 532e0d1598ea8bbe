"""What it is worth to lay straight what lies aslant; a developers' tool.

    python -m ecovision_edge_bench.score.lying --photographs DIR [--items 200] [--seed 1] [--longest 150]

Photographs, one folder per class, lose their grey letterbox bars and are laid on a plain tray of 320x240,
turned by any angle: whole, and cut loose where their background is plain. The gate finds the item; the part
of the frame that the decider would cut out is classified in the views of the contract, with and without
`DeciderOptions.straighten`. A row for each: how many are right by one view and by all of them together, and
how many are decided if 3 % of those may be wrong, the surest first.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ecovision_edge.base.columns import plain_table
from ecovision_edge.bundle.views import PLAIN, RegionView
from ecovision_edge.calibration.fit import least_threshold
from ecovision_edge.classifier import Classifier
from ecovision_edge.cli.output import progress_bar
from ecovision_edge.decision.options import DeciderOptions
from ecovision_edge.decision.presence import PresenceGate
from ecovision_edge.decision.regions import Regions
from ecovision_edge.errors import OptionError
from ecovision_edge.photographs.images import read_image
from ecovision_edge.photographs.letterbox import strip_bars
from ecovision_edge.preprocess.region import Region
from ecovision_edge.simulation.pictures import choose_photographs
from ecovision_edge.smart_bin.defaults import fit_options
from ecovision_edge_bench.score.measuring import consoles, run_tool

__all__ = ["Laid", "covered", "lay_down", "main", "measure"]

Image = npt.NDArray[np.uint8]

WIDTH, HEIGHT = 320, 240
TRAY = 95.0  # level
GRAIN = 3.0  # of the tray's colour, levels
NOISE = 1.0  # of the sensor, levels
RISK = 0.03


@dataclass(frozen=True, slots=True)
class Laid:
    """A frame, the same tray without the item, and the item's class."""

    frame: Image
    empty: Image
    label: int


def lay_down(
    photograph: Image, item: Image | None, longest: float, degrees: float, rng: np.random.Generator
) -> tuple[Image, Image]:
    """Lay a photograph on a tray; returns the frame and the empty tray, `(240, 320, 3) uint8 BGR`.

    Args:
        photograph: `(height, width, 3) uint8 BGR`.
        item: `(height, width) uint8`, 255 where the item is; None: all of it is laid down.
        longest: Its longer side on the tray, pixels.
        degrees: By which it is turned, counter-clockwise as it is seen.
        rng: Of grain and noise.
    """
    height, width = photograph.shape[:2]
    scale = longest / max(height, width)
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, scale)
    matrix[:, 2] += ((WIDTH - width) / 2, (HEIGHT - height) / 2)
    if scale < 0.77:  # as the step from pixel to pixel wants
        photograph = cv2.GaussianBlur(photograph, (0, 0), 0.35 / scale).astype(np.uint8)
    shape = np.full((height, width), 255, np.uint8) if item is None else item
    share = cv2.warpAffine(shape, matrix, (WIDTH, HEIGHT))[..., None] / 255
    laid = cv2.warpAffine(photograph, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
    tray = np.repeat(TRAY + GRAIN * rng.standard_normal((HEIGHT, WIDTH, 1)), 3, axis=2)
    noise = NOISE * rng.standard_normal((2, HEIGHT, WIDTH, 3))
    frame, empty = laid * share + tray * (1 - share) + noise[0], tray + noise[1]
    return np.clip(np.rint(frame), 0, 255).astype(np.uint8), np.clip(np.rint(empty), 0, 255).astype(np.uint8)


def covered(right: npt.NDArray[np.bool_], sure: npt.NDArray[np.float64], risk: float = RISK) -> float:
    """Return the largest share, 0 to 1, that can be decided, the surest first, with at most `risk` wrong."""
    least = least_threshold(sure, ~right, risk, None)
    return 0.0 if least is None else float((sure >= least).mean())


def measure(classifier: Classifier, laid: Sequence[Laid], *, straighten: bool) -> tuple[float, float, float]:
    """Return the shares that are right by one view, right by all views, and decided at 3 % errors."""
    plan = classifier.contract.views
    views = (PLAIN,) if plan is None else plan.views
    logs = np.stack([_log_probabilities(classifier, one, views, straighten) for one in laid])
    truth = np.array([one.label for one in laid])
    together = np.exp(logs.mean(axis=1))
    together /= together.sum(axis=1, keepdims=True)
    right = together.argmax(axis=1) == truth
    one_view = float((logs[:, 0].argmax(axis=1) == truth).mean())
    return one_view, float(right.mean()), covered(right, together.max(axis=1))


def _log_probabilities(
    classifier: Classifier, laid: Laid, views: Sequence[RegionView], straighten: bool
) -> npt.NDArray[np.float64]:
    options = fit_options(DeciderOptions(), classifier)
    gate = PresenceGate(options.presence)
    gate.learn_from(laid.empty)
    look = gate.look(laid.frame, 0.0)
    regions = Regions(options.margin, options.aspect, straighten=straighten)
    whole = Region(0, 0, WIDTH, HEIGHT)
    place = whole if look.box is None else regions.of(look.box, WIDTH, HEIGHT, look.turned) or whole
    parts = [replace(place, view=view).cut(laid.frame) for view in views]
    found = np.array([classifier.classify(part).probabilities for part in parts])
    logs: npt.NDArray[np.float64] = np.log(np.maximum(found, np.finfo(np.float32).tiny))
    return logs


def _scenes(arguments: argparse.Namespace, labels: tuple[str, ...], *, loose: bool) -> Iterator[Laid]:
    """Lay down as many as are asked for, of those that can be cut loose if they are to be."""
    from ecovision_edge_export.train.data.views import cut_loose

    rng, count = np.random.default_rng(arguments.seed), 0
    for chosen in choose_photographs(arguments.photographs, labels, 20 * arguments.items, arguments.seed):
        if count == arguments.items:
            return
        photograph = np.ascontiguousarray(strip_bars(read_image(chosen.path)))
        item = cut_loose(np.ascontiguousarray(photograph[..., ::-1])) if loose else None
        if loose and item is None:
            continue
        count += 1
        degrees = math.degrees(rng.uniform(0, 2 * math.pi))
        frame, empty = lay_down(photograph, item, arguments.longest, degrees, rng)
        yield Laid(frame, empty, chosen.label)


def main(argv: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        prog="python -m ecovision_edge_bench.score.lying",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--photographs", type=Path, required=True, help="one folder per class")
    parser.add_argument("--items", type=int, default=200, help="of each kind")
    parser.add_argument("--seed", type=int, default=1, help="seed of everything that is left open")
    parser.add_argument("--longest", type=float, default=150.0, help="the item's longer side, pixels")
    parser.add_argument("--bundle", type=Path, help="a bundle or a model file; default: the reference")
    arguments = parser.parse_args(argv)
    if not 1 <= arguments.items <= 10_000:
        raise OptionError("--items", expected="1 to 10,000", found=arguments.items)
    if not 16 <= arguments.longest <= HEIGHT:
        raise OptionError("--longest", expected=f"16 to {HEIGHT} pixels", found=arguments.longest)
    classifier = Classifier.load(arguments.bundle, threads=1)
    out, errors = consoles()
    heads = ("laid down", "cut out", "items", "right by one view", "by all views", "decided at 3 % errors")
    rows: list[tuple[str, ...]] = [heads]
    with progress_bar(errors, "classifying", 4) as step:
        for kind in ("whole", "cut loose"):
            laid = list(_scenes(arguments, classifier.labels, loose=kind != "whole"))
            if not laid:
                raise OptionError("--photographs", expected="some before a plain background", found="none")
            for straighten in (False, True):
                figures = measure(classifier, laid, straighten=straighten)
                shares = (f"{100 * figure:.1f} %" for figure in figures)
                rows.append((kind, "straight" if straighten else "upright box", str(len(laid)), *shares))
                step()
    for line in plain_table(rows):
        out.print(line)


if __name__ == "__main__":
    sys.exit(run_tool(main, "lying"))
