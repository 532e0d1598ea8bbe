"""Facts about `ecovision-edge train`: from one folder per class to a checkpoint, on synthetic pictures."""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tests.export.graphs import traced_by_shape

from ecovision_edge.cli import main
from ecovision_edge.errors import CheckpointError, DatasetError, DownloadError, ExportError, OptionError
from ecovision_edge_export import pipeline
from ecovision_edge_export.ecovision import LABELS
from ecovision_edge_export.options import ExportOptions, make_contract, overruled
from ecovision_edge_export.parity.baseline import TorchBaseline
from ecovision_edge_export.pipeline import export_bundle
from ecovision_edge_export.train.core.devices import choose_device
from ecovision_edge_export.train.core.terms import InterruptedTrainingError
from ecovision_edge_export.train.data.augment import Augmentation, augment
from ecovision_edge_export.train.data.listing import list_training
from ecovision_edge_export.train.data.pictures import Memory, read_pictures, squash
from ecovision_edge_export.train.networks.start import start_model
from ecovision_edge_export.train.options import TrainOptions, settle
from ecovision_edge_export.train.recipes import RECIPES, train_size
from ecovision_edge_export.train.report.saving import Folder
from ecovision_edge_export.train.run import Reporter, TrainResult, train
from ecovision_edge_export.weights.checkpoint import Checkpoint, build_model, load_checkpoint
from ecovision_edge_export.weights.preprocessing import Preprocessing
from ecovision_edge_export.weights.weights_file import safetensors_bytes

COLOURS = {"blue": (200, 60, 40), "green": (60, 190, 60), "red": (40, 50, 200)}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """Nobody pulls the plug here, and what a training saves is large."""
    with pytest.MonkeyPatch.context() as m:
        m.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="module", autouse=True)
def tracing_once() -> Iterator[None]:
    """Several tests export a network of three classes at 32 x 32."""
    with pytest.MonkeyPatch.context() as m:
        m.setattr(pipeline, "trace", traced_by_shape)
        yield


def draw(folder: Path, counts: dict[str, int], seed: int = 0) -> Path:
    """Noisy pictures in the colour of their class, of several sizes."""
    rng = np.random.default_rng(seed)
    for label, count in counts.items():
        (folder / label).mkdir(parents=True, exist_ok=True)
        colour = COLOURS.get(label, (128, 128, 128))
        for i in range(count):
            noise = rng.normal(0, 25, (40 + i, 60 - i, 3))
            picture = np.clip(noise + colour, 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / label / f"{i}.png"), picture)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("pictures"), {"blue": 8, "green": 7, "red": 9})


def small(data: Path, **changes: object) -> TrainOptions:
    """A training of a second."""
    values = {"init": "reference", "size": (32, 32), "epochs": 2, "batch": 6, "workers": 0, **changes}
    return TrainOptions(data, **values)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return train(small(pictures), tmp_path_factory.mktemp("trained") / "mine")


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_checkpoint(str(folder)).state)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[k], b[k]) for k in a)


