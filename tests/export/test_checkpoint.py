"""Loading weights: every form that is accepted, and every refusal."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import decimal
import fractions
import hashlib
import io
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import types
import uuid
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ecovision_edge.base.extras import require
from ecovision_edge.base.installation import extra_fix
from ecovision_edge.errors import CheckpointError, MissingDependencyError, OptionError
from ecovision_edge_export.ecovision import LABELS, REFERENCE_WEIGHTS
from ecovision_edge_export.weights.checkpoint import Checkpoint, build_model, load_checkpoint
from ecovision_edge_export.weights.harmless import SAFE_GLOBALS
from ecovision_edge_export.weights.preprocessing import Preprocessing
from ecovision_edge_export.weights.reference import main, write_reference_weights
from ecovision_edge_export.weights.timm import timm_keys

torch = pytest.importorskip("torch", reason="needs the extra `export`")
torchvision = pytest.importorskip("torchvision", reason="needs the extra `export`")
safetensors_torch = pytest.importorskip("safetensors.torch", reason="needs the extra `export`")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Threads only slow down hundreds of small tensors, most of all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def reference() -> Checkpoint:
    return load_checkpoint("reference")


@pytest.fixture
def weights(reference):
    """A state dict of 10 classes, free to change."""
    return dict(reference.state)


def zeros(state: dict) -> dict:
    """A state dict of these shapes that is a small file: tensors of a type all show the same zero."""
    zero = {dtype: torch.zeros((), dtype=dtype) for dtype in {v.dtype for v in state.values()}}
    return {k: zero[v.dtype].expand(v.shape) for k, v in state.items()}


@pytest.fixture
def blank(reference):
    """A state dict of 10 classes for what does not depend on its numbers, free to change."""
    return zeros(reference.state)


@pytest.fixture
def numbered(reference):
    """A state dict of 10 classes in a small file: each tensor shows a number of its own."""
    numbers = {k: torch.tensor(n + 1, dtype=v.dtype) for n, (k, v) in enumerate(reference.state.items())}
    return {k: numbers[k].expand(v.shape) for k, v in reference.state.items()}


@pytest.fixture
def load(tmp_path):
    """Save with torch.save, then load; `save` are its options."""

    def save_and_load(obj, *, num_classes=None, name="w.pth", **save):
        torch.save(obj, tmp_path / name, **save)
        return load_checkpoint(str(tmp_path / name), num_classes=num_classes)

    return save_and_load


def write(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def same(a, b) -> bool:
    return list(a) == list(b) and all(torch.equal(a[k], b[k]) for k in a)


def refusal(spec: str, **options) -> str:
    """The one line with which it is refused."""
    with pytest.raises(CheckpointError) as e:
        load_checkpoint(spec, **options)
    assert "\n" not in str(e.value)
    assert len(str(e.value)) < 4000
    return str(e.value)


# -- the embedded reference -----------------------------------------------------------------------------


def test_the_reference_is_fp32_finite_and_labelled(reference):
    assert reference.num_classes == 10
    assert reference.labels == LABELS
    assert (reference.source.architecture, reference.source.source) == ("mobilenet_v3_large", "reference")
    assert reference.source.sha256 == hashlib.sha256(REFERENCE_WEIGHTS.read_bytes()).hexdigest()
    for key, tensor in reference.state.items():
        assert tensor.dtype == (torch.int64 if key.endswith("num_batches_tracked") else torch.float32)
        assert torch.isfinite(tensor).all()


def test_writing_the_reference_again_gives_the_same_bytes(reference, tmp_path):
    torch.save(dict(reference.state), tmp_path / "src.pth")
    first = write_reference_weights(tmp_path / "src.pth", tmp_path / "a.safetensors")
    assert main([str(tmp_path / "src.pth"), "--output", str(tmp_path / "b.safetensors")]) == 0
    data = (tmp_path / "a.safetensors").read_bytes()
    assert data == (tmp_path / "b.safetensors").read_bytes()
    assert hashlib.sha256(data).hexdigest() == first
    assert same(load_checkpoint(str(tmp_path / "a.safetensors")).state, reference.state)


def test_a_weight_beyond_fp16_is_not_made_infinite(weights, tmp_path, capsys):
    weights["classifier.0.weight"] = weights["classifier.0.weight"] * 1e7
    torch.save(weights, tmp_path / "src.pth")
    assert main([str(tmp_path / "src.pth"), "--output", str(tmp_path / "a.safetensors")]) == 2
    assert "65504" in capsys.readouterr().err
    assert not (tmp_path / "a.safetensors").exists()


def test_tiny_variances_survive_the_embedded_file(weights, tmp_path):
    # fp16 ends at 6e-8: this one would become 0, as small kernels of trained networks have had it.
    weights["features.0.1.running_var"] = weights["features.0.1.running_var"].clone()
    weights["features.0.1.running_var"][3] = 1e-9
    torch.save(weights, tmp_path / "src.pth")
    assert main([str(tmp_path / "src.pth"), "--output", str(tmp_path / "a.safetensors")]) == 0
    kept = load_checkpoint(str(tmp_path / "a.safetensors")).state["features.0.1.running_var"]
    assert float(kept[3]) == pytest.approx(1e-9)


# -- the model ------------------------------------------------------------------------------------------


def test_the_model_is_ready_to_run_and_draws_no_random_numbers(reference):
    before = torch.get_rng_state()
    model = build_model(reference)
    assert torch.equal(before, torch.get_rng_state())
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 10)
    assert same(model.state_dict(), reference.state)


def test_changing_the_model_leaves_the_checkpoint_alone(reference):
    model = build_model(reference)
    model.classifier[3].bias.fill_(7)
    assert not torch.equal(model.classifier[3].bias, reference.state["classifier.3.bias"])


def test_the_model_is_the_one_that_torchvision_would_give(reference):
    with torch.random.fork_rng():
        theirs = torchvision.models.mobilenet_v3_large(weights=None, num_classes=10)
    theirs.load_state_dict(reference.state)
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(theirs.eval()(x), build_model(reference)(x))


# -- what a file may look like --------------------------------------------------------------------------


def test_a_plain_state_dict_loads_and_is_named_without_its_folder(load, weights, tmp_path):
    c = load(weights, num_classes=10)
    assert same(c.state, weights)
    assert (c.source.source, c.source.revision, c.labels, c.notes) == ("w.pth", None, None, ())
    assert c.source.sha256 == hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()


def test_the_format_of_torch_before_1_6_loads(load, weights):
    assert same(load(weights, _use_new_zipfile_serialization=False).state, weights)


@pytest.mark.parametrize(
    "key",
    [
        "state_dict",
        "model_state_dict",
        "model",
        "net",
        "ema_state_dict",
        "state_dict_ema",
        "model_ema",
        "ema",
    ],
)
def test_a_state_dict_inside_a_checkpoint_is_found(load, numbered, key):
    c = load({"epoch": 3, "step": torch.tensor(7), key: OrderedDict(numbered), "optimizer": {"lr": 0.1}})
    assert same(c.state, numbered)
    assert c.notes == ()


def test_ema_weights_win_over_raw_ones_and_a_note_says_so(load, numbered):
    raw = {**numbered, "classifier.3.bias": numbered["classifier.3.bias"] + 1}
    c = load({"state_dict": raw, "ema": {"module": numbered, "decay": 0.999}})
    assert same(c.state, numbered)
    assert c.notes == ("weights taken from `ema`; not used: `state_dict`",)


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "_orig_mod.module.model."]
)
def test_the_prefixes_of_wrappers_are_taken_off(load, numbered, prefix):
    assert same(load({prefix + k: v for k, v in numbered.items()}).state, numbered)


def test_the_state_of_torchs_own_averaged_model_loads(load, reference):
    averaged = torch.optim.swa_utils.AveragedModel(build_model(reference), use_buffers=True)
    assert "n_averaged" in averaged.state_dict()
    assert same(load({"model_ema": averaged.state_dict()}).state, reference.state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_become_fp32(load, numbered, dtype):
    c = load({k: v.to(dtype) if v.is_floating_point() else v for k, v in numbered.items()})
    assert {v.dtype for v in c.state.values()} == {torch.float32, torch.int64}
    assert torch.equal(c.state["classifier.3.bias"], numbered["classifier.3.bias"].to(dtype).float())


def test_counters_may_be_missing_or_averaged_into_floats(load, numbered):
    counters = [k for k in numbered if k.endswith("num_batches_tracked")]
    averaged = {**numbered, counters[0]: numbered[counters[0]].float() + 0.5}
    assert load(averaged).state[counters[0]].dtype == torch.int64
    dropped = load({k: v for k, v in numbered.items() if k not in counters})
    assert set(dropped.state) == set(numbered)
    build_model(dropped)


def test_parameters_and_strided_views_become_plain_dense_tensors(load, weights):
    key = "classifier.0.weight"
    c = load({**weights, key: torch.nn.Parameter(weights[key].t().contiguous().t())})
    assert type(c.state[key]) is torch.Tensor
    assert c.state[key].is_contiguous()
    assert not c.state[key].requires_grad
    assert torch.equal(c.state[key], weights[key])


def test_safetensors_load_with_labels_from_their_metadata(weights, tmp_path):
    path = tmp_path / "w.safetensors"
    safetensors_torch.save_file(weights, path, {"labels": json.dumps(LABELS), "format": "pt"})
    c = load_checkpoint(str(path))
    assert same(c.state, weights)
    assert c.labels == LABELS


@pytest.mark.parametrize(
    "extra",
    [
        {"labels": list(LABELS)},
        {"classes": LABELS},
        {"class_names": list(LABELS), "classes": 10, "labels": torch.arange(10)},
        {"class_to_idx": {n: i for i, n in enumerate(LABELS)}},
        {"idx_to_class": dict(enumerate(LABELS))},
        {"idx_to_class": {str(i): n for i, n in reversed(list(enumerate(LABELS)))}},
    ],
)
def test_labels_that_travel_in_the_checkpoint_are_picked_up(load, blank, extra):
    assert load({"model": blank, **extra}).labels == LABELS


@pytest.mark.parametrize(
    "extra",
    [
        {"names": list(LABELS)},
        {"names": dict(enumerate(LABELS))},
        {"class_names": dict(enumerate(LABELS))},
        {
            "id2label": {str(i): n for i, n in enumerate(LABELS)},
            "label2id": {n: i for i, n in enumerate(LABELS)},
        },
        {"classes": {n: i for i, n in enumerate(LABELS)}},
        {"classes": np.array(LABELS)},
        {"classes": np.array(LABELS, object)},
        {"class_to_idx": {n: np.int64(i) for i, n in enumerate(LABELS)}},
        {"class_to_idx": {n: torch.tensor(i) for i, n in enumerate(LABELS)}},
        {"args": argparse.Namespace(class_names=list(LABELS), lr=0.1)},
        {"hyper_parameters": {"class_names": LABELS}},
        {"names": ["loss", "accuracy"], "labels": LABELS},
        {"CLASSES": LABELS},
        {"idx_to_label": dict(enumerate(LABELS))},
        {"label_to_id": {n: float(i) for i, n in enumerate(LABELS)}},
        {"class_indices": {n: i for i, n in enumerate(LABELS)}},
        {"label_map": {n: i for i, n in enumerate(LABELS)}, "class_map": {0: "a"}},
        {"target_names": LABELS},
        {"meta": {"dataset_meta": {"classes": LABELS}}},
        {"categories": [{"id": i, "name": n} for i, n in reversed(list(enumerate(LABELS)))]},
    ],
)
def test_labels_are_read_in_every_form(load, blank, extra):
    c = load({"model": blank, **extra})
    assert c.labels == LABELS
    assert c.notes == ()


@pytest.mark.parametrize(
    "extra",
    [
        {"class_to_idx": {n: i + 1 for i, n in enumerate(LABELS)}},
        {"id2label": {i + 1: n for i, n in enumerate(LABELS)}},
    ],
)
def test_labels_that_are_counted_from_1_are_read_with_a_note(load, blank, extra):
    c = load({"model": blank, **extra})
    assert c.labels == LABELS
    assert c.notes == (f"`{next(iter(extra))}` counts from 1: the first output is taken as {LABELS[0]}",)


def test_what_is_called_labels_and_is_none_is_told(load, blank):
    for value in ([1, 2], {0: "a", 2: "b"}, [{"id": 0}], {"a": 0.5}):
        c = load({"model": blank, "class_names": value})
        assert c.labels is None
        assert c.notes == ("`class_names` in w.pth is not read as labels",)


def test_wrong_labels_are_no_hindrance_for_who_gives_others(load, blank, tmp_path):
    torch.save({"model": blank, "class_names": ["background", *LABELS]}, tmp_path / "w.pth")
    refused = refusal(str(tmp_path / "w.pth"))
    assert "expected 10 labels, one per class, found 11; give --labels FILE" in refused
    c = load_checkpoint(str(tmp_path / "w.pth"), labels=LABELS)
    assert c.labels is None
    assert "labels that are not used: " in c.notes[0]


# -- data beside the weights ----------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
def test_harmless_data_beside_the_weights_do_not_matter(load, numbered, zipped):
    beside = [
        argparse.Namespace(lr=np.float32(0.1), folder=Path("photos"), nested=argparse.Namespace(a=1)),
        types.SimpleNamespace(a=1),
        [np.float64(0.5), np.int64(3), np.bool_(True), np.str_("x"), np.datetime64("2020-01-01")],
        [
            np.zeros(3),
            np.zeros((2, 2)),
            np.array(["a"], object),
            np.dtype("f4"),
            np.float32,
            np.random.get_state(),
        ],
        [Path("photos"), PurePosixPath("/a"), PureWindowsPath("C:/photos")],
        [datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc), datetime.date(2020, 1, 1)],
        [datetime.timedelta(1), datetime.time(3)],
        [
            collections.defaultdict(list, {"loss": [1.0]}),
            collections.defaultdict(dict),
            collections.deque([1], 3),
        ],
        [torch.device("cuda:0"), torch.__version__, torch.float16, torch.Size([1])],
        [
            decimal.Decimal("1.5"),
            fractions.Fraction(1, 2),
            uuid.UUID(int=1),
            range(3),
            slice(1),
            {1},
            frozenset([1]),
        ],
        [float, int, 1j, b"ab", bytearray(b"x"), 10**30],
    ]
    c = load({"model": numbered, "beside": beside}, _use_new_zipfile_serialization=zipped)
    assert same(c.state, numbered)


@pytest.mark.parametrize("name", ["numpy.core.multiarray", "pathlib._local"])
def test_modules_of_other_versions_are_known_too(name):
    assert any(known.startswith(f"{name}.") for _, known in SAFE_GLOBALS)


def test_a_stand_in_never_runs_the_type(tmp_path, numbered):
    """Arguments that would allocate a terabyte, were an array made of them."""

    class Hostile:
        def __reduce__(self):
            return np.ndarray, ((1 << 40,), "u1")

    torch.save({"model": numbered, "x": Hostile()}, tmp_path / "w.pth")
    assert same(load_checkpoint(str(tmp_path / "w.pth")).state, numbered)


def test_the_allow_list_ends_with_the_loading(load, blank):
    before = set(torch.serialization.get_safe_globals())
    load(blank)
    assert set(torch.serialization.get_safe_globals()) == before


def test_preprocessing_is_read_from_the_arguments_of_torchvisions_own_script(load, blank):
    arguments = argparse.Namespace(val_resize_size=232, val_crop_size=224, interpolation="bilinear")
    c = load({"model": blank, "args": arguments})
    assert c.preprocessing == Preprocessing(resize="shortest:232")
    assert c.notes[0].startswith(
        "prepared as the checkpoint says: size [224, 224], resize shortest:232, mean [0"
    )
    arguments.interpolation = "bicubic"
    c = load({"model": blank, "args": arguments})
    assert c.preprocessing == Preprocessing()
    assert c.unsaid == {"resize", "mean", "std"}


@pytest.mark.parametrize(
    ("beside", "prepared", "unsaid"),
    [
        ({"img_size": 160}, Preprocessing(size=(160, 160)), {"resize", "mean", "std"}),
        (
            {"args": argparse.Namespace(input_size=(3, 192, 256))},
            Preprocessing((192, 256)),
            {"resize", "mean", "std"},
        ),
        (
            {"mean": [0.5] * 3, "std": (0.5,) * 3},
            Preprocessing(mean=(0.5,) * 3, std=(0.5,) * 3),
            {"size", "resize"},
        ),
        (
            {"config": {"mean": [127.5] * 3, "std": [127.5] * 3, "image_size": np.int64(224)}},
            Preprocessing(mean=(0.5,) * 3, std=(0.5,) * 3),
            {"resize"},
        ),
        ({"mean": 0.93, "img_size": "large"}, None, {"size", "resize", "mean", "std"}),
        ({"mean": [0.5] * 3}, None, {"size", "resize", "mean", "std"}),
    ],
)
def test_preprocessing_that_a_checkpoint_says_is_read(load, blank, beside, prepared, unsaid):
    c = load({"model": blank, **beside})
    assert c.preprocessing == prepared
    assert c.unsaid == unsaid


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"labels": ["a", "b"]}, "10 labels, one per class, found 2"),
        ({"labels": ["a"] * 10}, "each label once"),
        ({"labels": ["", *LABELS[1:]]}, "printable"),
        ({"labels": list(LABELS), "classes": list(reversed(LABELS))}, "`labels` and its `classes`"),
    ],
)
def test_labels_that_cannot_be_right_are_refused(load, blank, extra, says):
    with pytest.raises(CheckpointError, match=says):
        load({"model": blank, **extra})


def test_another_number_of_classes_is_read_from_the_classifier(load, blank):
    blank["classifier.3.weight"] = torch.zeros(3, 1280)
    blank["classifier.3.bias"] = torch.zeros(3)
    c = load(blank)
    assert c.num_classes == 3
    assert build_model(c)(torch.zeros(1, 3, 64, 64)).shape == (1, 3)


# -- code is never run ----------------------------------------------------------------------------------


class Malicious:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle2", "pickle4", "pickle5"])
def test_a_pickle_that_wants_code_is_refused_and_not_run(tmp_path, form):
    mark, path = tmp_path / "owned", tmp_path / "evil.pth"
    evil = {"state_dict": Malicious(mark)}
    if form.startswith("pickle"):
        path.write_bytes(pickle.dumps(evil, protocol=int(form[-1])))
    else:
        torch.save(evil, path, _use_new_zipfile_serialization=form == "zip")
    message = refusal(str(path))
    assert "system" in message
    assert "torch.save(model.state_dict(), 'weights.pth')" in message
    assert not mark.exists()


def test_a_whole_pickled_model_is_refused_by_name(tmp_path, reference):
    torch.save(build_model(reference), tmp_path / "whole.pth")
    message = refusal(str(tmp_path / "whole.pth"))
    assert "whole pickled model" in message
    assert "MobileNetV3" in message
    line = "torch.save(torch.load('whole.pth', map_location='cpu', weights_only=False).state_dict(), "
    assert line in message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrap", "protocol", "zipped", "weights_at"),
    [
        (lambda state, _: {"state_dict": state, "config": Foreign()}, 2, True, "['state_dict']"),
        (lambda state, _: {"state_dict": state, "config": Foreign()}, 2, False, "['state_dict']"),
        (lambda _, net: {"epoch": 3, "model": net}, 2, True, "['model'].state_dict()"),
        (lambda _, net: {"epoch": 3, "model": net}, 2, False, "['model'].state_dict()"),
        (lambda state, _: state, 4, True, ""),
    ],
)
def test_what_stays_refused_says_the_line_that_makes_a_good_file_of_it(
    tmp_path, monkeypatch, reference, wrap, protocol, zipped, weights_at
):
    path = tmp_path / "his.pth"
    obj = wrap(dict(reference.state), build_model(reference))
    torch.save(obj, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    line = refusal(str(path)).partition("save the weights alone: ")[2]
    assert f"weights_only=False){weights_at}, 'weights.pth')" in line
    monkeypatch.chdir(tmp_path)
    exec(line, {})
    assert same(load_checkpoint("weights.pth").state, reference.state)


class Foreign:
    """A class of somebody's training."""


