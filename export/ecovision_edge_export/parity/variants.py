"""Other ways to prepare photographs, tried where the network hardly works as it is prepared."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.stats import mcnemar_p
from ecovision_edge.bundle.contract import IMAGENET_MEAN, IMAGENET_STD, Contract, ResizeSpec
from ecovision_edge.photographs.images import read_image_bytes
from ecovision_edge_export.parity.baseline import TorchBaseline, pixel_transform
from ecovision_edge_export.photographs.dataset import Photograph, PhotographSet
from ecovision_edge_export.photographs.decoding import decode_rgb

if TYPE_CHECKING:
    import torch

__all__ = ["explain_by_preparation"]

CHOSEN_ON = 48  # photographs on which the best preparation is found
CONFIRMED_ON = 256  # others at most on which it has to hold
_ENOUGH = 32  # others; with fewer it has to hold on those it was found on
_SIGNIFICANT = 0.01  # McNemar's p on others
_SIGNIFICANT_AGAIN = 0.001  # on those that chose among a dozen
_GAIN = 0.05  # least gain in accuracy
_BATCH = 16

_NORMALIZATIONS = {
    "ImageNet's": (IMAGENET_MEAN, IMAGENET_STD),
    "pixels in -1 to 1": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "pixels in 0 to 1": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "pixels in 0 to 255": ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
}


@dataclass(frozen=True, slots=True)
class _Preparation:
    """How photographs become the network's input; with `bgr` mean and std are of B, G, R in that order."""

    resize: ResizeSpec
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool = False


def explain_by_preparation(
    baseline: TorchBaseline,
    contract: Contract,
    photographs: PhotographSet,
    progress: Callable[[int, int], None],
) -> str | None:
    """Name another resize, colour order or normalization with which far more is right.

    Colours and normalizations are tried together, resizes apart, then the best of both; on photographs that
    are spread evenly over the classes. What is best there has to be far better on others.

    Args:
        baseline: PyTorch.
        contract: Says how the photographs are prepared now.
        photographs: With labels.
        progress: Called with the preparations tried and their number.

    Raises:
        ImageReadError: a file that is no image.
    """
    order = _spread(photographs.photographs)
    trial = _Trial(baseline, contract, order[:CHOSEN_ON])
    now = _Preparation(contract.resize, contract.normalization.mean, contract.normalization.std)
    tried = [now, *_colours(now), *_resizes(now, contract)]
    right = {}
    for number, preparation in enumerate(tried):
        progress(number, len(tried) + 1)
        right[preparation] = int(trial.right(preparation).sum())
    colours = max((p for p in tried if p.resize == now.resize), key=lambda p: right[p])
    resize = max(
        (p for p in tried if (p.mean, p.std, p.bgr) == (now.mean, now.std, now.bgr)), key=right.__getitem__
    )
    both = dataclasses.replace(colours, resize=resize.resize)
    if both not in right:
        right[both] = int(trial.right(both).sum())
    best = max(right, key=lambda p: right[p])  # of equals the first: the smaller change
    if best == now:
        return None
    others = order[CHOSEN_ON : CHOSEN_ON + CONFIRMED_ON]
    enough = len(others) >= _ENOUGH
    judge = _Trial(baseline, contract, others) if enough else trial
    before, after = judge.right(now), judge.right(best)
    p = mcnemar_p(int((before & ~after).sum()), int((after & ~before).sum()))
    if after.mean() - before.mean() < _GAIN or p > (_SIGNIFICANT if enough else _SIGNIFICANT_AGAIN):
        return None
    return (
        f"likely mistake: {' and '.join(_changes(now, best))}. With that {100 * after.mean():.1f} % of "
        f"{len(after)} photographs are right instead of {100 * before.mean():.1f} %: {_advice(now, best)}"
    )


