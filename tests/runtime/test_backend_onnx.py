"""Facts about onnxruntime behind the Backend protocol: what runs, and what is refused."""

import os

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from ecovision_edge.backends import MAX_THREADS, BackendOptions, default_threads
from ecovision_edge.backends.onnx import OnnxBackend
from ecovision_edge.errors import (
    InferenceError,
    ModelError,
    OptionError,
)

RED = np.zeros((1, 8, 8, 3), np.uint8) + np.array([0, 0, 160], np.uint8)


@pytest.fixture
def backend(forge):
    return OnnxBackend(forge.model(), BackendOptions(threads=1))


def test_it_runs_on_the_processor_unless_told_otherwise(forge):
    """Whatever else onnxruntime was built with."""
    assert OnnxBackend(forge.model()).providers == ("CPUExecutionProvider",)


def test_a_model_of_batch_one_takes_any_number_of_frames(forge):
    """It is run as often as there are frames."""
    batch = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
    expected = OnnxBackend(forge.model()).run(batch)
    assert np.array_equal(OnnxBackend(forge.model(batch=1)).run(batch), expected)


def test_a_model_of_another_fixed_batch_is_refused(forge):
    """It could not take a single frame."""
    with pytest.raises(
        ModelError, match=r"expected tensor\(uint8\) \(1 or dynamic, 8, 8, 3\), found .* \[4, 8"
    ):
        OnnxBackend(forge.model(batch=4))


@pytest.mark.parametrize("threads", [1, 2, MAX_THREADS])
def test_threads_are_taken_in_their_range(threads):
    """1 to 256."""
    assert BackendOptions(threads=threads).threads == threads


@pytest.mark.parametrize("threads", [0, -1, MAX_THREADS + 1, 1.0, "2", True, 10**30])
def test_threads_out_of_range_are_refused(threads):
    """Also what is no integer."""
    with pytest.raises(OptionError, match="threads: expected 1 to 256"):
        BackendOptions(threads=threads)


