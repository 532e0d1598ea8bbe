"""Biases that make up for the mean error of rounded weights.

Rounding a row of weights moves the mean of what the layer makes by the sum of the rounding errors times the
means of its inputs (Nagel et al. 2019, https://arxiv.org/abs/1906.04721, section 4.2). That much is taken off
the bias, from means that calibration measured.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ecovision_edge_export.graph.graphs import Graph, attribute, depthwise_channels

__all__ = ["correct_biases", "rounded_rows"]

Values = npt.NDArray[np.float64]


def rounded_rows(weights: Values, room: Sequence[float] | Values = (1.0,)) -> Values:
    """Weights as symmetric int8 has them, a scale for each index of the first axis.

    Args:
        weights: `(rows, ...)`.
        room: How many times as large as need be each row's scale is: one for all, or one per row.
    """
    flat = weights.reshape(len(weights), -1)
    scales = np.maximum(np.abs(flat).max(axis=1, keepdims=True), 1e-30) * np.reshape(room, (-1, 1)) / 127
    result: Values = (np.round(flat / scales) * scales).reshape(weights.shape)
    return result


def correct_biases(
    g: Graph,
    means: Mapping[str, Sequence[float]],
    factors: Mapping[str, float],
    excluded: Collection[str],
    room: Mapping[str, Sequence[float]],
) -> None:
    """Correct the biases of an fp32 graph's convolutions for weights that are rounded channel by channel.

    Args:
        g: As `rewrite_for_int8` made it.
        means: Of the channels of each tensor before that.
        factors: How many times as large it made them.
        excluded: Names of nodes that stay fp32.
        room: Of weights by name, how many times as large as need be the scale of each row is.
    """
    for node in g.model.graph.node:
        if node.op_type != "Conv" or node.name in excluded or len(node.input) < 3:
            continue
        if node.input[0] not in means or node.input[1] not in g.constants:
            continue
        weights = g.array(node.input[1]).astype(np.float64)
        rounded = rounded_rows(weights, room.get(node.input[1], (1.0,)))
        errors = (weights - rounded).sum(axis=(2, 3))
        mean = np.array(means[node.input[0]], np.float64) * factors.get(node.input[0], 1.0)
        # Channels that alignment added are zero.
        if depthwise_channels(g, node) is not None:
            shift = errors[:, 0] * np.pad(mean, (0, len(errors) - len(mean)))
        elif attribute(node, "group", 1) == 1:
            shift = errors @ np.pad(mean, (0, errors.shape[1] - len(mean)))
        else:
            continue
        bias = g.own(node, 2)
        g.put(bias, g.array(bias).astype(np.float64) + shift)
