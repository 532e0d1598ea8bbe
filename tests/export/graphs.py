"""Rewrites on copies of graphs that tests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import onnx
import torch

from ecovision_edge.bundle.contract import Contract
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