def test_a_torchscript_archive_is_refused(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its TorchScript deprecated
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "s.pt")
    assert "TorchScript" in refusal(str(tmp_path / "s.pt"))


# -- what is not a checkpoint ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.pth", b"", "empty file"),
        ("a.safetensors", b"", "empty file"),
        ("a.pth", b"hello, I am text", "but text"),
        ("a.safetensors", b"hello, I am text", "but text"),
        ("a.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        ("a.pth", b"<!DOCTYPE html><html>", "web page"),
        ("a.pth", bytes(range(256)), "not a file of torch.save"),
        ("a.pth", b"\x80\x02", "damaged"),
        ("a.safetensors", struct.pack("<Q", 2**63) + b"{}", "damaged"),
        ("a.safetensors", struct.pack("<Q", 2) + b"{}", "state dict"),
        ("a.safetensors", struct.pack("<Q", 100) + b"{}", "damaged"),
    ],
)
def test_a_file_that_is_not_weights_is_refused_with_what_it_looks_like(tmp_path, name, data, says):
    assert says in refusal(write(tmp_path / name, data))


def test_safetensors_that_promise_terabytes_are_refused(tmp_path):
    header = json.dumps({"x.y": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]}})
    data = struct.pack("<Q", len(header)) + header.encode()
    assert "damaged" in refusal(write(tmp_path / "a.safetensors", data))