class _Trial:
    """Photographs that are prepared in several ways; decoded and resized once for each resize."""

    def __init__(
        self, baseline: TorchBaseline, contract: Contract, photographs: Sequence[Photograph]
    ) -> None:
        self._baseline, self._contract, self._photographs = baseline, contract, photographs
        self._pixels: dict[ResizeSpec, torch.Tensor] = {}
        self._truth = np.array([p.label for p in photographs])

    def right(self, preparation: _Preparation) -> npt.NDArray[np.bool_]:
        """Return which of them are answered right."""
        import torch

        if preparation.resize not in self._pixels:
            resized = dataclasses.replace(self._contract, resize=preparation.resize)
            transform = pixel_transform(resized)
            self._pixels[preparation.resize] = torch.stack(
                [transform(decode_rgb(read_image_bytes(p.path), str(p.path))) for p in self._photographs]
            )
        pixels = self._pixels[preparation.resize]
        pixels = pixels.flip(1) if preparation.bgr else pixels
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (preparation.mean, preparation.std))
        logits = [
            self._baseline.logits((pixels[i : i + _BATCH] / 255 - mean) / std)
            for i in range(0, len(pixels), _BATCH)
        ]
        answers: npt.NDArray[np.bool_] = np.concatenate(logits).argmax(axis=1) == self._truth
        return answers


def _spread(photographs: Sequence[Photograph]) -> list[Photograph]:
    """In turn one of each class, each class's evenly spread over its files' names."""
    places: list[tuple[float, int, Photograph]] = []
    for label in sorted({p.label for p in photographs if p.label is not None}):
        own = [p for p in photographs if p.label == label]
        step = next((s for s in (7, 11, 13, 17, 19) if len(own) % s), 1)
        places += [(i, label, own[i * step % len(own)]) for i in range(len(own))]
    return [p for _, _, p in sorted(places, key=lambda place: place[:2])]


def _colours(now: _Preparation) -> Iterator[_Preparation]:
    normalizations = [(now.mean, now.std), *(n for n in _NORMALIZATIONS.values() if n != (now.mean, now.std))]
    for mean, std in normalizations:
        # BGR with each colour's own mean, or with R's for B, as who forgot cvtColor has it.
        for of, by, bgr in ((mean, std, False), (mean[::-1], std[::-1], True), (mean, std, True)):
            other = dataclasses.replace(now, mean=of, std=by, bgr=bgr)
            if other != now:
                yield other


def _resizes(now: _Preparation, contract: Contract) -> Iterator[_Preparation]:
    side = max(contract.input.height, contract.input.width)
    wide = round(side * 256 / 224)  # as torchvision's recipes
    filter = now.resize.filter
    for resize in (ResizeSpec(filter=filter), *(ResizeSpec("shortest", n, filter) for n in (wide, side))):
        if resize != now.resize:
            yield dataclasses.replace(now, resize=resize)


def _changes(now: _Preparation, best: _Preparation) -> Iterator[str]:
    if best.resize != now.resize:
        yield f"the network was trained with the resize {_resize(best.resize)}, not {_resize(now.resize)}"
    if best.bgr:
        yield "the network was trained on BGR, as cv2.imread gives it, not on RGB"
    ways = [(best.mean, best.std), (best.mean[::-1], best.std[::-1])]
    if (now.mean, now.std) not in ways[: 1 + best.bgr]:
        name = next(k for k, v in _NORMALIZATIONS.items() if v in ways)
        yield f"the network was trained with another normalization, {name}"


def _advice(now: _Preparation, best: _Preparation) -> str:
    options = []
    if best.resize != now.resize:
        options.append(f"--resize {_resize(best.resize)}")
    mean, std = (v[::-1] if best.bgr else v for v in (best.mean, best.std))
    if (mean, std) != (now.mean, now.std):
        options.append(f"--mean {_triple(mean)} --std {_triple(std)}")
    give = f"give {' '.join(options)}" if options else ""
    if not best.bgr:
        return give
    turn = (
        "turn the first layer's colours round once, before it is saved: "
        "s = model.state_dict(); s['features.0.0.weight'] = s['features.0.0.weight'].flip(1); "
        "torch.save(s, 'rgb.pth')"
    )
    return f"{turn}{', and ' + give if give else ''}"


def _resize(resize: ResizeSpec) -> str:
    return resize.mode if resize.shortest is None else f"shortest:{resize.shortest}"


def _triple(values: tuple[float, float, float]) -> str:
    return ",".join(f"{value:.6g}" for value in values)
