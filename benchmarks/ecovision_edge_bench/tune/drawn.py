"""Synthetic frames as files: each worker needs them, and drawing takes several times as long as reading."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2

from ecovision_edge.errors import OptionError
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge_bench.measure.agreement import Images

__all__ = ["as_files", "draw_files"]

_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]  # lossless, and quick


def draw_files(folder: Path, seeds: Sequence[int]) -> tuple[str, ...]:
    """Return the frames of those seeds as PNG files in `folder`; one that is there is not drawn again.

    Raises:
        OptionError: a file cannot be written.
    """
    files = []
    for seed in seeds:
        file = folder / f"{seed}.png"
        if not file.exists() and not cv2.imwrite(str(file), draw_frame(seed), _PNG):
            raise OptionError(f"cannot write {file}", expected="half a megabyte of space in TMPDIR")
        files.append(str(file))
    return tuple(files)


def as_files(images: Images, folder: Path | None) -> Images:
    """Return the same images; synthetic frames as files in `folder`, where there is one."""
    return images if folder is None or images.files else Images(draw_files(folder, images.seeds))