def test_a_zip_that_unpacks_to_gigabytes_is_refused_unopened(tmp_path, monkeypatch):
    import ecovision_edge_export.weights.weights_file as module

    monkeypatch.setattr(module, "MAX_BYTES", 1_000_000)
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("bomb/data.pkl", b"\0" * 2_000_000)
    assert "unpacked" in refusal(str(tmp_path / "bomb.pth"))


def test_a_zip_of_something_else_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as z:
        z.writestr("readme.txt", "hi")
    assert "torch.save did not write" in refusal(str(tmp_path / "a.pt"))


def test_a_file_above_the_cap_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "big.pth").open("wb") as f:
        f.truncate(2 * 1024**3 + 1)  # sparse
    assert "at most 2147483648 bytes" in refusal(str(tmp_path / "big.pth"))


def test_a_missing_file_says_what_is_accepted(tmp_path):
    message = refusal(str(tmp_path / "none.pth"))
    assert f"no checkpoint at {tmp_path}/none.pth" in message
    assert "hf://" in message
    assert ".safetensors" in message


@pytest.mark.parametrize(
    "spec", ["", " ", "https://example.org/w.pth", "a\0b.pth", "x" * 5000, "~nobody-of-that-name/w.pth"]
)
def test_a_spec_that_is_no_path_is_refused(spec):
    refusal(spec)


