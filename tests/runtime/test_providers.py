"""Facts about execution providers and their options, by a double: no NVIDIA is needed, and none is here."""

import re
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from tests.runtime.gpu_double import CPU, CUDA, OPTIONS, TENSORRT, Gpu

from ecovision_edge import Classifier
from ecovision_edge.backends import BackendOptions
from ecovision_edge.backends.onnx import OnnxBackend
from ecovision_edge.base.providers import choose_providers, option_pairs, provider_arguments
from ecovision_edge.cli import main
from ecovision_edge.errors import ModelError, OptionError
from ecovision_edge.verify import FP16_TOLERANCE, verify_bundle

ALL = (TENSORRT, CUDA, CPU)
JETSON = Path(__file__).resolve().parents[2] / "docs" / "jetson.md"
CHAIN = ["--providers", "tensorrt,cuda,cpu"]


@pytest.fixture
def gpu(monkeypatch):
    """Every session that is opened in this process is one of this double."""
    gpu = Gpu()
    monkeypatch.setattr(ort, "get_available_providers", lambda: list(ALL))
    monkeypatch.setattr(ort, "InferenceSession", gpu.session)
    return gpu


def test_short_names_are_onnxruntimes():
    """In the order that they are given in; None is the CPU."""
    assert list(choose_providers(("cuda", "CPU"), (), ALL)) == [CUDA, CPU]
    assert list(choose_providers(("TensorRT", CUDA), (), ALL)) == [TENSORRT, CUDA]
    assert choose_providers(None, (), ALL) == {CPU: {}}


@pytest.mark.parametrize("wanted", [(), ("rocm",), ("cuda", "rocm"), ("",), (3,)])
def test_a_provider_that_there_is_none_of_is_refused(wanted):
    """With those that there are."""
    with pytest.raises(OptionError, match=r"providers: expected some of Tensorrt.*, found .*; install"):
        choose_providers(wanted, (), ALL)


def test_an_option_goes_to_whose_it_is():
    """By its name, by the provider before it, or since there is only one beside the CPU."""
    options = (("trt_fp16_enable", "1"), ("device_id", "1"), ("cuda:use_tf32", "0"))
    assert choose_providers(ALL, options, ALL) == {
        TENSORRT: {"trt_fp16_enable": "1", "device_id": "1"},
        CUDA: {"device_id": "1", "use_tf32": "0"},
        CPU: {},
    }
    assert choose_providers(("cuda", "cpu"), (("use_tf32", "0"),), ALL) == {CUDA: {"use_tf32": "0"}, CPU: {}}


@pytest.mark.parametrize(
    ("wanted", "option"),
    [
        (ALL, "use_tf32"),  # of two
        (("cuda", "cpu"), "trt_fp16_enable"),
        (("cpu",), "device_id"),
        (("cuda",), "tensorrt:trt_fp16_enable"),
        (("cuda",), "nobody:x"),
    ],
)
def test_an_option_of_nobody_is_refused(wanted, option):
    """It would be without effect, and nobody would know."""
    with pytest.raises(OptionError, match=f"provider option {option}: expected one of"):
        choose_providers(wanted, ((option, "1"),), ALL)


def test_values_are_texts():
    """As onnxruntime wants them."""
    assert option_pairs({"a": True, "b": 3, "c": "x"}) == (("a", "1"), ("b", "3"), ("c", "x"))
    assert option_pairs(None) == ()
    for options in ({"": 1}, {"a b": 1}, {"a": 0.5}, {"a": None}, {1: 1}):
        with pytest.raises(OptionError, match="option"):
            option_pairs(options)


def test_words_of_a_command_line_are_read():
    """A value may hold anything; a name stands once."""
    found = provider_arguments("cuda, cpu", ["a=1", "cuda:b=x=y,z"])
    assert found == {"providers": ("cuda", "cpu"), "provider_options": {"a": "1", "cuda:b": "x=y,z"}}
    for words in (["a"], ["=1"], ["a=1", "a=2"]):
        with pytest.raises(OptionError, match="--provider-option: expected NAME=VALUE, each name once"):
            provider_arguments(None, words)
    with pytest.raises(OptionError, match="provider_options: expected providers beside them, found a"):
        Classifier.load(provider_options={"a": 1})


