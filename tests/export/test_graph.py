"""Trace, simplify, names and folding."""

from __future__ import annotations

import copy
import re

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from tests.export.graphs import assert_indexed, reweighted, rewritten

from ecovision_edge.bundle.contract import Contract, InputSpec, Normalization
from ecovision_edge.errors import ExportError
from ecovision_edge_export.graph.fold import fold_preprocessing
from ecovision_edge_export.graph.graphs import Graph
from ecovision_edge_export.graph.names import rename_tensors
from ecovision_edge_export.graph.trace import OPSET
from ecovision_edge_export.int8.sessions import onnx_session
from ecovision_edge_export.parity.baseline import TorchBaseline
from ecovision_edge_export.weights.checkpoint import Checkpoint

pytestmark = pytest.mark.slow


def test_the_batch_is_dynamic_and_the_opset_ours(graph: onnx.ModelProto) -> None:
    """Three frames in one run give three rows, each that of the frame alone."""
    session = onnx_session(graph)
    frames = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), np.uint8)
    together = session.run(None, {"frame": frames})[0]
    alone = np.concatenate([session.run(None, {"frame": frames[i : i + 1]})[0] for i in range(3)])
    assert together.shape == (3, 10)
    assert np.abs(together - alone).max() < 1e-4
    assert [(o.domain, o.version) for o in graph.opset_import] == [("", OPSET)]


def test_activations_spell_out_no_default(simplified: onnx.ModelProto) -> None:
    """HardSigmoid's beta is ONNX's own: where it is named, OpenCV 5 takes each gate for a hard-swish."""
    gates = [node for node in simplified.graph.node if node.op_type == "HardSigmoid"]
    assert len(gates) == 8
    assert all([a.name for a in node.attribute] == ["alpha"] for node in gates)


def test_folding_is_exact(simplified: onnx.ModelProto, graph: onnx.ModelProto) -> None:
    """Raw BGR bytes into the folded graph equal normalized RGB floats into the unfolded one."""
    frames = np.random.default_rng(1).integers(0, 256, (2, 224, 224, 3), np.uint8)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    x = ((frames[..., ::-1] / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)
    expected = onnx_session(simplified).run(None, {"input": x})[0]
    found = onnx_session(graph).run(None, {"frame": frames})[0]
    assert np.abs(expected - found).max() <= 1e-4 * np.abs(expected).max()


def test_the_graph_is_pytorch(reference: Checkpoint, contract: Contract, graph: onnx.ModelProto) -> None:
    """On identical input tensors the logits are those of PyTorch eager."""
    frames = np.random.default_rng(2).integers(0, 256, (2, 224, 224, 3), np.uint8)
    baseline = TorchBaseline(reference, contract)
    expected = baseline.logits(baseline.from_network_input(frames))
    assert np.abs(onnx_session(graph).run(None, {"frame": frames})[0] - expected).max() <= 1e-3


def test_normalization_other_than_imagenets_is_folded_too(
    simplified: onnx.ModelProto, contract: Contract
) -> None:
    """Mean and std come from the contract, channel by channel."""
    mean, std = (0.1, 0.5, 0.9), (0.2, 0.3, 0.7)
    other = Contract(contract.labels, contract.weights, normalization=Normalization(mean, std))
    frames = np.random.default_rng(3).integers(0, 256, (1, 224, 224, 3), np.uint8)
    x = ((frames[..., ::-1] / 255 - np.array(mean)) / np.array(std)).transpose(0, 3, 1, 2).astype(np.float32)
    expected = onnx_session(simplified).run(None, {"input": x})[0]
    found = onnx_session(rewritten(simplified, fold_preprocessing, other)[0]).run(None, {"frame": frames})[0]
    assert np.abs(expected - found).max() <= 1e-4 * np.abs(expected).max()


def test_the_classic_input_is_left_alone(simplified: onnx.ModelProto, contract: Contract) -> None:
    """With float32-nchw no node is added; only the input's name is the contract's."""
    classic = Contract(
        contract.labels,
        contract.weights,
        input=InputSpec("pixels", "NCHW", "float32", "RGB"),
        normalization=Normalization(in_graph=False),
    )
    folded = rewritten(simplified, fold_preprocessing, classic)[0]
    assert len(folded.graph.node) == len(simplified.graph.node)
    assert folded.graph.input[0].name == "pixels"
    onnx.checker.check_model(folded, full_check=True)


def test_folding_refuses_a_graph_it_does_not_understand(
    simplified: onnx.ModelProto, contract: Contract
) -> None:
    """An input that goes into two nodes, or into something else than a convolution, is an error."""
    twice = copy.deepcopy(simplified)
    twice.graph.node.append(helper.make_node("Relu", ["input"], ["more"], "more"))
    with pytest.raises(ExportError, match="expected one convolution of 3 channels"):
        fold_preprocessing(Graph(twice), contract)
    other = copy.deepcopy(simplified)
    other.graph.node[0].op_type = "ConvInteger"
    with pytest.raises(ExportError, match="found ConvInteger"):
        fold_preprocessing(Graph(other), contract)


def test_tensors_are_named_after_their_modules(simplified: onnx.ModelProto) -> None:
    """No name is the exporter's counting; each is unique."""
    outputs = [o for n in simplified.graph.node for o in n.output]
    assert len(set(outputs)) == len(outputs)
    assert "features.1.block.0.0/Relu" in outputs
    wrong = [o for o in outputs if not re.match(r"(features|classifier|avgpool|logits)", o)]
    assert wrong == []


def test_a_name_that_is_taken_gets_a_number() -> None:
    """Two nodes with the same base do not collide, and the graph still computes the same."""
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "n1"),
        helper.make_node("Relu", ["x"], ["b"], "n2"),
        helper.make_node("Add", ["a", "b"], ["y"], "n3"),
    ]
    info = [helper.make_tensor_value_info(name, 1, [2]) for name in "xy"]
    model = helper.make_model(
        helper.make_graph(nodes, "g", info[:1], info[1:]), opset_imports=[helper.make_opsetid("", 20)]
    )
    model.ir_version = 10
    renamed, _ = rewritten(model, rename_tensors)
    assert [n.output[0] for n in renamed.graph.node] == ["x/Relu", "x/Relu#2", "y"]
    x = np.array([1, -1], np.float32)
    assert onnx_session(renamed).run(None, {"x": x})[0].tolist() == [2, 0]


