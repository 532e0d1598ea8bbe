"""Rewrites on copies of graphs that tests share."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping
from typing import Concatenate, ParamSpec, TypeVar

import onnx
import pytest
import torch

from ecovision_edge.bundle.contract import Contract
from ecovision_edge_export import pipeline
from ecovision_edge_export.graph.fold import fold_preprocessing
from ecovision_edge_export.graph.graphs import Graph
from ecovision_edge_export.graph.trace import simplify, trace

P = ParamSpec("P")
T = TypeVar("T")


def rewritten(
    model: onnx.ModelProto, rewrite: Callable[Concatenate[Graph, P], T], *args: P.args, **kwargs: P.kwargs
) -> tuple[onnx.ModelProto, T]:
    """A copy of the model that the rewrite has changed; and what the rewrite returns."""
    g = Graph.copy_of(model)
    said = rewrite(g, *args, **kwargs)
    assert_indexed(g)
    return g.model, said


def assert_indexed(g: Graph) -> None:
    """The index is the one that reading the graph again gives."""
    fresh = Graph(g.model)
    assert g.outputs == fresh.outputs
    assert g.constants.keys() == fresh.constants.keys()
    assert all(g.constants[k] is v for k, v in fresh.constants.items())
    assert {k: v.name for k, v in g.maker.items()} == {k: v.name for k, v in fresh.maker.items()}
    assert {k: [n.name for n in v] for k, v in g.users.items() if v} == {
        k: [n.name for n in v] for k, v in fresh.users.items()
    }


def folded(network: torch.nn.Module, height: int, width: int, contract: Contract) -> onnx.ModelProto:
    """The fp32 graph of a network, preprocessing folded."""
    return rewritten(simplify(trace(network, height, width)), fold_preprocessing, contract)[0]


def shorten(patch: pytest.MonkeyPatch, simplified: onnx.ModelProto, frames: int) -> None:
    """Let exports of the reference not trace it again, judge on a few synthetic frames, and time briefly."""
    patch.setattr(pipeline, "trace", lambda *_: simplified)
    patch.setattr(pipeline, "simplify", copy.deepcopy)  # what it gives is folded in place
    patch.setattr("ecovision_edge_export.parity.measure.GENERATED_IMAGES", frames)
    patch.setattr("ecovision_edge_export.finished.speed.ROUNDS", 6)


TRACED: dict[str, onnx.ModelProto] = {}


def traced_once(model: torch.nn.Module, height: int, width: int) -> onnx.ModelProto:
    """`trace`, which takes ten seconds, once for each set of weights and size. Copy it before changing it."""
    sha = hashlib.sha256(f"{height} {width}".encode())
    for tensor in model.state_dict().values():
        sha.update(tensor.numpy().tobytes())
    key = sha.hexdigest()
    if key not in TRACED:
        TRACED[key] = trace(model, height, width)
    return TRACED[key]


def traced_by_shape(model: torch.nn.Module, height: int, width: int) -> onnx.ModelProto:
    """`trace` once for each network and size; other weights of the same one are put into that graph."""
    key = f"{height} {width} {model}"
    if key not in TRACED:
        TRACED[key] = trace(model, height, width)
    return with_weights(TRACED[key], model.state_dict())


EPSILON = 0.001  # of the BatchNorm of torchvision's mobilenet_v3_large


def with_weights(traced: onnx.ModelProto, state: Mapping[str, torch.Tensor]) -> onnx.ModelProto:
    """A traced graph, simplified or not, with other weights of the same network.

    Args:
        traced: Of a mobilenet_v3_large in eval mode; it stays as it is.
        state: Weights of as many classes.
    """
    model = copy.deepcopy(traced)
    for constant in model.graph.initializer:
        block, _, what = constant.name.rpartition(".")
        norm = f"{block.rpartition('.')[0]}.1"
        if f"{norm}.running_var" in state:  # a convolution, into which its BatchNorm was folded
            gain, shift, mean, var = (
                state[f"{norm}.{name}"].double() for name in ("weight", "bias", "running_mean", "running_var")
            )
            gain = gain / torch.sqrt(var + EPSILON)
            weight = state[f"{block}.weight"].double()
            value = weight * gain[:, None, None, None] if what == "weight" else shift - mean * gain
        elif constant.name in state:
            value = state[constant.name]
        else:
            assert constant.data_type == onnx.TensorProto.INT64, constant.name  # axes, shapes
            continue
        assert list(value.shape) == list(constant.dims), constant.name
        constant.CopyFrom(onnx.numpy_helper.from_array(value.float().numpy(), constant.name))
    return model


def reweighted(
    simplified: onnx.ModelProto, state: Mapping[str, torch.Tensor], contract: Contract
) -> onnx.ModelProto:
    """The reference's fp32 graph with other weights, preprocessing folded: what takes long to trace again."""
    return rewritten(with_weights(simplified, state), fold_preprocessing, contract)[0]