def test_options_reach_the_session(gpu, forge):
    """Those that onnxruntime does not know are an error with its words."""
    OnnxBackend(forge.model(), BackendOptions(providers=ALL, provider_options=(("trt_fp16_enable", "1"),)))
    assert gpu.opened == [{TENSORRT: {"trt_fp16_enable": "1"}, CUDA: {}, CPU: {}}]
    with pytest.raises(ModelError, match='Unknown provider option: "usetf32"'):
        OnnxBackend(forge.model(), BackendOptions(providers=(CUDA,), provider_options=(("usetf32", "0"),)))


def test_the_first_answer_is_there_before_the_first_frame(gpu, forge):
    """TensorRT builds its engine with it; the CPU has nothing to build."""
    OnnxBackend(forge.model(), BackendOptions(providers=(CUDA,)))
    assert gpu.batches == [1]
    OnnxBackend(forge.model())
    assert gpu.batches == [1]


@pytest.mark.parametrize(("providers", "batches"), [((TENSORRT,), [1, 1, 1]), ((CUDA,), [3]), (None, [3])])
def test_tensorrt_is_asked_one_picture_at_a_time(gpu, forge, providers, batches):
    """Else it would build an engine for each number of pictures."""
    backend = OnnxBackend(forge.model(), BackendOptions(providers=providers))
    gpu.batches.clear()
    assert backend.run(np.zeros((3, forge.side, forge.side, 3), np.uint8)).shape == (3, 3)
    assert gpu.batches == batches


def test_verify_says_what_it_runs_on_and_allows_for_tf32(gpu, bundle):
    """CUDA computes fp32 in TF32 by itself, and TensorRT on request in fp16: both have eleven bits."""
    gpu.error = FP16_TOLERANCE * 0.9
    report = verify_bundle(bundle, BackendOptions(providers=(CUDA, CPU)))
    assert report.ok, report.checks
    details = {check.name: check.detail for check in report.checks}
    assert details["model.fp32.onnx"].endswith(f"opens, runs on {CUDA}, {CPU}")
    assert "(allowed 0.126)" in details["golden fp32-onnx"]
    gpu.error = FP16_TOLERANCE * 1.1
    assert not verify_bundle(bundle, BackendOptions(providers=(CUDA, CPU))).ok
    gpu.error = 0.01
    assert not verify_bundle(bundle, BackendOptions(providers=(CPU,))).ok


def test_verify_tells_a_provider_that_falls_back(gpu, bundle, capsys, caplog):
    """On the line of each model, and as a warning; the status is that of the answers."""
    gpu.lacks = (TENSORRT, CUDA)
    assert main(["verify", str(bundle), *CHAIN]) == 0
    assert f"opens, runs on {CPU}\n" in capsys.readouterr().out
    assert f"onnxruntime cannot use {TENSORRT}, {CUDA}, and runs on {CPU}" in caplog.text


@pytest.mark.parametrize(
    "command",
    [["classify", "demo:"], ["run", "--source", "demo:", "--max-frames", "1", "--output", "none"]],
)
def test_commands_hand_their_options_on(gpu, bundle, capsys, command):
    """The same words for each."""
    words = ["-b", str(bundle), *CHAIN, "--provider-option", "device_id=1"]
    assert main([*command, *words]) == 0, capsys.readouterr().err
    assert gpu.opened[-1] == {TENSORRT: {"device_id": "1"}, CUDA: {"device_id": "1"}, CPU: {}}


def test_every_command_that_loads_a_model_has_them(capsys):
    """But `inspect`, which runs none, and `tune`, whose profile is for the CPU."""
    for command in (
        "classify",
        "run",
        "demo",
        "calibrate",
        "verify",
        "eval",
        "score",
        "bench",
        "parity",
        "compare",
    ):
        assert main([command, "--help"]) == 0
        told = capsys.readouterr().out
        assert {"--providers", "--provider-option"} <= set(re.findall(r"--[\w-]+", told)), command


def test_options_that_the_page_names_are_onnxruntimes():
    """On the page about the Jetson."""
    text = JETSON.read_text("utf-8")
    named = set(re.findall(r"\b(trt_\w+)", text)) | set(re.findall(r"cuda:(\w+)", text))
    assert len(named) >= 4
    assert named <= OPTIONS[TENSORRT] | OPTIONS[CUDA]