def test_default_threads_are_the_usable_cores_at_most_four(monkeypatch, forge):
    """The affinity of the process counts, not the machine."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(3)), raising=False)
    assert default_threads() == 3
    assert OnnxBackend(forge.model()).threads == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert default_threads() == 4
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert default_threads() == 1


GPU, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


@pytest.fixture
def no_gpu(monkeypatch):
    """As onnxruntime does whose CUDA cannot be loaded: it is on the list, and sessions come without it."""
    session = ort.InferenceSession
    monkeypatch.setattr(ort, "get_available_providers", lambda: [GPU, CPU])
    monkeypatch.setattr(
        ort, "InferenceSession", lambda *given, providers, **more: session(*given, providers=[CPU], **more)
    )


@pytest.mark.usefixtures("no_gpu")
def test_a_provider_that_is_left_out_is_told(forge, caplog):
    """The CPU was asked for too, so it runs; nobody measures it for the GPU."""
    backend = OnnxBackend(forge.model(), BackendOptions(providers=(GPU, CPU)))
    assert backend.providers == (CPU,)
    assert [r.getMessage().partition(";")[0] for r in caplog.records] == [
        f"onnxruntime cannot use {GPU}, and runs on {CPU}"
    ]


@pytest.mark.usefixtures("no_gpu")
def test_a_provider_that_is_left_out_is_an_error_where_the_cpu_was_not_asked_for(forge):
    """Nothing runs where nobody wanted it."""
    with pytest.raises(OptionError, match=f"providers: expected {GPU}, found {CPU}; its libraries"):
        OnnxBackend(forge.model(), BackendOptions(providers=(GPU,)))


@pytest.fixture
def no_tensorrt(monkeypatch):
    """As onnxruntime does whose TensorRT cannot be loaded: no session with it can be made."""
    session = ort.InferenceSession

    def open_session(*given, providers, **more):
        if "TensorrtExecutionProvider" in providers:
            raise RuntimeError("Please install TensorRT libraries")
        return session(*given, providers=providers, **more)

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["TensorrtExecutionProvider", CPU])
    monkeypatch.setattr(ort, "InferenceSession", open_session)


@pytest.mark.usefixtures("no_tensorrt")
def test_a_provider_that_no_session_opens_with_is_left_out_and_told(forge, caplog):
    """The next one has its turn; the model is not to blame."""
    backend = OnnxBackend(forge.model(), BackendOptions(providers=("TensorrtExecutionProvider", CPU)))
    assert backend.providers == (CPU,)
    assert "cannot use TensorrtExecutionProvider, and runs on CPU" in caplog.text
    with pytest.raises(ModelError, match="install TensorRT libraries; try CPUExecutionProvider: if that"):
        OnnxBackend(forge.model(), BackendOptions(providers=("TensorrtExecutionProvider",)))


def test_providers_that_are_used_are_not_told(forge, caplog):
    """As ever."""
    OnnxBackend(forge.model(), BackendOptions(providers=(CPU,)))
    assert caplog.records == []


@pytest.mark.parametrize("providers", [(), ("NoSuchProvider",), ("CPUExecutionProvider", "NoSuchProvider")])
def test_a_provider_that_is_not_installed_is_refused(forge, providers):
    """onnxruntime alone would fall back to the CPU with a warning."""
    with pytest.raises(OptionError, match="CPUExecutionProvider"):
        OnnxBackend(forge.model(), BackendOptions(providers=providers))


def altered(forge, change):
    model = forge.proto()
    change(model)
    return model.SerializeToString()


def other_shape(model):
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 9


def other_dtype(model):
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT8


def other_name(model):
    model.graph.input[0].name = model.graph.node[0].input[0] = "image"


def two_inputs(model):
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def free_size(model):
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "height"


def no_shape(model):
    model.graph.input[0].type.tensor_type.ClearField("shape")


def sequence(model):
    value = helper.make_tensor_sequence_value_info("frame", TensorProto.UINT8, None)
    model.graph.input[0].CopyFrom(value)
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("SequenceLength", ["frame"], ["n"]))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("n", TensorProto.INT64, []))


def other_output(model):
    model.graph.output[0].name = model.graph.node[2].output[0] = "scores"


def half_output(model):
    model.graph.node[2].output[0] = "inner"
    model.graph.node.append(helper.make_node("Cast", ["inner"], ["logits"], to=TensorProto.FLOAT16))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16


@pytest.mark.parametrize(
    "change",
    [
        *[other_shape, other_dtype, other_name, two_inputs, free_size, no_shape, sequence],
        *[other_output, half_output],
    ],
)
def test_a_model_unlike_its_contract_is_refused(forge, change):
    """Another input, another output; the message says what was expected and found."""
    with pytest.raises(ModelError, match=r"expected .* found") as caught:
        OnnxBackend(altered(forge, change))
    assert isinstance(caught.value, ValueError)


def test_an_output_that_is_not_finite_is_an_error(forge):
    """Never a label by chance."""

    def poison(model):
        model.graph.initializer[0].raw_data = np.full((3, 3), np.nan, np.float32).tobytes()

    with pytest.raises(InferenceError, match="finite"):
        OnnxBackend(altered(forge, poison)).run(RED)


def test_an_engine_that_fails_is_an_inference_error(forge):
    """onnxruntime's own exception, on one line."""

    def unreshapable(model):
        shape = helper.make_tensor("shape", TensorProto.INT64, [1], [7])
        model.graph.initializer.append(shape)
        model.graph.node[1].input[0] = "flat"
        model.graph.node.insert(1, helper.make_node("Reshape", ["pixels", "shape"], ["broken"]))
        model.graph.node.insert(2, helper.make_node("Expand", ["broken", "big"], ["flat"]))
        model.graph.initializer.append(helper.make_tensor("big", TensorProto.INT64, [4], [1, 1, 1, 7]))

    with pytest.raises((InferenceError, ModelError), match="onnxruntime") as caught:
        OnnxBackend(altered(forge, unreshapable)).run(RED)
    assert "\n" not in caught.value.message


def external(tensor, location="/etc/hostname"):
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)


def in_initializer(model):
    external(model.graph.initializer[0])


def in_constant(model):
    value = helper.make_tensor("v", TensorProto.FLOAT, [3, 3], bytes(36), raw=True)
    external(value)
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=value))


def in_subgraph(model):
    value = helper.make_tensor("v", TensorProto.FLOAT, [1], bytes(4), raw=True)
    external(value)
    out = [helper.make_tensor_value_info("o", TensorProto.FLOAT, [1])]
    graph = helper.make_graph([helper.make_node("Identity", ["v"], ["o"])], "g", [], out, [value])
    model.graph.node.append(helper.make_node("If", ["cond"], ["x"], then_branch=graph, else_branch=graph))


def in_function(model):
    value = helper.make_tensor("v", TensorProto.FLOAT, [1], bytes(4), raw=True)
    external(value)
    node = helper.make_node("Constant", [], ["o"], value=value)
    model.functions.append(helper.make_function("d", "F", [], ["o"], [node], [helper.make_opsetid("", 17)]))


