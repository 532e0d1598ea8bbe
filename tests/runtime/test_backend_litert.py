"""Facts about LiteRT behind the Backend protocol: what runs, and what is refused."""

import shlex
import subprocess

import numpy as np
import pytest
from tests.runtime.compilers import c_compiler

from ecovision_edge.backends import BackendOptions
from ecovision_edge.backends.engines import open_model
from ecovision_edge.bundle.contract import METADATA_KEY
from ecovision_edge.errors import (
    ContractError,
    InferenceError,
    ModelError,
    OptionError,
)

pytest.importorskip("ai_edge_litert", reason="needs LiteRT: pip install 'ecovision-edge[litert]'")

from ecovision_edge.backends.litert import LiteRtBackend
from ecovision_edge.backends.onnx import OnnxBackend

RED = np.zeros((1, 8, 8, 3), np.uint8) + np.array([0, 0, 160], np.uint8)


@pytest.fixture
def backend(forge):
    return LiteRtBackend(forge.tflite(), BackendOptions(threads=1))


def altered(forge, change, **options):
    model = forge.tflite_object(**options)
    change(model)
    return forge.pack(model)


@pytest.mark.parametrize("output", ["int8", "uint8"])
def test_an_integer_output_is_dequantized(forge, output):
    """By its scale and zero point, to float32: steps of an eighth, and the ends of its range."""
    backend = LiteRtBackend(forge.tflite(output=output, scale=0.125, zero=3), BackendOptions(1))
    frame = np.zeros((1, 8, 8, 3), np.uint8) + np.array([3, 160, 255], np.uint8)  # over 16: 0.1875, 10, 15.94
    logits = backend.run(frame)
    assert logits.dtype == np.float32
    most = (127 if output == "int8" else 255) - 3
    assert logits.tolist() == [[0.25, 10, min(16, most / 8)]]


def test_the_same_network_answers_alike_in_both_engines(forge):
    """One contract, two formats; the tiny network is exact in both."""
    batch = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    answers = [
        open_model(data, kind).run(batch)
        for data, kind in ((forge.model(), "onnx"), (forge.tflite(), "tflite"))
    ]
    assert np.allclose(*answers, atol=1e-5)


def test_an_output_that_is_not_finite_is_refused(forge):
    """Weights of infinity, times a pixel of 0: NaN."""

    def infinite(model):
        model.buffers[2].data = np.full(9, np.inf, np.float32).view(np.uint8)

    with pytest.raises(InferenceError, match=r"expected \(1, 3\) finite numbers, found \(1, 3\), 0 finite"):
        LiteRtBackend(altered(forge, infinite)).run(RED)


def test_providers_are_refused(forge):
    """They are onnxruntime's; the message names what fits here. And the other way round."""
    for providers in (("CPUExecutionProvider",), ()):
        with pytest.raises(OptionError, match=r"providers: expected none for a TFLite model.*delegate"):
            LiteRtBackend(forge.tflite(), BackendOptions(providers=providers))
    with pytest.raises(
        OptionError, match=r"delegate: expected none for an ONNX model, found x\.so.*providers"
    ):
        OnnxBackend(forge.model(), BackendOptions(delegate="x.so"))


@pytest.mark.parametrize("delegate", ["", "a\0b", 3, b"lib.so"])
def test_what_is_no_name_of_a_delegate_is_refused(delegate):
    """By the options, whatever the engine."""
    with pytest.raises(OptionError, match="delegate: expected the name of a shared library, or none"):
        BackendOptions(delegate=delegate)


def test_a_delegate_that_is_not_there_is_refused(forge, recwarn):
    """With the loader's reason; and nothing of it fails later, as it is deleted."""
    with pytest.raises(OptionError, match=r"libnone\.so\.1: cannot open shared object file"):
        LiteRtBackend(forge.tflite(), BackendOptions(delegate="libnone.so.1"))
    assert not recwarn.list


def test_a_library_that_is_no_delegate_is_refused(forge, tmp_path):
    """It says what is missing in it."""
    library = compiled(tmp_path, "int nothing;")
    with pytest.raises(OptionError, match=r"found .* without tflite_plugin_create_delegate"):
        LiteRtBackend(forge.tflite(), BackendOptions(delegate=library))


DELEGATE = """
#include <stdio.h>
#include <stdlib.h>
/* As TfLiteDelegate of tensorflow/lite/core/c/common.h. */
struct Delegate {
  void* data; int (*prepare)(void*, struct Delegate*);
  void *from, *to, *release; long long flags; void* builder;
};
static void tell(const char* what) {
  FILE* log = fopen(getenv("DELEGATE_LOG"), "a"); fprintf(log, "%s\\n", what); fclose(log);
}
static int prepare(void* context, struct Delegate* delegate) { tell("prepared"); return FAILS; }
static struct Delegate delegate = {0, prepare, 0, 0, 0, 0, 0};
void* tflite_plugin_create_delegate(char** keys, char** values, size_t count, void (*report)(const char*)) {
  if (getenv("DELEGATE_REASON")) { report(getenv("DELEGATE_REASON")); return 0; }
  tell("created"); return &delegate;
}
void tflite_plugin_destroy_delegate(void* delegate) { if (delegate) tell("destroyed"); }
"""


