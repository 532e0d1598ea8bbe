"""The start of a quantization-aware training, and its end: from a checkpoint to a checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from torch import Tensor

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.bundle.contract import Contract
from ecovision_edge_export.graph.fold import fold_preprocessing
from ecovision_edge_export.graph.graphs import Graph
from ecovision_edge_export.graph.trace import simplify, trace
from ecovision_edge_export.int8.calibrate import measure
from ecovision_edge_export.int8.fidelity import logits_of
from ecovision_edge_export.int8.quantize import Quantized, quantize
from ecovision_edge_export.int8.recipe import Recipe
from ecovision_edge_export.int8.search import make_int8
from ecovision_edge_export.int8.sessions import NetworkInput
from ecovision_edge_export.int8.table import CalibrationTable
from ecovision_edge_export.int8.trained import TrainedRanges
from ecovision_edge_export.train.qat.check import LayerMatch, compare_layers, require_match
from ecovision_edge_export.train.qat.fake import GraphModule
from ecovision_edge_export.train.qat.weights import factors_of, state_of
from ecovision_edge_export.weights.checkpoint import Checkpoint, build_model

__all__ = ["TRAINED_RECIPE", "Exported", "OnPlanes", "Outcome", "Qat", "prepare_qat"]

TRAINED_RECIPE = Recipe(fp32_blocks=-1, ranges="mse", bias_corrected=False)
"""All in int8, the hardest case: blocks that an export leaves in fp32 only make it easier. Biases are
trained, so there is nothing to correct."""

CHECKED = 4  # network inputs that the layers are compared on


class OnPlanes(torch.nn.Module):
    """A graph's network for inputs as torchvision's model takes them: normalized planes `(n, 3, h, w)`.

    Args:
        network: For network inputs of the contract.
        contract: `NHWC uint8 BGR`.
    """

    def __init__(self, network: GraphModule, contract: Contract) -> None:
        super().__init__()
        self.network = network
        normalization = contract.normalization
        for name, values in (("mean", normalization.mean), ("std", normalization.std)):
            self.register_buffer(name, 255 * torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, planes: Tensor) -> Tensor:
        """Return logits `(n, classes)`."""
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        with torch.autocast("cuda", enabled=False):  # half precision would round what int8 does not
            # Whole pixels again, as the device has them.
            pixels = (planes.float() * std).add_(mean).round_().flip(1)
            logits: Tensor = self.network(pixels.permute(0, 2, 3, 1))
        return logits


@dataclass(frozen=True, slots=True)
class Outcome:
    """int8, all of it, against the fp32 network it was made of, on labelled network inputs.

    Args:
        images: How many.
        fp32_accuracy: 0 to 1.
        accuracy: Of int8.
        agreement: Of the two answers, 0 to 1.
    """

    images: int
    fp32_accuracy: float
    accuracy: float
    agreement: float

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {
            "images": self.images,
            "fp32_accuracy": round(self.fp32_accuracy, 5),
            "int8_accuracy": round(self.accuracy, 5),
            "agreement": round(self.agreement, 5),
        }

    def __str__(self) -> str:
        return (
            f"{100 * self.accuracy:.2f} % right, fp32 {100 * self.fp32_accuracy:.2f} %, agreement "
            f"{100 * self.agreement:.2f} % of {self.images}"
        )


@dataclass(frozen=True, slots=True)
class Qat:
    """A training made ready.

    Args:
        checkpoint: That it starts from.
        contract: Of the network input.
        graph: Its fp32 graph.
        table: Ranges and recipe, which stay.
        untrained: The same with corrected biases: what int8 without training is made by.
        quantized: The int8 model before training.
        model: To be trained.
    """

    checkpoint: Checkpoint
    contract: Contract
    graph: onnx.ModelProto
    table: CalibrationTable
    untrained: CalibrationTable
    quantized: Quantized
    model: OnPlanes

    @property
    def ranges(self) -> TrainedRanges:
        """For the checkpoint's metadata."""
        return TrainedRanges.of(self.table, self.contract)

    def state(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Torchvision's state dict of the model's own `weights`, a `state_dict` of it at some time."""
        now = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        try:
            self.model.load_state_dict(dict(weights))
            trained = self.model.network.constants()
        finally:
            self.model.load_state_dict(now)
        twin, table = self.quantized.twin, self.table
        return state_of(trained, twin, self.graph, table, self.checkpoint.state, self.contract)

    def exported(self, state: Mapping[str, Tensor] | None) -> Exported:
        """Say what an export makes of a state dict; None: of the untrained start, all in int8."""
        if state is None:
            return Exported(self.graph, self.untrained, quantize(self.graph, self.untrained))
        graph = _graph_of(dataclasses.replace(self.checkpoint, state=state), self.contract)
        return Exported(graph, self.table, quantize(graph, self.table))


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export makes of weights: the fp32 graph, the table, and the int8 model by it."""

    graph: onnx.ModelProto
    table: CalibrationTable
    quantized: Quantized

    def check(self, inputs: Sequence[NetworkInput]) -> tuple[LayerMatch, ...]:
        """Compare the int8 model with its module, layer by layer.

        Raises:
            ExportError: they are not the same network.
        """
        made = self.quantized
        module = GraphModule(made.model, made.twin, self.table.room, made.ranges)
        rows = compare_layers(module, made.judged, inputs[:CHECKED])
        require_match(rows)
        return rows

    def outcome(self, inputs: Sequence[NetworkInput], targets: Sequence[int]) -> Outcome:
        """Return how good the answers of the int8 model are, and how near to those of the graph."""
        right = np.asarray(targets)
        expected, found = (logits_of(m, inputs).argmax(1) for m in (self.graph, self.quantized.judged))
        return Outcome(
            len(inputs),
            float((expected == right).mean()),
            float((found == right).mean()),
            float((found == expected).mean()),
        )


def prepare_qat(
    checkpoint: Checkpoint,
    contract: Contract,
    inputs: Sequence[NetworkInput],
    *,
    digest: str,
    progress: Callable[[int], None] = lambda done: None,
) -> Qat:
    """Make a training ready: the int8 graph of a checkpoint, by ranges of least error over `inputs`.

    Args:
        checkpoint: Trained.
        contract: Its network input, `NHWC uint8 BGR`.
        inputs: Network inputs of photographs, at least one.
        digest: Of those.
        progress: Called with the number of inputs done, which goes up to twice theirs.

    Raises:
        DatasetError: no input.
        ExportError: the graph has what no rule knows.
    """
    graph = _graph_of(checkpoint, contract)
    calibration = measure(
        graph, lambda: iter(inputs), digest=digest, evidence="photographs", progress=progress
    )
    corrected = calibration.table(dataclasses.replace(TRAINED_RECIPE, bias_corrected=True))
    plain = dataclasses.replace(corrected, recipe=TRAINED_RECIPE, means={})
    quantized, table = make_int8(graph, plain, inputs)
    untrained = dataclasses.replace(corrected, room=table.room)
    network = GraphModule(
        quantized.model, quantized.twin, table.room, quantized.ranges, factors_of(graph, table)
    )
    return Qat(checkpoint, contract, graph, table, untrained, quantized, OnPlanes(network, contract))


def _graph_of(checkpoint: Checkpoint, contract: Contract) -> onnx.ModelProto:
    spec = contract.input
    g = Graph(simplify(trace(build_model(checkpoint), spec.height, spec.width)))
    fold_preprocessing(g, contract)
    # Equal biases come as one constant; trained, they part.
    for node in g.model.graph.node:
        if node.op_type in ("Conv", "Gemm") and len(node.input) > 2:
            g.own(node, 2)
    return g.model
