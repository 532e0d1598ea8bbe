"""Facts about `train --teacher`: networks whose answers are learned."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from ecovision_edge.cli import main
from ecovision_edge.errors import CheckpointError, ModelError, OptionError
from ecovision_edge_export.photographs.seen import Seen
from ecovision_edge_export.train.averaging import average_trainings
from ecovision_edge_export.train.core.objective import cross_entropy, distilled
from ecovision_edge_export.train.core.terms import InterruptedTrainingError
from ecovision_edge_export.train.networks.onnx_network import OnnxNetwork
from ecovision_edge_export.train.networks.start import Start
from ecovision_edge_export.train.networks.teachers import Teacher, load_teacher
from ecovision_edge_export.train.options import TrainOptions, settle
from ecovision_edge_export.train.recipes import RECIPES, train_size, train_sizes
from ecovision_edge_export.train.run import Reporter, TrainResult, train
from ecovision_edge_export.weights.checkpoint import load_checkpoint

pytestmark = pytest.mark.slow

LABELS = ("blue", "green", "red")
START = Start(torch.nn.Identity(), "none", None, "new")
RED_GREEN_BLUE = np.eye(3, dtype=np.float32) * 4
"""Weights of a network whose outputs are red, green and blue."""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_onnx(
    path: Path,
    labels: object = None,
    weights: np.ndarray = RED_GREEN_BLUE,
    shape: tuple[int | str, ...] = ("n", 3, "h", "w"),
    last: str = "Identity",
) -> str:
    """A classifier by the mean colour, whose outputs are the rows of `weights`."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["colour"]),
        helper.make_node("Gemm", ["colour", "weights"], ["scores"], transB=1),
        helper.make_node(last, ["scores"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, (shape[0], len(weights)))],
        [numpy_helper.from_array(weights.astype(np.float32), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if labels is not None:
        helper.set_model_props(model, {"labels": labels if isinstance(labels, str) else json.dumps(labels)})
    onnx.save(model, str(path))
    return str(path)


def load(spec: str, start: Start = START) -> Teacher:
    return load_teacher(spec, LABELS, start, {(32, 32), (48, 64)}, "cpu", 1)


# -- the loss ----------------------------------------------------------------------------------------------


class Known(torch.nn.Module):
    """Answers the same, and keeps what it was given."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, inputs: Tensor) -> Tensor:
        self.given = inputs
        return self.logits


def test_the_loss_is_the_cross_entropy_and_the_divergence_from_the_mean_teacher() -> None:
    student = torch.tensor([[2.0, -1.0], [0.5, 0.0]], requires_grad=True)
    first, second = torch.tensor([[1.0, 0.0], [-2.0, 3.0]]), torch.tensor([[0.0, 4.0], [1.0, 1.0]])
    model, targets, inputs = Known(student), torch.tensor([0, 1]), torch.zeros(2, 1)

    def soft(logits: Tensor) -> np.ndarray:
        e = np.exp(logits.detach().double().numpy() / 2)
        return np.asarray(e / e.sum(1, keepdims=True))

    def by_hand(wanted: np.ndarray) -> float:
        divergence = (wanted * (np.log(wanted) - np.log(soft(student)))).sum(1).mean()
        plain, _ = cross_entropy(0.1)(model, inputs, targets)
        return float(0.3 * plain.item() + 0.7 * 4 * divergence)

    for teachers, wanted in (
        ([first], soft(first)),
        ([first, second], (soft(first) + soft(second)) / 2),
    ):
        lesson = distilled([lambda _, t=t: t for t in teachers], 0.7, 2.0)  # type: ignore[misc]
        loss, logits = cross_entropy(0.1, lesson=lesson)(model, inputs, targets)
        assert logits is student
        assert loss.item() == pytest.approx(by_hand(wanted), rel=1e-5)
    alike, _ = cross_entropy(lesson=distilled([lambda _: student], 1.0, 2.0))(model, inputs, targets)
    assert alike.item() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("mixup", [0.0, 0.5])
def test_a_teacher_sees_what_the_student_sees_and_draws_nothing(mixup: float) -> None:
    seen: list[Tensor] = []

    def answer(inputs: Tensor) -> Tensor:
        seen.append(inputs)
        return torch.zeros(3, 2)

    model, inputs = Known(torch.randn(3, 2)), torch.randn(3, 3, 4, 4)
    targets = torch.tensor([0, 1, 1])
    torch.manual_seed(0)
    plain, _ = cross_entropy(0.1, mixup)(model, inputs, targets)
    torch.manual_seed(0)
    taught, _ = cross_entropy(0.1, mixup, lesson=distilled([answer], 0.0, 2.0))(model, inputs, targets)
    assert seen[0] is model.given
    assert torch.equal(seen[0], inputs) == (mixup == 0)
    assert taught.item() == plain.item()


# -- teachers ----------------------------------------------------------------------------------------------


def coloured(*colours: tuple[float, float, float], size: tuple[int, int] = (32, 32)) -> Tensor:
    return torch.tensor(colours).view(-1, 3, 1, 1).expand(-1, 3, *size)


def test_an_onnx_teachers_outputs_are_put_into_the_order_of_the_training(tmp_path: Path) -> None:
    red, blue = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
    named = load(write_onnx(tmp_path / "named.onnx", ["red", "green", "blue"]))
    assert named.answer(coloured(red, blue)).tolist() == [[0, 0, 4], [4, 0, 0]]
    assert named.to_json() == {
        "name": "named.onnx",
        "sha256": named.sha256,
        "kind": "onnx",
        "trained_on": "not known",
    }
    assert not any("does not name its classes" in note for note in named.notes)
    unnamed = load(write_onnx(tmp_path / "unnamed.onnx"))
    assert unnamed.answer(coloured(red, blue)).tolist() == [[4, 0, 0], [0, 0, 4]]
    assert any("its outputs are taken as blue, green, red" in note for note in unnamed.notes)


@pytest.mark.parametrize("shape", [(1, 3, 24, 40), (4, 3, 24, 40), ("n", 3, 24, 40), (4, 3, "h", 40)])
def test_a_teacher_of_a_fixed_size_gets_inputs_of_that_size(
    tmp_path: Path, shape: tuple[int | str, ...]
) -> None:
    teacher = load(write_onnx(tmp_path / "fixed.onnx", shape=shape))
    network = OnnxNetwork((tmp_path / "fixed.onnx").read_bytes(), "--teacher", 1)
    inputs = torch.randn(6, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    size = (24 if shape[2] == 24 else 32, 40)
    small = torch.nn.functional.interpolate(inputs, size, mode="bilinear", antialias=True)
    wanted = 4 * small.mean((2, 3))
    assert torch.allclose(network(inputs), wanted, atol=1e-5)
    assert torch.equal(teacher.answer(inputs), network(inputs))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: write_onnx(p, weights=np.ones((2, 3))), "expected 3 classes: blue, .*found 2 classes"),
        (lambda p: write_onnx(p, ["a", "b", "c"]), "expected the classes of the photographs.*found a, b, c"),
        (lambda p: write_onnx(p, "red"), "metadata property labels.*expected a JSON list of texts"),
        (lambda p: write_onnx(p, last="Softmax"), "expected logits.*probabilities.*without the softmax"),
        (lambda p: write_onnx(p, weights=np.eye(3, 4), shape=("n", 4, "h", "w")), r"input, float32 \(n, 3"),
        (lambda p: write_onnx(p, weights=np.full((3, 3), np.nan)), "expected finite logits"),
        (lambda p: write_onnx(p, last="Unknown"), "an ONNX model that onnxruntime opens"),
    ],
)  # fmt: skip
def test_another_network_is_one_clear_error(tmp_path: Path, make: Callable[[Path], str], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        load(make(tmp_path / "teacher.onnx"))


def test_what_is_no_file_or_no_model_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load(str(tmp_path / "none.onnx"))
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    with pytest.raises(ModelError):
        load(str(tmp_path / "junk.onnx"))


def test_a_checkpoint_teaches_in_the_order_and_with_the_input_that_it_was_trained_for(
    taught: TrainResult, tmp_path: Path
) -> None:
    checkpoint = load_checkpoint(str(taught.path))
    plain = load(str(taught.path))
    assert (plain.name, plain.sha256, plain.seen) == ("mine", checkpoint.source.sha256, checkpoint.seen)
    inputs = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    wanted = plain.answer(inputs)
    mean, std = torch.tensor(START.mean).view(3, 1, 1), torch.tensor(START.std).view(3, 1, 1)
    raw = replace(START, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    assert torch.allclose(load(str(taught.path), raw).answer(inputs * std + mean), wanted, atol=1e-4)
    other = load_teacher(str(taught.path), ("red", "blue", "green"), START, {(32, 32)}, "cpu", 1)
    assert torch.equal(other.answer(inputs), wanted[:, [2, 0, 1]])
    with pytest.raises(OptionError, match="expected 2 classes: blue, red, found 3 classes"):
        load_teacher(str(taught.path), ("blue", "red"), START, {(32, 32)}, "cpu", 1)


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_a_teacher_is_tried_at_every_size_that_is_trained_at(recipe: str) -> None:
    how, size = RECIPES[recipe], (224, 160)
    drawn = {train_size(how, size, epoch, 20, step) for epoch in range(1, 21) for step in range(20)}
    assert drawn == train_sizes(how, size)


# -- trainings ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for label, colour in zip(LABELS, ((200, 60, 40), (60, 190, 60), (40, 50, 200)), strict=True):
        (folder / label).mkdir()
        for i in range(5):
            picture = np.clip(rng.normal(0, 25, (40, 50, 3)) + colour, 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / label / f"{i}.png"), picture)
    return folder


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_onnx(tmp_path_factory.mktemp("teacher") / "big.onnx", ["red", "green", "blue"])


def small(data: Path, **changes: object) -> TrainOptions:
    values = {"init": "reference", "size": (32, 32), "epochs": 1, "batch": 6, "workers": 0, **changes}
    return TrainOptions(data, **values)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def taught(pictures: Path, teacher: str, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    out = tmp_path_factory.mktemp("taught") / "mine"
    return train(small(pictures, teachers=(teacher,)), out)


def test_a_training_learns_from_an_onnx_teacher_and_says_so(
    taught: TrainResult, pictures: Path, teacher: str, tmp_path: Path
) -> None:
    found = json.loads((taught.path / "training.json").read_text())
    sha256 = load(teacher).sha256
    assert found["distillation"] == {
        "weight": 0.7,
        "temperature": 2.0,
        "teachers": [{"name": "big.onnx", "sha256": sha256, "kind": "onnx", "trained_on": "not known"}],
    }
    assert load_checkpoint(str(taught.path)).training == found
    card = (taught.path / "MODEL_CARD.md").read_text()
    assert f"Learned from 1 teacher, big.onnx (sha256 {sha256[:16]}): its answers" in card
    assert "Which photographs big.onnx was trained on is not known" in card
    assert str(Path(teacher).parent) not in card + json.dumps(found)
    plain = train(small(pictures), tmp_path / "plain")
    assert plain.history[0].train_loss != taught.history[0].train_loss
    assert "distillation" not in plain.facts
    assert "eacher" not in (tmp_path / "plain" / "MODEL_CARD.md").read_text()


def test_a_taught_training_interrupted_and_resumed_comes_to_the_same_bits(
    pictures: Path, teacher: str, tmp_path: Path
) -> None:
    """Of several sizes, with mixup; the options come from what was saved."""
    options = small(pictures, teachers=(teacher,), teacher_weight=0.5, recipe="bin", size=(64, 64))
    whole = train(options, tmp_path / "whole")

    class Once(Reporter):
        steps = 0

        def stepped(self, done: int, loss: float | None) -> None:
            self.steps += loss is not None and done > 0

    once = Once()
    with pytest.raises(InterruptedTrainingError):
        train(options, tmp_path / "parts", once, lambda: once.steps == 1)
    resumed = train(TrainOptions(pictures, workers=0, resume=True), tmp_path / "parts")
    a, b = (load_checkpoint(str(r.path)).state for r in (whole, resumed))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert whole.history[0].train_loss == resumed.history[0].train_loss


def test_resume_refuses_another_teacher(pictures: Path, taught: TrainResult, teacher: str) -> None:
    for change, words in (
        ({"teachers": ("other.onnx",)}, "--teacher is not what this .*expected .*big.onnx, found other.onnx"),
        ({"teacher_weight": 0.5}, "--teacher-weight is not what this .*expected 0.7, found 0.5"),
    ):
        with pytest.raises(OptionError, match=words):
            train(TrainOptions(pictures, resume=True, workers=0, **change), taught.path)  # type: ignore[arg-type]
    before = Path(teacher).read_bytes()
    try:
        write_onnx(Path(teacher), ["red", "green", "blue"], 2 * RED_GREEN_BLUE)
        with pytest.raises(OptionError, match="--teacher: these are not the teachers that this training"):
            train(TrainOptions(pictures, resume=True, workers=0), taught.path)
    finally:
        Path(teacher).write_bytes(before)


def test_what_a_teacher_was_trained_on_counts_as_seen(
    pictures: Path, taught: TrainResult, tmp_path: Path
) -> None:
    result = train(
        small(pictures, val=pictures, teachers=(str(taught.path),), init="none"), tmp_path / "second"
    )
    assert isinstance(result.facts["data"], dict)
    assert "not known" not in (tmp_path / "second" / "MODEL_CARD.md").read_text().partition("##")[0]
    teachers, student = load_checkpoint(str(taught.path)).seen, load_checkpoint(str(result.path)).seen
    assert teachers is not None
    assert student is not None
    assert student == student | teachers
    assert teachers.trained | teachers.chosen == student.trained


def test_seen_photographs_of_two_are_those_of_either() -> None:
    a, b = Seen(frozenset({b"1"}), frozenset({b"2"})), Seen(frozenset({b"3"}))
    assert a | b == Seen(frozenset({b"1", b"3"}), frozenset({b"2"}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"freeze": True}, "--freeze: .*expected no --teacher.*first, then with --freeze"),
        ({"recipe": "qat"}, "--qat: .*expected no --teacher.*first, then with --qat"),
        ({"teachers": None}, "--teacher-weight: expected --teacher with it, found no --teacher"),
    ],
)
def test_what_a_teacher_does_not_go_with_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        settle(small(Path("p"), **{"teachers": ("t.onnx",), "teacher_weight": 0.5, **change}), None)


def test_what_is_no_weight_or_no_name_is_refused() -> None:
    for value in (-0.1, 1.1, float("nan")):
        with pytest.raises(OptionError, match="--teacher-weight: expected 0 to 1"):
            small(Path("p"), teacher_weight=value)
    with pytest.raises(OptionError, match=r"--teacher: expected a \.onnx file or a checkpoint"):
        small(Path("p"), teachers=("",))
    with pytest.raises(OptionError, match="--average: expected no --teacher"):
        average_trainings(["a", "b"], small(Path("p"), teachers=("t",)), Path("o"))


def test_a_state_from_before_there_were_teachers_goes_on() -> None:
    saved = settle(small(Path("p")), None).to_json()
    del saved["teachers"], saved["teacher_weight"]
    assert settle(TrainOptions(Path("p"), resume=True), saved) == settle(small(Path("p")), None)


def test_the_command_takes_several_teachers(
    pictures: Path, teacher: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = ["train", "--data", str(pictures), "--out", str(tmp_path / "out"), "--init", "reference"]
    words = ["--imgsz", "32", "--epochs", "1", "--batch", "6", "--threads", "1", "--workers", "0"]
    assert main([*begun, *words, "--teacher", teacher, "--teacher", teacher, "--teacher-weight", "1"]) == 0
    told = capsys.readouterr().err
    assert told.count("teacher: big.onnx, 100 % of the loss") == 2
    assert "which photographs it was trained on is not known" in told