def test_folders_and_pipes_are_refused(tmp_path):
    assert "folder" in refusal(str(tmp_path))
    os.mkfifo(tmp_path / "pipe.pth")
    assert "not a file" in refusal(str(tmp_path / "pipe.pth"))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("keep", [1, 10, 100, 3000, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, numbered, legacy, keep):
    torch.save(numbered, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    data = (tmp_path / "w.pth").read_bytes()
    refusal(write(tmp_path / "w.pth", data[: keep if keep >= 1 else int(len(data) * keep)]))


@given(
    position=st.integers(0, 2000),
    value=st.integers(0, 255),
    extension=st.sampled_from(["pth", "safetensors"]),
)
@example(position=1615, value=2, extension="pth")  # the number of disks that a zip archive spans
def test_damage_in_a_small_file_is_a_checkpoint_error(tmp_path_factory, position, value, extension):
    state = {"features.0.0.weight": torch.zeros(2, 2)}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = bytearray(buffer.getvalue() if extension == "pth" else safetensors_torch.save(state))
    data[position % len(data)] = value
    path = tmp_path_factory.mktemp("damage") / f"d.{extension}"
    refusal(write(path, bytes(data)))  # undamaged or not, it lacks most keys


@pytest.mark.parametrize("obj", [3, "text", [1, 2], torch.zeros(3), {}, {"epoch": 3}, {"model": {}}])
def test_a_file_without_a_state_dict_is_refused(tmp_path, obj):
    torch.save(obj, tmp_path / "w.pth")
    assert "state dict" in refusal(str(tmp_path / "w.pth"))


# -- weights that do not fit ----------------------------------------------------------------------------


def meta_weights(name: str, **options):
    """A state dict of another torchvision network, zeros."""
    with torch.device("meta"):
        model = getattr(torchvision.models, name)(weights=None, **options)
    return zeros(model.state_dict())


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mobilenet_v3_small", "mobilenet_v3_small"),
        ("resnet18", "resnet"),
        ("mobilenet_v2", "mobilenet_v2"),
        ("efficientnet_b0", "efficientnet"),
    ],
)
def test_the_weights_of_another_network_are_recognised(load, name, says):
    with pytest.raises(CheckpointError, match=f"these look like {says} weights") as e:
        load(meta_weights(name))
    assert " and " in str(e.value)
    assert "more" in str(e.value)
    assert len(str(e.value)) < 2500


