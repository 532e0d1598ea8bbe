"""Quantization-aware training as `train` does it: what its loop trains, and what it leaves."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.bundle.contract import Contract, InputSpec, Normalization, ResizeSpec, WeightsSource
from ecovision_edge.errors import OptionError
from ecovision_edge_export.int8.sessions import NetworkInput
from ecovision_edge_export.int8.trained import METADATA_KEY
from ecovision_edge_export.train.core.objective import Objective
from ecovision_edge_export.train.data.pictures import Pictures
from ecovision_edge_export.train.networks.start import Start
from ecovision_edge_export.train.qat.distill import distillation
from ecovision_edge_export.train.qat.fake import GraphModule
from ecovision_edge_export.train.qat.prepare import OnPlanes, Qat, prepare_qat
from ecovision_edge_export.weights.checkpoint import ARCHITECTURE, Checkpoint, build_model

__all__ = ["Int8Training", "calibration_steps", "make_ready"]

CALIBRATED = 256  # photographs that set the ranges
COMPARED = 512  # validation photographs that int8 is judged by, before and after
NO_SHA256 = "0" * 64


@dataclass(frozen=True, slots=True)
class Int8Training:
    """The int8 half of a training.

    Args:
        qat: Made ready.
        objective: For the loop.
        inputs: Network inputs that int8 is judged by, before and after.
        targets: Their classes.
    """

    qat: Qat
    objective: Objective
    inputs: Sequence[NetworkInput]
    targets: Sequence[int]

    @property
    def model(self) -> torch.nn.Module:
        """For the loop to train."""
        return self.qat.model

    def weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Torchvision's state dict of the model's weights."""
        return self.qat.state(weights)

    def metadata(self) -> dict[str, str]:
        """For the checkpoint, beside what `train` writes."""
        return {METADATA_KEY: self.qat.ranges.dumps()}

    def finish(self, state: Mapping[str, Tensor], say: Callable[[str], None]) -> dict[str, JsonValue]:
        """Check the int8 model that an export makes against the module, and say what the training won.

        Raises:
            ExportError: they are not the same network.
        """
        exported = self.qat.exported(state)
        rows = exported.check(self.inputs)
        integers, equal = sum(r.integers for r in rows), sum(r.equal for r in rows)
        most = max(r.most_steps for r in rows)
        say(
            f"layer by layer, the int8 model of an export gives {100 * equal / integers:.3f} % of the same "
            f"integers in {len(rows)} tensors, none more than {most} apart"
        )
        before, after = (e.outcome(self.inputs, self.targets) for e in (self.qat.exported(None), exported))
        say(f"all in int8, rounded after training: {before}")
        say(f"all in int8, trained for it: {after}")
        return {
            "untrained": before.to_json(),
            "trained": after.to_json(),
            "tensors": len(rows),
            "equal_integers": round(equal / integers, 6),
            "most_steps_apart": most,
        }


def make_ready(
    start: Start,
    labels: Sequence[str],
    size: tuple[int, int],
    pictures: tuple[Pictures, Pictures],
    *,
    temperature: float,
    mixed: float,
    seed: int,
    device: str,
    progress: Callable[[int], None] = lambda done: None,
) -> Int8Training:
    """Make a training ready.

    Args:
        start: A trained network with its own classifier.
        labels: Of its classes.
        size: Height and width of the network input.
        pictures: To train on, some of which set the ranges; and to validate on.
        temperature: See `distillation`.
        mixed: Likewise.
        seed: Of the choice of those that set the ranges.
        device: Where the loop runs.
        progress: Called with the number of photographs seen, which goes up to 512 at most.

    Raises:
        OptionError: the classifier is new, so there is nothing trained to go on from.
    """
    if start.head == "new":
        raise OptionError(
            "--qat",
            expected="--init with a checkpoint that was trained on these classes",
            found=f"{start.source}, whose classifier is made new",
            fix="train first, then once more with --qat --init THAT",
        )
    contract = Contract(
        labels=tuple(labels),
        weights=WeightsSource(ARCHITECTURE, start.source, start.sha256 or NO_SHA256),
        input=InputSpec(height=size[0], width=size[1]),
        resize=ResizeSpec(),
        normalization=Normalization(start.mean, start.std),
    )
    state = {k: v.detach().clone() for k, v in start.model.state_dict().items()}
    checkpoint = Checkpoint(state, len(labels), contract.weights, tuple(labels))
    train, val = pictures
    order = list(range(len(train)))
    random.Random(seed).shuffle(order)  # noqa: S311 - a sample, no secret
    qat = prepare_qat(
        checkpoint,
        contract,
        [_network_input(train, i) for i in order[:CALIBRATED]],
        digest=train.digest,
        progress=progress,
    )
    teacher = build_model(checkpoint).to(device).to(memory_format=torch.channels_last)
    network = GraphModule(qat.quantized.twin, shared=qat.model.network)
    plain = OnPlanes(network, contract).to(device)
    shown = range(0, len(val), max(1, -(-len(val) // COMPARED)))
    return Int8Training(
        qat,
        distillation(teacher, plain, temperature, mixed),
        [_network_input(val, i) for i in shown],
        [val.targets[i] for i in shown],
    )


def calibration_steps(pictures: Pictures) -> int:
    """Return what `progress` of `make_ready` goes up to."""
    return 2 * min(CALIBRATED, len(pictures))


def _network_input(pictures: Pictures, index: int) -> NetworkInput:
    """`(1, h, w, 3)` uint8 BGR."""
    return np.ascontiguousarray(pictures.picture(index)[None, :, :, ::-1])