def test_nothing_of_this_machine_is_in_the_file(graph: onnx.ModelProto) -> None:
    """No path, doc string, stack trace or tool metadata is left."""
    data = graph.SerializeToString()
    for word in (b"/home", b"/tmp", b"site-packages", b"stack_trace", b"onnxsim", b"pkg.torch"):
        assert word not in data
    assert all(not n.doc_string and not n.metadata_props for n in graph.graph.node)


def test_tracing_leaves_the_weights_alone(reference: Checkpoint, graph: onnx.ModelProto) -> None:
    """A 1x1 convolution's folded weights are the checkpoint's, scaled by its BatchNorm."""
    weights = {i.name: numpy_helper.to_array(i) for i in graph.graph.initializer}
    key = "features.4.block.0"
    s = reference.state
    scale = s[f"{key}.1.weight"] / torch.sqrt(s[f"{key}.1.running_var"] + 0.001)
    expected = (s[f"{key}.0.weight"] * scale[:, None, None, None]).numpy()
    assert np.abs(weights[f"{key}.0.weight"] - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_graph_is_changed_in_place_and_keeps_its_index() -> None:
    """Constants put or copied, nodes replaced, what is unused taken out; only `copy_of` leaves the model."""
    info = [helper.make_tensor_value_info(name, 1, [2]) for name in "xy"]
    one = numpy_helper.from_array(np.ones(2, np.float32), "one")
    nodes = [
        helper.make_node("Add", ["x", "one"], ["a"], "n1"),
        helper.make_node("Add", ["a", "one"], ["b"], "n2"),
        helper.make_node("Mul", ["one", "one"], ["c"], "n3"),
        helper.make_node("Relu", ["c"], ["d"], "n4"),
        helper.make_node("Relu", ["b"], ["y"], "n5"),
    ]
    model = helper.make_model(helper.make_graph(nodes, "g", info[:1], info[1:], [one]))
    before = model.SerializeToString(deterministic=True)
    kept, g = Graph.copy_of(model), Graph(model)
    assert g.model is model
    assert kept.model is not model
    g.put(g.own(g.maker["b"], 1), np.full(2, 3.0))
    g.own(g.maker["c"], 0)
    assert_indexed(g)
    g.drop_unused()
    assert_indexed(g)
    assert [n.name for n in model.graph.node] == ["n1", "n2", "n5"]
    assert set(g.constants) == {"one", "n2.1"}
    g.set_nodes([*model.graph.node[:2], helper.make_node("Neg", ["b"], ["y"], "n6")])
    assert_indexed(g)
    assert g.array("n2.1").tolist() == [3.0, 3.0]
    assert kept.model.SerializeToString(deterministic=True) == before


def test_the_helper_that_changes_weights_gives_what_tracing_gives(
    reference: Checkpoint, simplified: onnx.ModelProto, contract: Contract, graph: onnx.ModelProto
) -> None:
    """Of the reference's own weights the traced graph, so that other weights need not be traced."""
    found = reweighted(simplified, reference.state, contract).graph
    assert list(found.node) == list(graph.graph.node)
    for a, b in zip(found.initializer, graph.graph.initializer, strict=True):
        np.testing.assert_allclose(numpy_helper.to_array(a), numpy_helper.to_array(b), rtol=1e-5, atol=1e-6)
