"""Means over height and width as global average pooling, which engines have in int8.

onnxruntime runs ReduceMean in fp32 even in a quantized model: the whole tensor is dequantized for it.

Rule, exact in fp32 up to rounding: ReduceMean over axes 2 and 3 of four, dimensions kept, becomes
GlobalAveragePool.
"""

from __future__ import annotations

from collections.abc import Collection

from onnx import helper

from ecovision_edge_export.graph.graphs import Graph, is_spatial_mean

__all__ = ["pool_means"]


def pool_means(g: Graph, keep: Collection[str] = ()) -> None:
    """Apply the rule of this module to each ReduceMean whose name is not in `keep`."""
    for node in g.model.graph.node:
        if node.name not in keep and is_spatial_mean(g, node):
            pooled = helper.make_node("GlobalAveragePool", node.input[:1], node.output[:1], node.name)
            node.CopyFrom(pooled)
    g.drop_unused()