def test_one_error_lists_the_whole_difference(load, blank):
    del blank["features.0.0.weight"]
    blank["surprise.weight"] = torch.zeros(1)
    blank["classifier.0.bias"] = torch.zeros(7)
    blank["features.16.1.bias"] = torch.zeros(960, dtype=torch.int8)
    with pytest.raises(CheckpointError) as e:
        load(blank, num_classes=12)
    for part in (
        "10 classes, not 12",
        "1 key missing: features.0.0.weight",
        "1 key not known: surprise.weight",
        "classifier.0.bias is 7 instead of 1280",
        "features.16.1.bias is int8",
    ):
        assert part in str(e.value)


def head(*layers) -> dict:
    """The state of a network with this classifier."""
    with torch.device("meta"):
        model = torchvision.models.mobilenet_v3_large(weights=None)
        model.classifier = layers[0] if len(layers) == 1 else torch.nn.Sequential(*layers)
    return zeros(model.state_dict())


def linear(before: int, after: int) -> torch.nn.Module:
    return torch.nn.Linear(before, after, device="meta")


@pytest.mark.parametrize(
    ("layers", "paths"),
    [
        ([linear(960, 1280), torch.nn.Hardswish(), linear(1280, 10)], ("0", "2")),
        (
            [
                torch.nn.Dropout(),
                linear(960, 1280),
                torch.nn.Hardswish(),
                torch.nn.Dropout(),
                linear(1280, 10),
            ],
            ("1", "4"),
        ),
        (
            [
                linear(960, 1280),
                torch.nn.Hardswish(),
                torch.nn.Dropout(),
                torch.nn.Sequential(torch.nn.Dropout(), linear(1280, 10)),
            ],
            ("0", "3.1"),
        ),
    ],
)
def test_a_classifier_of_the_same_function_is_taken_from_other_indices(load, numbered, layers, paths):
    theirs = head(*layers)
    for index, path in zip(("0", "3"), paths, strict=True):
        for what in ("weight", "bias"):
            theirs[f"classifier.{path}.{what}"] = numbered[f"classifier.{index}.{what}"]
    theirs |= {k: v for k, v in numbered.items() if k.startswith("features.")}
    c = load(theirs)
    assert same(c.state, numbered)
    first, last = (f"`classifier.{path}`" for path in paths)
    assert c.notes == (f"assumed: {first}, hard-swish, then {last}, as torchvision's classifier",)


