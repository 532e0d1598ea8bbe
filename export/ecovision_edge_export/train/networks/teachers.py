"""The teachers of a training: networks whose answers the student learns, on the very inputs it sees itself.

Sources: G. Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, arXiv 1503.02531; L. Beyer
et al., "Knowledge distillation: A good teacher is patient and consistent", CVPR 2022, arXiv 2106.05237.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.errors import OptionError
from ecovision_edge_export.photographs.seen import Seen
from ecovision_edge_export.train.networks.onnx_network import LABELS_KEY, OnnxNetwork
from ecovision_edge_export.train.networks.start import Start
from ecovision_edge_export.weights.checkpoint import build_model, load_checkpoint
from ecovision_edge_export.weights.weights_file import read_weights_file

__all__ = ["TEMPERATURE", "Teacher", "load_teacher"]

TEMPERATURE = 2.0
"""That softens the answers of teachers and student."""

_PROBES = 2  # inputs


@dataclass(frozen=True, slots=True)
class Teacher:
    """A trained network.

    Args:
        answer: Inputs `(n, 3, h, w)`, normalized as the student's, to logits `(n, classes)` float32 in the
            order of the training's labels, on the same device. Draws no random numbers, keeps no gradients.
        name: Of its file, without folders.
        sha256: Of its file.
        kind: `checkpoint` or `onnx`.
        seen: The photographs that it was trained on; None if its file does not say.
        notes: What the user should know.
    """

    answer: Callable[[Tensor], Tensor]
    name: str
    sha256: str
    kind: str
    seen: Seen | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, JsonValue]:
        """For the record."""
        known = "known" if self.seen is not None else "not known"
        return {"name": self.name, "sha256": self.sha256, "kind": self.kind, "trained_on": known}


def load_teacher(
    spec: str,
    labels: Sequence[str],
    start: Start,
    sizes: Collection[tuple[int, int]],
    device: str,
    threads: int,
) -> Teacher:
    """Load a teacher and try it on an input of each size.

    Args:
        spec: A `.onnx` file, see `OnnxNetwork`, or what `load_checkpoint` takes.
        labels: Of the training.
        start: Of the student: its mean and standard deviation are those of the inputs.
        sizes: Heights and widths that will be trained at.
        device: Where a checkpoint runs; an ONNX model runs on the CPU.
        threads: Of an ONNX model.

    Raises:
        CheckpointError, DownloadError, ModelError: the file cannot be had, or holds no such network.
        OptionError: its classes are not those of the training, or it gives no logits.
    """
    option = f"--teacher {spec}"
    if spec.lower().endswith(".onnx"):
        teacher = _onnx(spec, option, labels, threads)
    else:
        teacher = _checkpoint(spec, option, labels, start, device)
    for height, width in sorted(sizes):
        probe = torch.zeros(_PROBES, 3, height, width, device=device)
        _check_logits(teacher.answer(probe), option)
    return teacher


def _onnx(spec: str, option: str, labels: Sequence[str], threads: int) -> Teacher:
    path = Path(os.path.expanduser(spec))  # noqa: PTH111 - never raises over a home that is not there
    name = "".join(c if c.isprintable() else "?" for c in path.name)
    file = read_weights_file(path, name)
    network = OnnxNetwork(file.data, option, threads)
    notes = [f"teacher {name}: which photographs it was trained on is not known"]
    if network.labels is None:
        notes.append(
            f"teacher {name} does not name its classes (metadata property {LABELS_KEY}): its outputs are "
            f"taken as {', '.join(labels)}"
        )
    order = _order(network.labels, labels, option)

    def answer(inputs: Tensor) -> Tensor:
        logits = network(inputs)
        _check_count(logits.shape[1], labels, option)
        return logits if order is None else logits[:, order]

    return Teacher(answer, name, file.sha256, "onnx", None, tuple(notes))


def _checkpoint(spec: str, option: str, labels: Sequence[str], start: Start, device: str) -> Teacher:
    checkpoint = load_checkpoint(spec, labels=labels)
    _check_count(checkpoint.num_classes, labels, option)
    name, notes = checkpoint.source.source, list(checkpoint.notes)
    if checkpoint.labels is None:
        notes.append(
            f"teacher {name} does not name its classes: its outputs are taken as {', '.join(labels)}"
        )
    if checkpoint.seen is None:
        notes.append(f"teacher {name}: which photographs it was trained on is not known")
    order = _order(checkpoint.labels, labels, option)
    model = build_model(checkpoint).to(device).to(memory_format=torch.channels_last)
    prepared = checkpoint.preprocessing
    own = (start.mean, start.std) if prepared is None else (prepared.mean, prepared.std)
    scale, shift = _renormalize((start.mean, start.std), own, device)
    as_is = own == (start.mean, start.std)

    def answer(inputs: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = model(inputs if as_is else inputs * scale + shift).float()
        return logits if order is None else logits[:, order]

    return Teacher(answer, name, checkpoint.source.sha256, "checkpoint", checkpoint.seen, tuple(notes))


def _renormalize(
    given: tuple[Sequence[float], Sequence[float]],
    wanted: tuple[Sequence[float], Sequence[float]],
    device: str,
) -> tuple[Tensor, Tensor]:
    """Factor and summand `(1, 3, 1, 1)` that turn inputs of one mean and deviation into those of another."""
    (mean, std), (own_mean, own_std) = (
        tuple(torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in pair) for pair in (given, wanted)
    )
    scale, shift = std / own_std, (mean - own_mean) / own_std
    return scale.float().to(device), shift.float().to(device)


def _order(own: Sequence[str] | None, labels: Sequence[str], option: str) -> list[int] | None:
    """Return where each label stands in the teacher's output; None if in the order of the training."""
    if own is None or tuple(own) == tuple(labels):
        return None
    if sorted(own) != sorted(labels):
        raise OptionError(
            option,
            expected=f"the classes of the photographs: {', '.join(labels)}",
            found=", ".join(own)[:200],
            fix="give a teacher of these classes, or --map the folders",
        )
    return [list(own).index(label) for label in labels]


def _check_count(count: int, labels: Sequence[str], option: str) -> None:
    if count != len(labels):
        raise OptionError(
            option,
            expected=f"{len(labels)} classes: {', '.join(labels)}",
            found=f"{count} classes",
            fix="give a teacher that was trained on the classes of --data",
        )


def _check_logits(answers: Tensor, option: str) -> None:
    """Probabilities would be softened a second time."""
    if bool((answers >= 0).all()) and bool(((answers.sum(1) - 1).abs() < 1e-3).all()):
        raise OptionError(
            option,
            expected="logits",
            found="probabilities that sum to 1",
            fix="export it without the softmax at its end",
        )
