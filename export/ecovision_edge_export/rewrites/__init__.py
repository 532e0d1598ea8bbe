"""Exact rewrites of the fp32 graph for the sake of its int8 form.

Each has a module here with its rule as a numbered list. Each changes the `Graph` that it is given, so that a
chain of them works on one, gives the same answers in fp32, up to rounding, and leaves alone, or refuses, what
it does not understand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from ecovision_edge_export.graph.graphs import Graph
from ecovision_edge_export.rewrites.alignment import align_channels
from ecovision_edge_export.rewrites.hard_swish import THREE, integer_hard_swish
from ecovision_edge_export.rewrites.pooling import pool_means
from ecovision_edge_export.rewrites.zero_points import shifted_range

__all__ = ["rewrite_for_int8"]

Range = tuple[float, float]


def rewrite_for_int8(
    g: Graph, ranges: Mapping[str, Range], keep: Collection[str]
) -> tuple[dict[str, Range], dict[str, float]]:
    """Apply all rewrites; the ranges of the tensors now, and how many times as large as before they are.

    Args:
        g: fp32.
        ranges: `(low, high)` of its tensors. They need not be measured again: a rewrite makes a tensor some
            times as large, or clips it to [0, 6].
        keep: Names of nodes that stay fp32, and as they are.
    """
    factors = integer_hard_swish(g, keep)
    pool_means(g, keep)
    align_channels(g, keep)
    result = {
        name: (low * factors.get(name, 1.0), high * factors.get(name, 1.0))
        for name, (low, high) in ranges.items()
    }
    readers = Counter(name for node in g.model.graph.node for name in node.input)
    for node in g.model.graph.node:
        if THREE in node.input:
            x = next(i for i in node.input if i != THREE)
            high = result.get(x, (0.0, 0.0))[1]
            # What only a hard-sigmoid reads is nothing to it beyond 3.
            result[x] = shifted_range(high if readers[x] > 1 else min(high, 3.0))
        if THREE in node.input or node.op_type == "Clip":
            result[node.output[0]] = (0.0, 6.0)
    return result, factors