@pytest.mark.parametrize(
    "layers",
    [
        [linear(960, 10)],
        [linear(960, 512), torch.nn.Hardswish(), linear(512, 10)],
        [linear(960, 1280), linear(1280, 10)],
        [linear(960, 1280), torch.nn.Hardswish(), linear(1280, 256), torch.nn.ReLU(), linear(256, 10)],
        [
            linear(960, 1280),
            torch.nn.BatchNorm1d(1280, device="meta"),
            torch.nn.Hardswish(),
            linear(1280, 10),
        ],
    ],
)
def test_a_classifier_of_another_function_is_refused(load, layers):
    with pytest.raises(CheckpointError, match="classifier"):
        load(head(*layers))


# -- the network among other keys -----------------------------------------------------------------------


def under(prefix: str, state: dict) -> dict:
    return {prefix + k: v for k, v in state.items()}


@pytest.mark.parametrize(
    "prefix", ["backbone.", "net.", "base_model.", "module.model.backbone.", "student.net."]
)
def test_the_network_is_found_under_any_prefix(load, numbered, prefix):
    c = load({"state_dict": under(prefix, numbered)})
    assert same(c.state, numbered)
    assert c.notes == (f"weights taken from `{prefix.removeprefix('module.')}`",)


def test_keys_that_compute_nothing_of_the_answer_are_left_away_with_a_note(load, numbered):
    beside = {
        "criterion.weight": torch.ones(10),
        "center_loss.centers": torch.ones(10, 1280),
        "val_cm.confmat": torch.zeros(10, 10, dtype=torch.int64),
        "test_cm.confmat": torch.zeros(10, 10),
        "confusion_matrix": torch.zeros(10, 10),
        "val_accuracy.seen": torch.zeros(10, 10),
        "temperature": torch.ones(1),
    }
    c = load({"state_dict": under("model.", numbered) | beside})
    assert same(c.state, numbered)
    shown = ", ".join(f"`{key}`" for key in list(beside)[:6])
    assert c.notes == (f"weights taken from `model.`; not used: {shown} and 1 more",)


