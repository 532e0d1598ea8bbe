"""What a training leaves in its folder, each file whole or not at all."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from ecovision_edge.base.fields import JsonValue, canonical_json
from ecovision_edge.base.files import is_folder, is_there, sync_folder, write_file
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.errors import CheckpointError, ExportError, OptionError
from ecovision_edge_export.weights.checkpoint import ARCHITECTURE
from ecovision_edge_export.weights.preprocessing import Preprocessing
from ecovision_edge_export.weights.weights_file import decode, read_weights_file, safetensors_bytes

__all__ = ["BEST", "CARD", "CURVES", "FACTS", "HISTORY", "LAST", "Folder"]

BEST = "best.safetensors"
LAST = "last.pth"
HISTORY = "history.json"
FACTS = "training.json"
CURVES = "curves.png"
CARD = "MODEL_CARD.md"
_SCHEMA = 1


class Folder:
    """The folder of one training.

    Args:
        path: Is made by the first file that is written.
        resume: Whether to go on with a training that is there.
        apart_from: Folders of photographs by their options: curves and card among them would be images
            without a class.

    Raises:
        OptionError: there is one and `resume` is not set, or none and it is; or the path is no folder, or in
            one of photographs.
    """

    def __init__(self, path: Path, *, resume: bool, apart_from: Mapping[str, Path] | None = None) -> None:
        self.path = path
        there = [name for name in (LAST, BEST, HISTORY) if is_there(path / name, link=True)]
        if is_there(path, link=True) and not is_folder(path):
            raise OptionError(f"--out {path}", expected="a folder", found="something else")
        for option, folder in (apart_from or {}).items():
            if _within(path, folder):
                raise OptionError(
                    f"--out {path}",
                    expected=f"a folder outside {option} {folder}",
                    found="one inside",
                    fix="choose another --out, not among the photographs",
                )
        if there and not resume:
            raise OptionError(
                f"--out {path}",
                expected="a folder without a training",
                found=there[0],
                fix="go on with that training, --resume, or choose another --out",
            )
        if resume and LAST not in there:
            raise OptionError(
                f"--resume in {path}",
                expected=f"the {LAST} of a training",
                found="none",
                fix="leave --resume out to begin one",
            )

    def load_state(self) -> dict[str, object]:
        """Return what `save_state` wrote; code in the file is never run.

        Raises:
            CheckpointError: damaged, or not such a file.
        """
        loaded, _ = decode(read_weights_file(self.path / LAST, LAST))
        if not isinstance(loaded, dict) or loaded.get("ecovision_edge_training") != _SCHEMA:
            raise CheckpointError(
                f"{LAST} is not the state of a training that this version can go on with",
                fix="train again in another --out",
            )
        return cast("dict[str, object]", loaded)

    def save_state(self, state: Mapping[str, object]) -> None:
        """Write the state to go on from.

        Raises:
            ExportError: of the disk.
        """
        buffer = io.BytesIO()
        torch.save({"ecovision_edge_training": _SCHEMA, **state}, buffer)
        self.write(LAST, buffer.getvalue())

    def save_weights(
        self,
        weights: Mapping[str, Tensor],
        labels: Sequence[str],
        prepared: Preprocessing,
        facts: Mapping[str, JsonValue],
        more: Mapping[str, str] | None = None,
    ) -> None:
        """Write the best weights with what `export` has to know of them; `more` of it by name.

        Raises:
            ExportError: of the disk.
        """
        metadata = {
            "architecture": ARCHITECTURE,
            "labels": json.dumps(list(labels), ensure_ascii=False),
            "preprocessing": json.dumps(prepared.to_json()),
            "training": json.dumps(facts, ensure_ascii=False),
            **(more or {}),
        }
        tensors = {k: v.contiguous() for k, v in weights.items()}
        self.write(BEST, safetensors_bytes(tensors, metadata))

    def save_json(self, name: str, value: JsonValue) -> None:
        """Write a JSON file.

        Raises:
            ExportError: of the disk.
        """
        self.write(name, canonical_json(value))

    def write(self, name: str, data: bytes) -> None:
        """Write a file in full, then put it in the place of the old one.

        Raises:
            ExportError: of the disk.
        """
        part = self.path / f".{name}.tmp"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_file(part, data, fsync=True)
            part.replace(self.path / name)
            sync_folder(self.path, if_possible=True)
        except OSError as e:
            raise ExportError(f"cannot write {self.path / name}", found=reason_of(e)) from e


def _within(path: Path, folder: Path) -> bool:
    """Return whether `path` is `folder`, or in it, whatever links lead there."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # a loop of links, a NUL: told where it is read
        return False