def compiled(folder, source):
    (folder / "d.c").write_text(source)
    library = folder / "libd.so"
    subprocess.run(
        [*shlex.split(c_compiler()), "-shared", "-fPIC", "-o", library, folder / "d.c"], check=True
    )
    return str(library)


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.setenv("DELEGATE_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


def test_a_delegate_is_given_the_model(forge, tmp_path, log):
    """A real shared library, that takes no operator: created, prepared, and destroyed with the backend."""
    library = compiled(tmp_path, DELEGATE.replace("FAILS", "0"))
    backend = LiteRtBackend(forge.tflite(), BackendOptions(delegate=library))
    assert backend.run(RED).tolist() == [[0, 0, 10]]
    assert backend.delegate == library
    assert backend.engine.endswith(f" with {library}")
    assert log.read_text().split() == ["created", "prepared"]
    del backend
    assert log.read_text().split() == ["created", "prepared", "destroyed"]


def test_a_delegate_that_cannot_start_is_refused_with_its_reason(forge, tmp_path, log, monkeypatch):
    """No device on the bus, for instance."""
    monkeypatch.setenv("DELEGATE_REASON", "no Edge TPU found")
    library = compiled(tmp_path, DELEGATE.replace("FAILS", "0"))
    with pytest.raises(OptionError, match=r"delegate: .*no Edge TPU found"):
        LiteRtBackend(forge.tflite(), BackendOptions(delegate=library))
    assert not log.exists()


def test_a_model_that_the_delegate_refuses_is_refused(forge, tmp_path, log):
    """The message names the delegate."""
    library = compiled(tmp_path, DELEGATE.replace("FAILS", "1"))
    with pytest.raises(ModelError, match=r"LiteRT cannot open the model with the delegate .*libd\.so"):
        LiteRtBackend(forge.tflite(), BackendOptions(delegate=library))
    assert log.read_text().split() == ["created", "prepared", "destroyed"]


def test_a_contract_that_is_no_text_is_refused(forge):
    """Metadata of TFLite are bytes."""
    with pytest.raises(ContractError):
        LiteRtBackend(forge.tflite(metadata={METADATA_KEY: b"\xff\xfe{}"}))


def other_shape(model):
    model.subgraphs[0].tensors[0].shape = model.subgraphs[0].tensors[1].shape = np.array([1, 9, 8, 3])


def other_batch(model):
    model.subgraphs[0].tensors[0].shape = model.subgraphs[0].tensors[1].shape = np.array([4, 8, 8, 3])


def huge_batch(model):
    model.subgraphs[0].tensors[0].shape = np.array([2**28, 8, 8, 3])


def signed_pixels(model):
    model.subgraphs[0].tensors[0].type = 9  # INT8


def two_inputs(model):
    model.subgraphs[0].inputs = np.array([0, 1], np.int32)


def no_input(model):
    model.subgraphs[0].inputs = np.array([], np.int32)


@pytest.mark.parametrize(
    "change", [other_shape, other_batch, huge_batch, signed_pixels, two_inputs, no_input]
)
def test_an_input_unlike_the_contract_is_refused(forge, change):
    """The message says what was expected and found."""
    with pytest.raises(
        ModelError, match=r"input does not fit.*expected one input uint8 \(1, 8, 8, 3\), found"
    ):
        LiteRtBackend(altered(forge, change))


def two_outputs(model):
    model.subgraphs[0].outputs = np.array([4, 2], np.int32)


def no_output(model):
    model.subgraphs[0].outputs = np.array([], np.int32)


def pixels_out(model):
    model.subgraphs[0].outputs = np.array([1], np.int32)


def whole_numbers(model):
    model.subgraphs[0].outputs = np.array([3], np.int32)  # the axes, int32


@pytest.mark.parametrize("change", [two_outputs, no_output, pixels_out, whole_numbers])
def test_an_output_unlike_the_contract_is_refused(forge, change):
    """One row of numbers that are logits, or can be made to be."""
    with pytest.raises(ModelError, match=r"output does not fit|labels do not fit"):
        LiteRtBackend(altered(forge, change))


def test_an_integer_output_without_a_scale_is_refused(forge):
    """Nobody could say what its numbers mean."""

    def unscaled(model):
        graph = model.subgraphs[0]
        graph.outputs = np.array([len(graph.tensors)], np.int32)
        logits = type(graph.tensors[0])()
        logits.name, logits.shape, logits.type, logits.buffer = "q", np.array([1, 3], np.int32), 9, 0
        graph.tensors.append(logits)
        graph.operators[2].outputs = np.array([4], np.int32)
        cast = type(graph.operators[0])()
        cast.opcodeIndex, cast.inputs, cast.outputs = 0, np.array([4], np.int32), graph.outputs
        graph.operators.append(cast)

    with pytest.raises(ModelError, match="cannot be dequantized: expected a scale above 0"):
        LiteRtBackend(altered(forge, unscaled))


def unknown_operator(model):
    model.operatorCodes[1].builtinCode = model.operatorCodes[1].deprecatedBuiltinCode = 32  # CUSTOM
    model.operatorCodes[1].customCode = "edgetpu-custom-op"


def test_an_operator_that_litert_has_not_is_refused(forge):
    """As of a model that was compiled for a delegate, without it; the message has the name."""
    with pytest.raises(ModelError, match=r"LiteRT cannot open the model: .*edgetpu-custom-op"):
        LiteRtBackend(altered(forge, unknown_operator))


def test_nothing_is_printed_on_standard_output(forge, capfd):
    """Else `--json -` is not JSON any more."""
    LiteRtBackend(forge.tflite()).run(RED)
    with pytest.raises(ModelError):
        LiteRtBackend(altered(forge, unknown_operator))
    assert capfd.readouterr().out == ""