@pytest.mark.parametrize(
    "beside",
    [
        {"fc.weight": torch.ones(5, 10), "fc.bias": torch.ones(5)},
        {"model.attention.weight": torch.ones(960, 960)},
        {"model.norm.weight": torch.ones(960), "model.norm.bias": torch.ones(960)},
        {"model.features.17.0.weight": torch.ones(960, 960, 1, 1)},
        {"norm.running_mean": torch.ones(3)},
    ],
)
def test_layers_that_may_belong_to_the_answer_are_no_network_of_torchvision(load, blank, beside):
    with pytest.raises(CheckpointError, match="not known: " + next(iter(beside)).removeprefix("model.")):
        load(under("model.", blank) | beside)


def test_what_a_profiler_counted_is_left_away(load, numbered):
    counted = {k.rpartition(".")[0] + ".total_ops": torch.zeros(1) for k in numbered} | {
        "total_params": torch.ones(1)
    }
    c = load(numbered | counted)
    assert same(c.state, numbered)
    assert "`features.0.0.total_ops`" in c.notes[0]
    assert "which a profiler left" in c.notes[0]


def test_a_body_apart_from_its_head_is_put_together(load, numbered):
    parts = {"features.": "backbone.", "classifier.": "head."}
    theirs = {
        new + k.removeprefix(old): v
        for old, new in parts.items()
        for k, v in numbered.items()
        if k.startswith(old)
    }
    c = load(theirs)
    assert same(c.state, numbered)
    assert "assumed: `head.0`, hard-swish, then `head.3`" in c.notes[1]


@pytest.mark.slow
def test_of_two_networks_the_averaged_one_is_taken_and_two_others_are_refused(load, numbered):
    other = {k: v + 1 if v.is_floating_point() else v for k, v in numbered.items()}
    c = load(under("model.", other) | under("ema_model.module.", numbered))
    assert same(c.state, numbered)
    assert c.notes == ("weights taken from the average `ema_model.`; not used: `model.`",)
    with pytest.raises(CheckpointError, match=r"holds 2 networks.*`student\.`, `teacher\.`"):
        load(under("student.", other) | under("teacher.", numbered))


def test_the_same_network_twice_is_one(load, numbered):
    body = {
        f"backbone.{k.removeprefix('features.')}": v for k, v in numbered.items() if k.startswith("features.")
    }
    assert same(load(under("model.", numbered) | body).state, numbered)


def test_a_single_state_dict_under_any_name_is_found(load, numbered):
    c = load({"epoch": 3, "mobilenet": numbered, "optimizer": {"state": {0: {"exp_avg": torch.zeros(1)}}}})
    assert same(c.state, numbered)
    assert c.notes == ("weights taken from `mobilenet`",)


def test_a_state_dict_in_a_tuple_is_found(load, numbered):
    c = load((3, numbered))
    assert same(c.state, numbered)
    assert c.notes == ("weights taken from `1`",)


@pytest.mark.parametrize(
    ("wrap", "line"),
    [
        (lambda w: {"teacher": w, "student": w}, "one that is meant: .*['teacher'], "),
        (
            lambda w: {"a": {"b": [0, {"c": {"d": {"e": w}}}]}},
            "weights alone: .*['a']['b'][1]['c']['d']['e'], ",
        ),
    ],
)
def test_where_a_state_dict_lies_that_is_not_taken_is_told_as_a_line(load, blank, wrap, line):
    pattern = re.escape(line).replace(r"\.\*", ".*")
    with pytest.raises(CheckpointError, match=rf"expected a state dict.*save the {pattern}'weights\.pth'"):
        load(wrap(blank))


def test_the_difference_is_told_without_the_prefix(load, blank):
    del blank["features.0.0.weight"]
    with pytest.raises(CheckpointError, match=r"found 1 key missing: features\.0\.0\.weight"):
        load(under("backbone.", blank))


# -- timm's names for the same network ------------------------------------------------------------------


def as_timm(state: dict) -> dict:
    """The state under timm's names, with the shape that its head has; the numbers stay."""
    theirs = {timm_keys()[k]: v for k, v in state.items()}
    return theirs | {"conv_head.weight": theirs["conv_head.weight"][..., None, None]}


def test_timms_names_are_those_of_its_mobilenetv3_large_100():
    names = timm_keys()
    assert names["features.0.1.running_var"] == "bn1.running_var"
    assert names["features.1.block.0.0.weight"] == "blocks.0.0.conv_dw.weight"
    assert names["features.1.block.1.1.bias"] == "blocks.0.0.bn2.bias"
    assert names["features.4.block.2.fc1.bias"] == "blocks.2.0.se.conv_reduce.bias"
    assert names["features.4.block.3.0.weight"] == "blocks.2.0.conv_pwl.weight"
    assert names["features.15.block.3.1.weight"] == "blocks.5.2.bn3.weight"
    assert names["features.16.0.weight"] == "blocks.6.0.conv.weight"
    assert names["classifier.3.weight"] == "classifier.weight"
    assert len(set(names.values())) == len(names) == 312


