"""Trace and simplify: from PyTorch to a small, clean ONNX graph."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING

import onnx

from ecovision_edge.errors import ExportError
from ecovision_edge_export.graph.graphs import Graph
from ecovision_edge_export.graph.names import rename_tensors

if TYPE_CHECKING:
    import torch

__all__ = ["INPUT", "OPSET", "OUTPUT", "simplify", "trace"]

OPSET = 20
"""ONNX opset of every model written; onnxruntime runs it since 1.17."""

_IR_VERSION = 10  # that of onnx 1.16, the least that onnxruntime 1.20 is sure to read

_ACTIVATIONS = frozenset({"Celu", "Elu", "HardSigmoid", "LeakyRelu", "Selu", "ThresholdedRelu"})
# ... whose attributes are all floats

INPUT, OUTPUT = "input", "logits"


def trace(model: torch.nn.Module, height: int, width: int) -> onnx.ModelProto:
    """Trace `model` with the modern exporter; input `(batch, 3, height, width)` float32, batch dynamic.

    Raises:
        ExportError: the exporter kept the batch fixed, or wrote another opset.
    """
    import torch

    example = torch.zeros(2, 3, height, width)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it reports every decomposition that it skips
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own deprecations, of no use to a reader
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},),
                opset_version=OPSET,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    assert program is not None
    traced: onnx.ModelProto = program.model_proto
    batch = traced.graph.input[0].type.tensor_type.shape.dim[0]
    opset = {o.domain: o.version for o in traced.opset_import}.get("", 0)
    if not batch.dim_param or opset != OPSET:
        raise ExportError(
            "trace",
            expected=f"a dynamic batch, opset {OPSET}",
            found=f"batch {batch.dim_value or batch.dim_param}, opset {opset}",
            fix="use a torch and onnxscript that the extra `export` names",
        )
    return traced


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """Simplify with onnxsim, name the tensors, and leave out what says how it was made.

    Raises:
        ExportError: onnxsim could not show that the simplified graph is the same.
    """
    import onnxsim

    simplified: onnx.ModelProto
    simplified, same = onnxsim.simplify(model)
    if not same:
        raise ExportError("simplify", expected="a graph equal to the traced one", found="a different one")
    _strip_notes(simplified)
    _strip_defaults(simplified)
    rename_tensors(Graph(simplified))
    return simplified


def _strip_notes(model: onnx.ModelProto) -> None:
    """Take out doc strings, metadata and unused opsets: they name files of this machine and change."""
    model.doc_string = ""
    model.producer_name, model.producer_version = "ecovision-edge", ""
    model.ir_version = _IR_VERSION
    del model.metadata_props[:]
    used = {node.domain for node in model.graph.node}
    kept = [o for o in model.opset_import if o.domain in used or o.domain == ""]
    del model.opset_import[:]
    model.opset_import.extend(sorted(kept, key=lambda o: o.domain))
    graph = model.graph
    graph.name, graph.doc_string = "mobilenet_v3_large", ""
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]


def _strip_defaults(model: onnx.ModelProto) -> None:
    """Take out what activations spell out that is ONNX's default: the same graph, read right by more engines.

    OpenCV 5 takes `Mul(x, HardSigmoid(x))` for a hard-swish where the node names its `beta`, even where the
    two are of different tensors, and then answers wrongly without an error.
    """
    for node in model.graph.node:
        if node.op_type not in _ACTIVATIONS:
            continue
        known = onnx.defs.get_schema(node.op_type, OPSET, node.domain).attributes
        kept = [a for a in node.attribute if a.name not in known or not _is_default(a, known[a.name])]
        del node.attribute[:]
        node.attribute.extend(kept)


def _is_default(attribute: onnx.AttributeProto, known: onnx.defs.OpSchema.Attribute) -> bool:
    default = known.default_value
    return attribute.type == default.type and attribute.f == default.f
