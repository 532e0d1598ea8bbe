"""From trained constants of the int8 graph back to a state dict of torchvision's mobilenet_v3_large.

Rewrites multiply each weight by a constant: a channel's scale, hard-swish's sixth, a folded gate,
normalization. So what they did is known by what they make of ones.

Rule, exact up to rounding:

1. The graph with ones for its weights is rewritten as the graph itself is. What comes out is the factor of
   each weight; zero is what alignment added, or a gate that is closed, and stays as it was.
2. A trained constant is divided by its factor, and loses what alignment added. Normalization is taken out of
   the first convolution again (see `fold`).
3. A convolution that had a BatchNorm has one still: weight 1, bias the convolution's, mean 0, variance 1
   less epsilon. It changes nothing, and an export folds it into the same numbers.
4. The branch of a folded excitation has its first bias lowered so far that its Relu never fires: then what
   the fold left out is nothing on any picture, not only on those that were seen.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
import torch

from ecovision_edge.bundle.contract import Contract
from ecovision_edge.errors import ExportError
from ecovision_edge_export.graph.graphs import Graph
from ecovision_edge_export.int8.quantize import blocks_of
from ecovision_edge_export.int8.table import CalibrationTable, prepare
from ecovision_edge_export.rewrites import rewrite_for_int8

__all__ = ["factors_of", "state_of"]

Values = npt.NDArray[np.float64]

BATCHNORM_EPSILON = np.float32(0.001)  # torchvision's, in every BatchNorm of this network
SILENCE = 1000.0
"""Taken off the biases of a silent branch: far more than its weights make of any picture."""

_LAYERS = ("Conv", "Gemm")


def factors_of(graph: onnx.ModelProto, table: CalibrationTable) -> dict[str, Values]:
    """Find the factors of the rewrites on each weight and bias, by the rewritten graph's constants.

    Args:
        graph: fp32, preprocessing folded.
        table: By which it is made int8.

    Raises:
        ContractError: the table is of another graph.
    """
    ones = Graph.copy_of(graph)
    gates = _gates(ones, table)
    for node in ones.model.graph.node:
        if node.op_type in _LAYERS:
            for name in node.input[1:]:
                if name in ones.constants and name not in gates:
                    ones.put(name, np.ones_like(ones.array(name)))
    prepare(ones, table)
    keep = [name for name, block in blocks_of(ones.model).items() if table.recipe.keeps(block)]
    rewrite_for_int8(ones, table.ranges, keep)
    return {
        name: ones.array(name).astype(np.float64)
        for node in ones.model.graph.node
        if node.op_type in _LAYERS
        for name in node.input[1:]
    }


def state_of(
    trained: Mapping[str, npt.NDArray[np.float32]],
    twin: onnx.ModelProto,
    graph: onnx.ModelProto,
    table: CalibrationTable,
    state: Mapping[str, torch.Tensor],
    contract: Contract,
) -> dict[str, torch.Tensor]:
    """Return a state dict of the trained weights, with the keys and shapes of `state`.

    Args:
        trained: By the names of the twin's constants.
        twin: The rewritten fp32 graph.
        graph: The fp32 graph that it was made of.
        table: By which.
        state: The weights that `graph` was traced from.
        contract: By which preprocessing was folded.

    Raises:
        ContractError: the table is of another graph.
        ExportError: a layer that is no layer of the state dict.
    """
    factors = factors_of(graph, table)
    before, after = Graph(graph), Graph(twin)
    rewritten = {n.name: n for n in after.model.graph.node if n.op_type in _LAYERS}
    result = {key: tensor.clone() for key, tensor in state.items()}
    silent = {before.maker[before.maker[name].input[0]].name for name in table.silent}
    for node in before.model.graph.node:
        if node.op_type not in _LAYERS:
            continue
        weight, bias = (before.array(name).astype(np.float64) for name in node.input[1:3])
        there = rewritten.get(node.name)
        if there is not None:
            weight, bias = (
                _divided(old, trained[name], factors[name])
                for old, name in zip((weight, bias), there.input[1:3], strict=True)
            )
        if node.name in silent:
            bias = bias - SILENCE
        if before.data(node)[0] not in before.maker or node.input[0] == "preprocess/Sub":
            weight = _without_normalization(weight, contract)
        _put(result, node.name, weight, bias)
    return result


def _gates(g: Graph, table: CalibrationTable) -> set[str]:
    """Return the biases that make the gates of folded excitations."""
    return {g.users[name][0].input[2] for name in table.silent if g.users.get(name)}


def _divided(old: Values, trained: npt.NDArray[np.float32], factor: Values) -> Values:
    inside = tuple(slice(side) for side in old.shape)
    values, by = trained.astype(np.float64)[inside], factor[inside]
    result: Values = np.where(by != 0, values / np.where(by != 0, by, 1.0), old)
    return result


def _without_normalization(weight: Values, contract: Contract) -> Values:
    if contract.input.dtype == "float32":
        return weight
    std = np.array(contract.normalization.std, np.float64)
    result: Values = weight[:, ::-1] * (255 * std)[None, :, None, None]
    return result


def _put(state: dict[str, torch.Tensor], layer: str, weight: Values, bias: Values) -> None:
    """Write a layer's weights, and a BatchNorm that adds its bias alone."""
    wanted = state.get(f"{layer}.weight")
    if wanted is None or tuple(wanted.shape) != weight.shape:
        raise ExportError(
            f"layer {layer} of the graph",
            expected=f"one of the state dict, {'x'.join(map(str, weight.shape))}",
            found="none" if wanted is None else "x".join(map(str, wanted.shape)),
            fix="report this checkpoint",
        )
    state[f"{layer}.weight"] = _tensor(weight)
    if f"{layer}.bias" in state:
        state[f"{layer}.bias"] = _tensor(bias)
        return
    stem, _, number = layer.rpartition(".")
    norm = f"{stem}.{int(number) + 1}"
    ones = np.ones(len(bias))
    for part, values in (
        ("weight", ones),
        ("bias", bias),
        ("running_mean", 0 * ones),
        ("running_var", ones * float(np.float32(1) - BATCHNORM_EPSILON)),
    ):
        state[f"{norm}.{part}"] = _tensor(values)


def _tensor(values: Values) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