def sparse():
    values = helper.make_tensor("v", TensorProto.FLOAT, [1], bytes(4), raw=True)
    external(values)
    return helper.make_sparse_tensor(values, helper.make_tensor("i", TensorProto.INT64, [1], [0]), [9])


def in_sparse_initializer(model):
    model.graph.sparse_initializer.append(sparse())


def in_sparse_attribute(model):
    kind = onnx.AttributeProto.SPARSE_TENSOR
    node = helper.make_node("Custom", [], ["c"], domain="x")
    node.attribute.append(onnx.AttributeProto(name="s", type=kind, sparse_tensor=sparse()))
    model.graph.node.append(node)


def in_sparse_attribute_list(model):
    kind = onnx.AttributeProto.SPARSE_TENSORS
    node = helper.make_node("Custom", [], ["c"], domain="x")
    node.attribute.append(onnx.AttributeProto(name="s", type=kind, sparse_tensors=[sparse()]))
    model.graph.node.append(node)


def in_attribute_list(model):
    values = helper.make_tensor("v", TensorProto.FLOAT, [1], bytes(4), raw=True)
    external(values)
    node = helper.make_node("Custom", [], ["c"], domain="x")
    node.attribute.append(onnx.AttributeProto(name="t", type=onnx.AttributeProto.TENSORS, tensors=[values]))
    model.graph.node.append(node)


def only_location(model):
    model.graph.initializer[0].external_data.add(key="location", value="w.bin")


def only_flag(model):
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


@pytest.mark.parametrize(
    "place",
    [
        *[in_initializer, in_constant, in_subgraph, in_function, in_sparse_initializer, in_attribute_list],
        *[in_sparse_attribute, in_sparse_attribute_list, only_location, only_flag],
    ],
)
def test_a_model_with_tensors_in_other_files_is_refused(forge, place, monkeypatch):
    """Wherever in the graph they hide; onnxruntime is not asked to open it at all."""
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *_, **__: pytest.fail("was opened"))
    with pytest.raises(ModelError, match="other files"):
        OnnxBackend(altered(forge, place))


def test_graphs_nested_without_end_are_refused():
    """A thousand levels, which no network has, do not exhaust the stack."""

    def field(number, content):
        size, length = len(content), b""
        while size > 127:
            size, length = size >> 7, length + bytes([size & 127 | 128])
        return bytes([number << 3 | 2]) + length + bytes([size]) + content

    graph = b""
    for _ in range(1000):
        graph = field(1, field(5, field(6, graph)))  # node, attribute, graph
    with pytest.raises(ModelError, match="nested too deep"):
        OnnxBackend(field(7, graph))


@pytest.mark.parametrize(
    "data",
    [
        *[b"", b"x", b"\0" * 100, b"\xff" * 100, b"\x3a\x00", b"\x08\x08", b"PK\x03\x04", b"\x80" * 20],
        *[b"<html>404</html>", b"version https://git-lfs.github.com/spec/v1\n", b"\x3a\x7f" + b"\0" * 10],
    ],
)
def test_bytes_that_are_no_model_are_refused(data):
    """Nothing, noise, a web page, a pointer of Git LFS."""
    with pytest.raises(ModelError, match=r"not an ONNX model|cannot open"):
        OnnxBackend(data)


def replaced(model, old, new):
    assert old in model
    return model.replace(old, new)


@pytest.mark.parametrize("name", [b"\x05frame", b"\x05batch", b"\x06logits"])
def test_names_that_are_no_text_are_refused(forge, name):
    """onnxruntime opens a model whose names are not UTF-8, and fails when asked for them."""
    with pytest.raises(ModelError):
        OnnxBackend(replaced(forge.model(), name, name[:-2] + b"\xff" + name[-1:]))


def test_a_refused_model_prints_nothing_on_standard_output(forge, capfd):
    """Else `--json -` is not JSON any more."""
    with pytest.raises(ModelError):
        OnnxBackend(replaced(forge.model(), b"MatMul", b"MatM\xffl"))
    assert capfd.readouterr().out == ""


def test_a_refused_model_prints_nothing_on_standard_error(forge, capfd):
    """The one line comes from whoever catches the ModelError."""

    def shorten(model):
        model.graph.initializer[0].dims[1] = 2

    with pytest.raises(ModelError):
        OnnxBackend(altered(forge, shorten))
    assert capfd.readouterr().err == ""