@pytest.mark.parametrize("how", ["arch", "args", "file"])
def test_timms_network_answers_as_in_timm(load, weights, how):
    said = {
        "arch": {"arch": "mobilenetv3_large_100"},
        "args": {"args": argparse.Namespace(model="mobilenetv3_large_100")},
    }
    name = "mobilenetv3_large_100_ra-f55367f5.pth" if how == "file" else "w.pth"
    c = load({"state_dict": under("module.", as_timm(weights)), **said.get(how, {})}, name=name)
    theirs = build_model(dataclasses.replace(c, state=weights))
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 1e-5  # of timm
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = theirs.eval()(x)
    assert torch.allclose(build_model(c)(x), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert "scaled to its BatchNorm epsilon" in c.notes[-1]


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({}, "holds a MobileNetV3 of timm, and does not say which"),
        ({"arch": "tf_mobilenetv3_large_100"}, "a network that pads as TensorFlow does"),
        ({"arch": "mobilenetv3_large_075"}, "holds timm's mobilenetv3_large_075"),
    ],
)
def test_timms_other_networks_are_refused_by_name(load, blank, said, found):
    with pytest.raises(CheckpointError, match=found):
        load({"state_dict": as_timm(blank), **said})


@pytest.mark.parametrize("classes", [0, 1, 1001])
def test_a_number_of_classes_outside_the_contract_is_refused(load, blank, classes):
    blank["classifier.3.weight"] = torch.zeros(classes, 1280)
    blank["classifier.3.bias"] = torch.zeros(classes)
    with pytest.raises(CheckpointError, match=f"{classes} classes, not 2 to 1000"):
        load(blank)


@pytest.mark.parametrize("num_classes", [-1, 0, 1, 1001])
def test_an_impossible_number_of_classes_is_misuse(num_classes):
    with pytest.raises(OptionError):
        load_checkpoint("reference", num_classes=num_classes)


def test_weights_that_are_not_finite_are_listed(load, weights):
    weights["features.0.1.bias"] = weights["features.0.1.bias"].clone()
    weights["features.0.1.bias"][3] = float("nan")
    weights["features.16.1.running_var"] = -weights["features.16.1.running_var"]
    weights["classifier.3.bias"] = torch.full((10,), 1e300, dtype=torch.float64)
    with pytest.raises(CheckpointError) as e:
        load(weights)
    assert "3 tensors: features.0.1.bias, features.16.1.running_var, classifier.3.bias" in str(e.value)


@pytest.mark.parametrize("kind", ["sparse", "complex", "int", "expanded", "meta"])
def test_tensors_that_are_not_dense_floats_are_refused(load, blank, kind):
    odd = {
        "sparse": lambda t: t.to_sparse(),
        "complex": lambda t: t.to(torch.complex64),
        "int": lambda t: t.to(torch.int32),
        # One number that claims to be 4 TB: its shape is refused before anything is copied.
        "expanded": lambda t: torch.zeros(1).expand(10**6, 10**6),
        "meta": lambda t: t.to("meta"),
    }[kind]
    with pytest.raises(CheckpointError, match=r"w.pth.* classifier\.0\.weight is"):
        load({**blank, "classifier.0.weight": odd(blank["classifier.0.weight"])})


def test_entries_that_are_no_tensors_are_told_and_may_be_labels(load, numbered):
    c = load({**numbered, 7: torch.zeros(1), "note": "hi", "classes": list(LABELS)})
    assert same(c.state, numbered)
    assert c.labels == LABELS
    assert c.notes == ("not weights, and not used as such: 7, note, classes",)


# -- optional libraries ---------------------------------------------------------------------------------


def test_a_missing_library_gives_the_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(
        MissingDependencyError,
        match=rf"^{re.escape('torchvision is not installed; ' + extra_fix('export'))}$",
    ):
        require("torchvision", "export")


def test_a_broken_library_is_not_called_missing(monkeypatch, tmp_path):
    (tmp_path / "halfbuilt.py").write_text("raise RuntimeError('operator torchvision::nms\\ndoes not exist')")
    (tmp_path / "needy.py").write_text("import no_such_library_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        MissingDependencyError, match=r"installed but cannot be imported .*nms does not exist"
    ):
        require("halfbuilt", "export")
    with pytest.raises(MissingDependencyError, match="needy needs no_such_library_at_all"):
        require("needy", "export")


@pytest.mark.parametrize(
    ("found", "minimum", "enough"),
    [
        ("2.7.0+cpu", "2.7", True),
        ("2.10.1", "2.7", True),
        ("2", "2.0.0", True),
        ("2.6.9", "2.7", False),
        ("weird", "1", False),
    ],
)
def test_an_old_library_is_refused(monkeypatch, tmp_path, found, minimum, enough):
    (tmp_path / "versioned.py").write_text(f"__version__ = {found!r}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "versioned", raising=False)
    if enough:
        assert require("versioned", "export", minimum).__name__ == "versioned"
    else:
        with pytest.raises(MissingDependencyError, match=f"expected {minimum} or newer, found {found}"):
            require("versioned", "export", minimum)


def test_importing_the_loader_imports_no_torch():
    code = "import sys, ecovision_edge_export.weights.checkpoint; print('torch' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True, timeout=60
    )
    assert ran.stdout.strip() == "False"