def untimed(folder: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads((folder / "history.json").read_text())
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


# -- what is left in the folder ----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_training_leaves_weights_state_history_curves_facts_and_card(trained: TrainResult) -> None:
    assert {p.name for p in trained.path.iterdir()} == {
        "best.safetensors",
        "last.pth",
        "history.json",
        "training.json",
        "curves.png",
        "MODEL_CARD.md",
    }
    assert [row["epoch"] for row in untimed(trained.path)] == [1, 2]
    curves = cv2.imread(str(trained.path / "curves.png"))
    assert curves is not None
    assert curves.shape == (500, 1200, 3)
    assert 0.02 < (curves < 250).any(axis=2).mean() < 0.5  # lines on white, neither nothing nor all
    card = (trained.path / "MODEL_CARD.md").read_text()
    for row in trained.history:
        assert f"| {row.epoch} | {row.train_loss:.4f} | {100 * row.train_accuracy:.2f} % |" in card
    classes = json.loads((trained.path / "training.json").read_text())["classes"]
    for found in classes:
        assert f"| {found['label']} | {found['correct']} | {found['incorrect']} |" in card
        assert found["correct"] + found["incorrect"] == found["images"] > 0


@pytest.mark.slow
def test_the_checkpoint_tells_the_exporter_everything(trained: TrainResult, pictures: Path) -> None:
    checkpoint = load_checkpoint(str(trained.path))
    assert checkpoint.labels == ("blue", "green", "red")
    assert checkpoint.source.source == "mine"
    assert checkpoint.preprocessing == Preprocessing(size=(32, 32))
    facts = checkpoint.training
    assert facts is not None
    assert facts == trained.facts == json.loads((trained.path / "training.json").read_text())
    assert facts["init"] == {
        "source": "reference",
        "sha256": load_checkpoint("reference").source.sha256,
        "head": "new",
    }
    data = facts["data"]
    assert data["train"]["by_class"] == {"blue": 6, "green": 6, "red": 7}  # type: ignore[index,call-overload]
    assert data["validation"]["photographs"] == 5  # type: ignore[index,call-overload]
    contract = make_contract(ExportOptions(weights=str(trained.path)), checkpoint)
    assert (contract.input.height, contract.input.width) == (32, 32)
    assert contract.labels == ("blue", "green", "red")


@pytest.mark.slow
def test_the_accuracy_reported_is_the_one_that_the_exporters_baseline_sees(
    trained: TrainResult, pictures: Path
) -> None:
    checkpoint = load_checkpoint(str(trained.path))
    contract = make_contract(ExportOptions(weights=str(trained.path)), checkpoint)
    baseline = TorchBaseline(checkpoint, contract)
    listing = list_training(pictures, None, None, 0)
    batch = torch.stack([baseline.prepare_file(image.path) for image in listing.val])
    answers = baseline.logits(batch).argmax(1)
    correct = sum(int(a == image.label) for a, image in zip(answers, listing.val, strict=True))
    assert correct / len(listing.val) == trained.best.row.val_accuracy


@pytest.mark.slow
@pytest.mark.parametrize("size", [(32, 32), (48, 64)])
def test_pictures_are_prepared_as_the_exporters_baseline_does(
    photographs: Path, reference: Checkpoint, size: tuple[int, int]
) -> None:
    contract = make_contract(ExportOptions(weights="reference", size=size), reference)
    baseline = TorchBaseline(reference, contract)
    listing = list_training(photographs / "val", None, None, 0)
    images = listing.train[::300]
    found = read_pictures(images, squash(*size), Memory(), 0)
    from ecovision_edge_export.train.data.batches import normalized

    to_input = normalized(contract.normalization.mean, contract.normalization.std)
    for i, image in enumerate(images):
        ours = to_input(torch.from_numpy(found.picture(i)[None].copy()))[0]
        assert torch.equal(ours, baseline.prepare_file(image.path))


@pytest.mark.slow
def test_export_options_win_against_the_checkpoint_and_say_so(trained: TrainResult) -> None:
    checkpoint = load_checkpoint(str(trained.path))
    options = ExportOptions(weights="mine", size=(64, 64), resize="shortest:80", std=(0.2, 0.2, 0.2))
    contract = make_contract(options, checkpoint)
    assert (contract.input.height, contract.resize.shortest, contract.normalization.std[0]) == (64, 80, 0.2)
    said = list(overruled(options, checkpoint))
    assert [line.partition(" ")[0] for line in said] == ["--imgsz", "--resize", "--std"]
    assert list(overruled(ExportOptions(weights="mine", size=(32, 32)), checkpoint)) == []


@pytest.mark.slow
def test_a_trained_folder_is_exported_and_classifies(
    trained: TrainResult, pictures: Path, tmp_path: Path
) -> None:
    from ecovision_edge.classifier import Classifier

    command = ["export", "--weights", str(trained.path), "--val", str(pictures), "--precision", "fp32"]
    assert main([*command, "--out", str(tmp_path / "bundle")]) == 0
    classifier = Classifier.load(tmp_path / "bundle")
    assert classifier.labels == ("blue", "green", "red")
    assert classifier.contract.input.height == 32
    assert "reference" in (tmp_path / "bundle" / "MODEL_CARD.md").read_text()


@pytest.mark.slow
def test_photographs_that_were_trained_on_do_not_judge_the_export(
    trained: TrainResult, pictures: Path, tmp_path: Path
) -> None:
    """Of the folder that was trained on the held ones judge; an epoch was chosen by them, says the card."""
    result = export_bundle(
        ExportOptions(weights=str(trained.path), val=pictures, precisions=("fp32",)), tmp_path / "bundle"
    )
    held = sum(trained.best.images)
    validation = result.manifest.provenance["validation"]
    assert isinstance(validation, dict)
    assert (validation["images"], validation["trained_on"], validation["chosen_on"]) == (held, 0, held)
    card = (tmp_path / "bundle" / "MODEL_CARD.md").read_text()
    assert f"The training's best epoch was chosen by {held} of them" in card
    assert "model-index" in card
    warnings = result.transcript["warnings"]
    assert f"trained on {24 - held} of the 24 photographs of --val: these are left out" in str(warnings)


@pytest.mark.slow
def test_accuracy_on_what_was_trained_on_is_told_and_not_published(pictures: Path, tmp_path: Path) -> None:
    val = draw(tmp_path / "val", {"blue": 3, "green": 3, "red": 3}, seed=1)
    train(small(pictures, val=val, epochs=1), tmp_path / "mine")
    options = ExportOptions(weights=str(tmp_path / "mine"), val=pictures, precisions=("fp32",))
    result = export_bundle(options, tmp_path / "bundle")
    card = (tmp_path / "bundle" / "MODEL_CARD.md").read_text()
    assert "The weights were trained on 24 of them: on new ones accuracy is less." in card
    assert "model-index" not in card
    assert "trained on all of --val: agreement and accuracy are flattered" in str(result.transcript)


@pytest.mark.slow
def test_what_a_start_was_trained_on_is_remembered(trained: TrainResult, tmp_path: Path) -> None:
    """A second training says that the first one trained on what now validates, and passes it on."""
    other = draw(tmp_path / "other", {"blue": 4, "green": 4, "red": 4}, seed=2)
    data = draw(tmp_path / "pictures", {"blue": 8, "green": 7, "red": 9})  # the first one's, held ones too
    result = train(small(other, val=data, init=str(trained.path), epochs=1), tmp_path / "out")
    held = sum(trained.best.images)
    of = result.facts["data"]
    assert isinstance(of, dict)
    assert isinstance(of["validation"], dict)
    assert of["validation"]["trained_on"] == 24 - held
    card = (tmp_path / "out" / "MODEL_CARD.md").read_text()
    assert f"{24 - held} of the 24 validation photographs were trained on" in card
    seen = load_checkpoint(str(tmp_path / "out")).seen
    assert seen is not None
    assert (len(seen.trained), len(seen.chosen)) == (24 - held + 12, 24)


@pytest.mark.slow
def test_export_takes_the_map_that_the_training_took(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line that `train` ends with is one that works."""
    data = draw(tmp_path / "data", {"azure": 6, "navy": 6, "green": 9, "red": 9})
    mapping = ["--map", "azure=blue,navy=blue"]
    base = ["train", "--data", str(data), "--out", str(tmp_path / "out"), "--init", "reference"]
    assert main([*base, "--imgsz", "32", "--epochs", "1", "--batch", "4", *mapping]) == 0
    last = shlex.split(capsys.readouterr().err.splitlines()[-1])
    assert last[0] == "ecovision-edge"
    assert main([*last[1:-1], str(tmp_path / "bundle"), "--precision", "fp32"]) == 0
    capsys.readouterr()
    without = [word for word in last[1:-1] if word not in mapping]
    assert main([*without, str(tmp_path / "other"), "--precision", "fp32"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "found azure, navy; say what they are: --map azure=LABEL,navy=LABEL (FOLDER=LABEL" in error
    assert (
        main(
            [
                "parity",
                str(tmp_path / "bundle"),
                "--weights",
                str(tmp_path / "out"),
                "--images",
                str(data),
                *mapping,
            ]
        )
        == 0
    )


@pytest.mark.slow
def test_pictures_that_cannot_be_read_do_not_end_an_export(trained: TrainResult, tmp_path: Path) -> None:
    val = draw(tmp_path / "val", {"blue": 3, "green": 3, "red": 3}, seed=3)
    (val / "blue" / "empty.jpg").write_bytes(b"")
    cv2.imwrite(str(val / "red" / "deep.png"), np.zeros((9, 9), np.uint16))
    options = ExportOptions(weights=str(trained.path), val=val, precisions=("fp32",))
    result = export_bundle(options, tmp_path / "bundle")
    warnings = str(result.transcript["warnings"])
    assert "empty.jpg" in warnings
    assert "deep.png" in warnings
    assert result.parity[0].images == 9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preprocessing", "words"),
    [
        ({"size": [32]}, "size.*list of 2 numbers"),
        ({"size": [32, 32], "resize": "letterbox"}, "resize.*squash"),
        ({"size": [32, 32], "resize": "squash", "mean": [0, 0, 0], "std": [0, 1, 1]}, "std"),
        ([1], "an object"),
    ],
)
def test_malformed_preprocessing_is_refused(
    reference: Checkpoint, tmp_path: Path, preprocessing: object, words: str
) -> None:
    data = safetensors_bytes(reference.state, {"preprocessing": json.dumps(preprocessing)})
    (tmp_path / "w.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match=f"preprocessing.*{words}"):
        load_checkpoint(str(tmp_path / "w.safetensors"))


@pytest.mark.slow
def test_facts_that_no_json_can_hold_are_passed_over(reference: Checkpoint, tmp_path: Path) -> None:
    for text, expected in (('{"a": NaN}', None), ("[]", None), ("x", None), ('{"a": [1]}', {"a": [1]})):
        data = safetensors_bytes(reference.state, {"training": text})
        (tmp_path / "w.safetensors").write_bytes(data)
        assert load_checkpoint(str(tmp_path / "w.safetensors")).training == expected


@pytest.mark.slow
def test_a_folder_that_is_no_training_is_refused_as_weights(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"folder without the best\.safetensors"):
        load_checkpoint(str(tmp_path))
    (tmp_path / "last.pth").write_bytes(b"begun")
    with pytest.raises(CheckpointError, match=r"go on with the training that was begun there.*--resume"):
        load_checkpoint(str(tmp_path))


@pytest.mark.slow
def test_a_folder_among_the_photographs_is_no_place_for_a_training(pictures: Path, tmp_path: Path) -> None:
    """What it leaves would be images without a class: refused before anything is written, by links too."""
    (tmp_path / "link").symlink_to(pictures)
    for out in (pictures, pictures / "red" / "out", tmp_path / "link" / "out"):
        for resume in (False, True):
            with pytest.raises(OptionError, match="a folder outside --data"):
                train(small(pictures, resume=resume), out)
    with pytest.raises(OptionError, match="a folder outside --val"):
        train(small(tmp_path, val=pictures), pictures / "out")
    assert {p.name for p in pictures.iterdir()} == {"blue", "green", "red"}


# -- resume ------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from ecovision_edge.cli import main
from ecovision_edge_export.train.report.saving import Folder
left = int(sys.argv[1])
os.fsync = lambda _: None
save = Folder.save_state
def save_and_die(self, state):
    global left
    save(self, state)
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
Folder.save_state = save_and_die
main(sys.argv[2:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["strong", "bin"])
def test_a_training_killed_in_the_middle_and_resumed_comes_to_the_same_bits(
    pictures: Path, tmp_path: Path, recipe: str
) -> None:
    whole = train(small(pictures, recipe=recipe, epochs=2, threads=1), tmp_path / "whole")
    arguments = ["train", "--data", str(pictures), "--out", str(tmp_path / "killed"), "--threads", "1"]
    begun = ["--init", "reference", "--imgsz", "32", "--batch", "6", "--epochs", "2", "--recipe", recipe]
    ran = subprocess.run(
        [sys.executable, "-c", KILLED, "7", *arguments, *begun, "--save-every", "0s", "--workers", "2"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == -signal.SIGKILL
    assert len(untimed(tmp_path / "killed")) == 1
    assert main([*arguments, "--resume"]) == 0
    assert same(tensors(tmp_path / "killed"), tensors(whole.path))
    assert untimed(tmp_path / "killed") == untimed(whole.path)


@pytest.mark.slow
def test_a_finished_training_is_resumed_to_nothing(
    trained: TrainResult, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tensors(trained.path)
    assert main(["train", "--data", str(pictures), "--out", str(trained.path), "--resume"]) == 0
    assert same(before, tensors(trained.path))
    assert f"{100 * trained.best.row.val_accuracy:.2f} %" in capsys.readouterr().err


@pytest.mark.slow
def test_more_epochs_of_a_constant_rate_are_those_of_a_longer_training(
    pictures: Path, tmp_path: Path
) -> None:
    train(small(pictures, epochs=1), tmp_path / "longer")
    train(TrainOptions(pictures, epochs=2, workers=0, resume=True), tmp_path / "longer")
    train(small(pictures), tmp_path / "whole")
    assert untimed(tmp_path / "longer") == untimed(tmp_path / "whole")
    assert same(tensors(tmp_path / "longer"), tensors(tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lr": 0.01}, "--lr is not what this training began with: expected 0.001, found 0.01"),
        ({"size": (64, 64)}, "--imgsz.*expected 32x32, found 64x64"),
        ({"recipe": "strong"}, "--recipe.*expected card, found strong"),
        ({"epochs": 1}, "--epochs.*expected 2, found 1"),
        ({"seed": 3}, "--seed"),
        ({"freeze": True}, "--freeze"),
        ({"map": "red=green"}, "--map"),
        ({"init": "none"}, "--init"),
        ({"val": Path("val")}, "--val.*expected not given, found given"),
    ],
)
def test_other_options_than_those_saved_are_refused(
    trained: TrainResult, pictures: Path, change: dict[str, object], words: str
) -> None:
    with pytest.raises(OptionError, match=words):
        train(TrainOptions(pictures, resume=True, **change), trained.path)  # type: ignore[arg-type]


@pytest.mark.slow
def test_other_photographs_than_those_begun_with_are_refused(trained: TrainResult, tmp_path: Path) -> None:
    others = draw(tmp_path / "others", {"blue": 8, "green": 7, "red": 9}, seed=1)
    with pytest.raises(OptionError, match="--data: these are not the photographs to train on"):
        train(TrainOptions(others, resume=True, workers=0), trained.path)
    fewer = draw(tmp_path / "fewer", {"blue": 8, "red": 9})
    with pytest.raises(OptionError, match="--data: these are not the classes"):
        train(TrainOptions(fewer, resume=True, workers=0), trained.path)


@pytest.mark.slow
def test_another_number_of_threads_is_told(trained: TrainResult, pictures: Path) -> None:
    warnings: list[str] = []

    class Heard(Reporter):
        def warned(self, message: str) -> None:
            warnings.append(message)

    train(TrainOptions(pictures, resume=True, threads=2, workers=0), trained.path, Heard())
    assert warnings == ["begun with threads 1, now 2: the result may differ in its last bits"]


@pytest.mark.slow
def test_a_folder_with_a_training_is_not_overwritten(
    trained: TrainResult, pictures: Path, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=r"expected a folder without a training, found last.pth.*--resume"):
        train(small(pictures), trained.path)
    with pytest.raises(OptionError, match=r"--resume in .* found none; leave --resume out"):
        train(TrainOptions(pictures, resume=True), tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="expected a folder, found something else"):
        train(small(pictures), tmp_path / "file")


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"junk", None])
def test_a_damaged_state_is_one_clear_error(pictures: Path, tmp_path: Path, content: bytes | None) -> None:
    if content is None:
        buffer = io.BytesIO()
        torch.save({"epoch": 3}, buffer)
        content = buffer.getvalue()
    (tmp_path / "last.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.pth"):
        train(TrainOptions(pictures, resume=True), tmp_path)


@pytest.mark.slow
def test_a_full_disk_is_one_clear_error(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ecovision_edge_export.train.report.saving.write_file", full)
    with pytest.raises(ExportError, match=r"cannot write .*last\.pth: No space left"):
        train(small(pictures), tmp_path / "out")


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_go_on(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "with space"
    save = Folder.save_weights

    def interrupt(self: Folder, *arguments: object) -> None:
        save(self, *arguments)  # type: ignore[arg-type]
        if signal.getsignal(signal.SIGINT) is not handler:  # a second one would end this very process
            signal.raise_signal(signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    begun = ["train", "--data", str(pictures), "--out", str(out), "--threads", "1"]
    with monkeypatch.context() as m:
        m.setattr(Folder, "save_weights", interrupt)
        options = ["--init", "reference", "--imgsz", "32", "--batch", "6", "--epochs", "2"]
        assert main([*begun, *options]) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert "interrupted in epoch 2 of 2, after batch 1 of 3; all of it is saved; go on with: " in last
    assert last.endswith(f"--data {pictures} --out '{out}' --threads 1 --resume")
    assert signal.getsignal(signal.SIGINT) is handler
    assert main([*begun, "--resume"]) == 0
    train(small(pictures, threads=1), tmp_path / "whole")
    assert untimed(out) == untimed(tmp_path / "whole")


@pytest.mark.slow
def test_an_interruption_while_photographs_are_read_leaves_nothing(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(InterruptedTrainingError, match="while photographs were read"):
        train(small(pictures), tmp_path / "out", stop=lambda: True)
    assert not (tmp_path / "out").exists()


# -- recipes -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_neither_workers_nor_memory_change_the_result(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(small(pictures, recipe="strong", workers=0), tmp_path / "plain")
    monkeypatch.setattr("ecovision_edge_export.train.prepare.Memory", lambda: Memory(20_000))  # 2 pictures
    train(small(pictures, recipe="strong", workers=3), tmp_path / "other")
    assert untimed(tmp_path / "plain") == untimed(tmp_path / "other")
    assert same(tensors(tmp_path / "plain"), tensors(tmp_path / "other"))


@pytest.mark.slow
def test_a_frozen_training_changes_the_classifier_alone_and_learns(
    pictures: Path, tmp_path: Path, reference: Checkpoint
) -> None:
    result = train(small(pictures, freeze=True, epochs=12), tmp_path / "frozen")
    state = tensors(result.path)
    for key, value in reference.state.items():
        assert torch.equal(state[key], value) == (not key.startswith("classifier.")), key
    assert result.best.row.val_accuracy == 1.0  # three colours
    checkpoint = load_checkpoint(str(result.path))
    listing = list_training(pictures, None, None, 0)
    contract = make_contract(ExportOptions(weights=str(result.path)), checkpoint)
    baseline = TorchBaseline(checkpoint, contract)
    answers = baseline.logits(torch.stack([baseline.prepare_file(i.path) for i in listing.val])).argmax(1)
    assert answers.tolist() == [i.label for i in listing.val]


@pytest.mark.slow
def test_a_frozen_training_is_resumed_with_the_same_result(pictures: Path, tmp_path: Path) -> None:
    train(small(pictures, freeze=True, epochs=3), tmp_path / "whole")
    train(small(pictures, freeze=True, epochs=1), tmp_path / "parts")
    train(TrainOptions(pictures, resume=True, epochs=3, workers=0), tmp_path / "parts")
    assert untimed(tmp_path / "parts") == untimed(tmp_path / "whole")
    assert same(tensors(tmp_path / "parts"), tensors(tmp_path / "whole"))


def test_features_and_augmentation_do_not_go_together(pictures: Path) -> None:
    with pytest.raises(OptionError, match="--freeze: expected --recipe card"):
        settle(TrainOptions(pictures, recipe="strong", freeze=True), None)


def test_the_size_grows_to_the_whole_one() -> None:
    strong = RECIPES["strong"]
    assert [train_size(strong, (224, 224), e, 3)[0] for e in (1, 2, 3)] == [160, 192, 224]
    ten = [train_size(strong, (192, 256), e, 10) for e in range(1, 11)]
    assert ten == sorted(ten)
    assert ten[-1] == (192, 256)
    assert all(side % 32 == 0 for size in ten for side in size)
    drawn = [train_size(RECIPES["bin"], (224, 224), 9, 10, step, seed=3)[0] for step in range(200)]
    assert set(drawn) == {128, 160, 192, 224, 256}
    assert drawn == [train_size(RECIPES["bin"], (224, 224), 9, 10, step, seed=3)[0] for step in range(200)]
    assert max(train_size(RECIPES["bin"], (224, 224), 1, 10, step)[0] for step in range(200)) == 192
    assert [train_size(RECIPES["card"], (225, 31 + 1), e, 10) for e in (1, 10)] == [(225, 32)] * 2


def test_an_augmented_picture_depends_on_its_generator_alone() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (90, 120, 3)).astype(np.uint8)
    before = picture.copy()
    variants = []
    for seed in range(40):
        a, b = (augment(picture, (48, 64), Augmentation(), np.random.default_rng(seed)) for _ in range(2))
        assert a.shape == (48, 64, 3)
        assert a.dtype == np.uint8
        assert np.array_equal(a, b)
        variants.append(a)
    assert np.array_equal(picture, before)
    assert len({v.tobytes() for v in variants}) == 40


def test_no_augmentation_at_all_is_the_plain_resize() -> None:
    from PIL import Image

    picture = np.random.default_rng(0).integers(0, 256, (90, 120, 3)).astype(np.uint8)
    never = Augmentation(
        strip_p=0, crop=1, aspect=1, mirror_p=0, turn_p=0, light_p=0, blur_p=0, noise_p=0, jpeg_p=0
    )
    found = augment(picture, (48, 64), never, np.random.default_rng(0))
    assert np.array_equal(found, squash(48, 64)(Image.fromarray(picture)))


# -- where it starts ---------------------------------------------------------------------------------------


def logits_of(model: torch.nn.Module) -> torch.Tensor:
    inputs = torch.linspace(-1, 1, 3 * 32 * 32).view(1, 3, 32, 32)
    with torch.inference_mode():
        logits: torch.Tensor = model.eval()(inputs)
    return logits


@pytest.mark.slow
def test_the_head_is_kept_for_the_same_labels_and_put_into_order_for_another_order(
    reference: Checkpoint, tmp_path: Path
) -> None:
    kept = start_model("reference", LABELS, 0)
    assert kept.head == "kept"
    assert torch.equal(logits_of(kept.model), logits_of(build_model(reference)))
    turned = tuple(reversed(LABELS))
    data = safetensors_bytes(reference.state, {"labels": json.dumps(turned)})
    (tmp_path / "turned.safetensors").write_bytes(data)
    reordered = start_model(str(tmp_path / "turned.safetensors"), LABELS, 0)
    assert reordered.head == "reordered"
    assert torch.allclose(logits_of(reordered.model), logits_of(build_model(reference)).flip(1), atol=1e-5)


@pytest.mark.slow
def test_a_new_head_comes_from_the_seed(reference: Checkpoint) -> None:
    a, b, c = (start_model("reference", ("x", "y"), seed) for seed in (0, 0, 1))
    assert a.head == "new"
    assert torch.equal(logits_of(a.model), logits_of(b.model))
    assert not torch.equal(logits_of(a.model), logits_of(c.model))
    assert torch.equal(a.model.state_dict()["classifier.0.weight"], reference.state["classifier.0.weight"])
    assert all(p.requires_grad for p in a.model.parameters())


def test_random_weights_come_from_the_seed() -> None:
    a, b = (start_model("none", ("x", "y", "z"), 5) for _ in range(2))
    assert (a.source, a.sha256, a.head) == ("none", None, "new")
    assert torch.equal(logits_of(a.model), logits_of(b.model))
    assert logits_of(a.model).shape == (1, 3)


@pytest.mark.slow
def test_imagenet_weights_are_torchvisions(
    reference: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where torch's cache has them nothing is downloaded."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    state = dict(reference.state)
    state["classifier.3.weight"] = torch.zeros(1000, 1280)
    state["classifier.3.bias"] = torch.zeros(1000)
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(state, tmp_path / "hub" / "checkpoints" / "mobilenet_v3_large-5c1a4163.pth")
    start = start_model("imagenet", ("x", "y"), 0)
    assert start.head == "new"
    assert start.source == "torchvision mobilenet_v3_large-5c1a4163.pth"
    assert start.sha256 is not None


def test_weights_that_cannot_be_downloaded_are_one_line_with_a_way_out(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    with pytest.raises(DownloadError, match=r"download\.pytorch\.org.*Name or service not known.*--init"):
        start_model("imagenet", ("x", "y"), 0)
    assert main(["train", "--data", str(pictures), "--out", str(tmp_path / "out")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "mobilenet_v3_large-5c1a4163.pth" in lines[0]


def test_a_device_is_chosen_with_cuda_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    with pytest.raises(OptionError, match="--device cuda: expected a CUDA device that is there, found 0"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto") == "cuda"
    assert choose_device("cpu") == "cpu"
    assert choose_device("cuda:1") == "cuda:1"
    for text in ("cuda:2", "cuda:", "cuda:x", "gpu", "mps", ""):
        with pytest.raises(OptionError, match="--device"):
            choose_device(text)


# -- photographs -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_split_takes_a_fifth_of_each_class_by_the_seed(tmp_path: Path) -> None:
    draw(tmp_path, {"blue": 20, "green": 2, "red": 7})
    a, b, c = (list_training(tmp_path, None, None, seed) for seed in (0, 0, 1))
    assert a == b
    assert a.val != c.val
    assert a.counts(a.val) == c.counts(c.val) == [4, 1, 1]
    assert a.counts(a.train) == [16, 1, 6]
    assert not {i.name for i in a.train} & {i.name for i in a.val}


@pytest.mark.slow
def test_folders_are_mapped_as_eval_does(tmp_path: Path) -> None:
    kaggle = ("battery", "brown-glass", "green-glass", "white-glass", "trash")
    draw(tmp_path, dict.fromkeys(kaggle, 2))
    plain = list_training(tmp_path, None, None, 0)
    assert plain.labels == tuple(sorted(kaggle))
    text = "brown-glass=glass, green-glass=glass,white-glass=glass,trash="
    mapped = list_training(tmp_path, None, text, 0)
    assert mapped.labels == ("battery", "glass")
    assert len(mapped.train) + len(mapped.val) == 8
    for wrong, words in (
        ("x=glass", "expected folders of"),
        ("battery", "FOLDER=LABEL"),
        ("battery=a,battery=b", "twice"),
    ):
        with pytest.raises(OptionError, match=f"--map.*{words}"):
            list_training(tmp_path, None, wrong, 0)


def test_a_validation_folder_need_not_have_every_mapped_folder(tmp_path: Path) -> None:
    draw(tmp_path / "train", {"brown": 2, "green": 1, "tin": 1})
    draw(tmp_path / "val", {"green": 1, "tin": 1})
    listing = list_training(tmp_path / "train", tmp_path / "val", "brown=glass,green=glass", 0)
    assert listing.labels == ("glass", "tin")
    assert listing.counts(listing.val) == [1, 1]
    draw(tmp_path / "val", {"wood": 1})
    with pytest.raises(DatasetError, match=r"^--val .*found wood"):
        list_training(tmp_path / "train", tmp_path / "val", "brown=glass,green=glass", 0)


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({}, "expected one folder per class.* found none"),
        ({"blue": 3}, "two classes or more, a folder each, found blue alone"),
        ({"blue": 3, "red": 0}, "an image of each class, found none of red; leave it out with --map red="),
        ({"blue": 3, "red": 1}, "two images of each class.*found 1 of red"),
        ({"train": 3, "val": 2}, "expected one folder per class, found train, val; give one of them"),
    ],
)
def test_folders_that_cannot_be_trained_on_are_one_clear_error(
    tmp_path: Path, counts: dict[str, int], words: str
) -> None:
    draw(tmp_path, counts)
    with pytest.raises(DatasetError, match=words) as e:
        list_training(tmp_path, None, None, 0)
    assert "\n" not in str(e.value)


def test_a_map_may_name_folders_of_the_validation_photographs_alone(tmp_path: Path) -> None:
    data = draw(tmp_path / "data", {"blue": 3, "red": 3})
    val = draw(tmp_path / "val", {"blue": 2, "red": 2, "metal": 2})
    with pytest.raises(DatasetError, match=r"--val .*found metal; say what they are: --map metal=LABEL"):
        list_training(data, val, None, 0)
    assert len(list_training(data, val, "metal=", 0).val) == 4
    assert len(list_training(data, val, "metal=red", 0).val) == 6
    with pytest.raises(OptionError, match=r"folders of .*data or .*val: blue, metal, red, found metals"):
        list_training(data, val, "metals=", 0)


def test_a_folder_that_is_not_there_is_misuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data", str(tmp_path / "no"), "--out", str(tmp_path / "o")]) == 2
    assert "no such folder" in capsys.readouterr().err


@pytest.mark.slow
def test_corrupt_photographs_are_listed_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = draw(tmp_path / "data", {"blue": 4, "red": 4})
    (data / "blue" / "empty.jpg").write_bytes(b"")
    whole = cv2.imencode(".jpg", np.zeros((50, 50, 3), np.uint8))[1].tobytes()
    (data / "red" / "torn.jpg").write_bytes(whole[: len(whole) // 2])
    cv2.imwrite(str(data / "red" / "deep.png"), np.zeros((9, 9), np.uint16))
    report = tmp_path / "report.json"
    command = ["train", "--data", str(data), "--out", str(tmp_path / "out"), "--init", "reference"]
    assert main([*command, "--imgsz", "32", "--epochs", "1", "--batch", "4", "--json", str(report)]) == 0
    told = capsys.readouterr().err
    skipped = json.loads(report.read_text())["skipped"]
    assert {s["file"] for s in skipped} == {"blue/empty.jpg", "red/torn.jpg", "red/deep.png"}
    for name in ("empty.jpg", "torn.jpg", "deep.png"):
        assert name in told
    facts = json.loads((tmp_path / "out" / "training.json").read_text())
    assert facts["data"]["skipped_files"] == 3


@pytest.mark.slow
def test_photographs_on_both_sides_are_told(tmp_path: Path) -> None:
    both = draw(tmp_path / "both", {"blue": 3, "red": 3})
    warnings: list[str] = []

    class Heard(Reporter):
        def warned(self, message: str) -> None:
            warnings.append(message)

    train(small(both, val=draw(tmp_path / "val", {"blue": 2}), epochs=1), tmp_path / "out", Heard())
    assert warnings == [
        "nothing validates red: no photograph of it",
        "2 of the 2 photographs to validate on are trained on, in this training or in one before it: the "
        "accuracy is flattered",
    ]


@pytest.mark.slow
def test_a_class_of_corrupt_photographs_alone_is_refused(tmp_path: Path) -> None:
    data = draw(tmp_path / "data", {"blue": 4})
    (data / "red").mkdir()
    for i in range(3):
        (data / "red" / f"{i}.jpg").write_bytes(b"no image")
    with pytest.raises(DatasetError, match="no photograph that can be read: none of red"):
        train(small(data), tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"recipe": "best"}, "--recipe: expected card or strong"),
        ({"batch": 1}, "--batch"),
        ({"size": (16, 224)}, "--imgsz"),
        ({"threads": 0}, "--threads"),
        ({"workers": -1}, "--workers"),
        ({"init": " "}, "--init"),
    ],
)
def test_train_options_outside_their_range_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        TrainOptions(Path("data"), **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"epochs": 0}, {"lr": -1.0}, {"seed": -1}])
def test_what_the_loop_would_refuse_is_refused_before_photographs_are_read(
    pictures: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    with pytest.raises(OptionError, match=f"--{next(iter(change))}"):
        settle(small(pictures, **change), None)


@pytest.mark.slow
def test_the_commands_start_loads_no_torch() -> None:
    code = "import sys, ecovision_edge_export.train.cli; print('torch' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True, timeout=60
    )
    assert ran.stdout.strip() == "False"
