"""Facts about recipe `bin`: views, dead branches, BatchNorm's statistics, averages of trainings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor

from ecovision_edge.cli import main
from ecovision_edge.errors import OptionError
from ecovision_edge_export.card.turned import Turns
from ecovision_edge_export.train.averaging import average_trainings
from ecovision_edge_export.train.core.fit import fit
from ecovision_edge_export.train.core.statistics import estimate_statistics, has_statistics, re_estimated
from ecovision_edge_export.train.core.terms import Batch, FitOptions
from ecovision_edge_export.train.data.pictures import stripped, turned
from ecovision_edge_export.train.data.views import Views, cut_loose, draw_view
from ecovision_edge_export.train.networks.revive import find_branches, revive
from ecovision_edge_export.train.networks.start import Start, start_model
from ecovision_edge_export.train.options import TrainOptions, settle
from ecovision_edge_export.train.report.facts import training_facts
from ecovision_edge_export.train.run import train
from ecovision_edge_export.weights.checkpoint import load_checkpoint
from ecovision_edge_export.weights.weights_file import safetensors_bytes

pytestmark = pytest.mark.slow

COLOURS = ((200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0))  # clockwise from top left, RGB


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def quadrants(height: int = 120, width: int = 80) -> np.ndarray:
    picture = np.zeros((height, width, 3), np.uint8)
    h, w = height // 2, width // 2
    for rows, columns, colour in (
        (slice(0, h), slice(0, w), COLOURS[0]),
        (slice(0, h), slice(w, None), COLOURS[1]),
        (slice(h, None), slice(w, None), COLOURS[2]),
        (slice(h, None), slice(0, w), COLOURS[3]),
    ):
        picture[rows, columns] = colour
    return picture


def order_of(view: np.ndarray) -> tuple[int, ...]:
    """Which of the colours is where, clockwise from top left."""
    h, w = view.shape[0] // 4, view.shape[1] // 4
    spots = [view[h, w], view[h, -w], view[-h, -w], view[-h, w]]
    return tuple(int(np.abs(np.array(COLOURS) - spot.astype(int)).sum(axis=1).argmin()) for spot in spots)


BARE = Views(
    strip_p=0, crop_p=0, far=0.8, stretch=0, shear=0, ground_p=0, erase_p=0, few_p=0,
    camera=replace(Views().camera, light_p=0, blur_p=0, noise_p=0, jpeg_p=0),
)  # fmt: skip


# -- views -------------------------------------------------------------------------------------------------


def test_views_come_in_all_eight_orientations_and_no_other() -> None:
    how = replace(BARE, upright_p=0, quarter_p=1, quarter_spread=0)
    found = [order_of(draw_view(quadrants(), (64, 64), how, np.random.default_rng(s))) for s in range(80)]
    turns = {tuple(np.roll(range(4), k)) for k in range(4)}
    assert set(found) == turns | {order[::-1] for order in turns}


def test_an_upright_view_of_all_of_a_picture_is_the_picture_or_its_mirror_image() -> None:
    how = replace(BARE, upright_p=1, crop_p=1, crop=1.0)
    picture = np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    views = [draw_view(picture, (64, 64), how, np.random.default_rng(s)) for s in range(12)]
    mirrored = [np.array_equal(view, picture[:, ::-1]) for view in views]
    assert all(a or np.array_equal(view, picture) for a, view in zip(mirrored, views, strict=True))
    assert {True, False} == set(mirrored)


def test_a_view_depends_on_its_generator_alone() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (90, 120, 3)).astype(np.uint8)
    before, views = picture.copy(), []
    for seed in range(60):
        a, b = (
            draw_view(picture, (48, 64), Views(), np.random.default_rng(seed), lambda rng: picture)
            for _ in range(2)
        )
        assert a.shape == (48, 64, 3)
        assert a.dtype == np.uint8
        assert np.array_equal(a, b)
        views.append(a.tobytes())
    assert np.array_equal(picture, before)
    assert len(set(views)) == 60


def test_a_view_of_few_pixels_holds_no_more_than_they_do() -> None:
    """Shrunk to the fewest that it may have and enlarged it is much the same; not so a whole one."""
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    how = replace(BARE, upright_p=1, few_p=1, few=(16.0, 16.0), few_noise_p=0)
    for seed in range(4):
        lost = []
        for share in (1, 0):
            view = draw_view(noise, (64, 64), replace(how, few_p=share), np.random.default_rng(seed))
            small = cv2.resize(view, (16, 16), interpolation=cv2.INTER_AREA)
            again = cv2.resize(small, (64, 64), interpolation=cv2.INTER_LINEAR).astype(int)
            lost.append(np.abs(again - view).mean() / view.std())
        assert lost[0] < 0.3
        assert lost[1] > 0.6
    grey = np.full((64, 64, 3), 128, np.uint8)
    noisy = replace(how, few_noise_p=1, few=(8.0, 900.0))
    views = [draw_view(grey, (48, 64), noisy, np.random.default_rng(seed)) for seed in range(6)]
    assert all(
        view.shape == (48, 64, 3) and view.std() > 0.3 for view in views
    )  # never enlarged beyond its size


def test_an_item_before_a_plain_background_is_cut_loose_and_laid_on_another() -> None:
    picture = np.full((100, 120, 3), 250, np.uint8)
    cv2.circle(picture, (60, 50), 30, (30, 90, 160), -1)
    cv2.circle(picture, (60, 50), 8, (250, 250, 250), -1)  # a hole that the background does not reach
    mask = cut_loose(picture)
    assert mask is not None
    disc = cv2.circle(np.zeros((100, 120), np.uint8), (60, 50), 30, 255, -1)
    assert np.array_equal(mask, disc)
    how = replace(BARE, ground_p=1, far=0.9)
    grounds = [draw_view(picture, (64, 64), how, np.random.default_rng(s)) for s in range(40)]
    bare = [view for view in grounds if (view > 240).all(axis=2).mean() < 0.1]
    assert len(bare) > 15  # hardly any of the old background is left but in the hole
    # The item is in all of them.
    assert all((np.abs(view.astype(int) - (30, 90, 160)).max(axis=2) < 12).mean() > 0.05 for view in grounds)


@pytest.mark.parametrize("kind", ["noise", "empty", "speck", "full"])
def test_what_has_no_plain_background_is_not_cut_loose(kind: str) -> None:
    picture = np.full((60, 60, 3), 240, np.uint8)
    if kind == "noise":
        picture = np.random.default_rng(0).integers(0, 256, picture.shape).astype(np.uint8)
    elif kind == "speck":
        picture[30:33, 30:33] = 0
    elif kind == "full":
        picture[1:-1, 1:-1] = 0
    assert cut_loose(picture) is None


def test_photographs_that_judge_are_stripped_and_turned() -> None:
    from PIL import Image

    boxed = np.full((160, 160, 3), 114, np.uint8)
    boxed[20:140, 40:120] = quadrants()
    picture = stripped(64, 64)(Image.fromarray(boxed))
    assert order_of(picture) == (0, 1, 2, 3)
    views = [turned(lambda _: picture, (64, 64))(i) for i in range(5)]
    assert [order_of(v) for v in views] == [
        (0, 1, 2, 3),
        (1, 2, 3, 0),
        (2, 3, 0, 1),
        (3, 0, 1, 2),
        (0, 1, 2, 3),
    ]
    assert turned(lambda _: picture[:32], (32, 64))(1).shape == (32, 64, 3)


# -- BatchNorm's statistics --------------------------------------------------------------------------------


def test_estimated_statistics_are_the_means_over_batches_and_nothing_else_changes() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(3, momentum=0.01), torch.nn.Dropout(0.5))
    model[0].eval()
    batches = [torch.randn(8, 3) * 4 + 2 for _ in range(5)]
    estimate_statistics(model, batches)
    layer = model[0]
    assert torch.allclose(layer.running_mean, torch.stack([b.mean(0) for b in batches]).mean(0), atol=1e-5)
    assert torch.allclose(layer.running_var, torch.stack([b.var(0) for b in batches]).mean(0), rtol=1e-5)
    assert layer.momentum == 0.01
    assert not layer.training
    assert model[1].training
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with re_estimated(model, [torch.randn(8, 3)]):
        assert not torch.equal(layer.running_mean, before["0.running_mean"])
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    estimate_statistics(model, [])
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert has_statistics(model)
    assert not has_statistics(torch.nn.Linear(1, 1))


class Offset:
    """Two classes of points far from where a new BatchNorm believes them."""

    classes = 2

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(2)
        self.inputs = torch.randn(96, 2, generator=generator) + 40
        self.targets = (self.inputs[:, 0] > 40).long()

    def steps(self, epoch: int) -> int:
        return 8

    def val_steps(self) -> int:
        return 1

    def train(self, epoch: int, first: int) -> Iterator[Batch]:
        for step in range(first, 8):
            yield Batch(self.inputs[8 * step : 8 * step + 8], self.targets[8 * step : 8 * step + 8])

    def val(self) -> Iterator[Batch]:
        yield Batch(self.inputs[64:], self.targets[64:])

    def statistics(self, epoch: int) -> Iterator[Batch]:
        yield Batch(self.inputs[:64], self.targets[:64])


def test_a_short_training_is_judged_and_kept_with_statistics_of_its_own() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(2, momentum=0.01), torch.nn.Linear(2, 2))
    result = fit(model, Offset(), FitOptions(epochs=3, lr=0.1, ema=0.5))
    assert result.best.row.val_accuracy > 0.9
    kept = torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 2)).eval()
    stale = {k: v for k, v in model.state_dict().items() if "running" in k}
    for state, right in ((dict(result.best.weights), True), ({**result.best.weights, **stale}, False)):
        kept.load_state_dict(state)
        accuracy = float((kept(Offset().inputs[64:]).argmax(1) == Offset().targets[64:]).float().mean())
        assert (accuracy > 0.9) == right  # with the training's own, which lag behind, it is chance


# -- dead branches -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def half_dead() -> tuple[torch.nn.Module, list[Tensor]]:
    """A network of which two branches never fire, and pictures."""
    torch.manual_seed(0)
    model = torchvision.models.mobilenet_v3_large(weights=None, num_classes=5)
    inputs = [torch.randn(16, 3, 64, 64), torch.randn(16, 3, 64, 64) * 0.5 + 0.3]
    for name, module in model.named_modules():
        if isinstance(module, torchvision.ops.misc.SqueezeExcitation):
            torch.nn.init.normal_(module.fc1.weight, 0, 0.3)
            torch.nn.init.normal_(module.fc2.weight, 0, 0.5)
            if name in ("features.6.block.2", "features.13.block.2"):
                torch.nn.init.constant_(module.fc1.bias, -1e4)
                torch.nn.init.uniform_(module.fc2.bias, -4.0, 4.0)  # some channels shut, some wide open
    estimate_statistics(model, inputs)
    return model.eval(), inputs


def test_dead_branches_are_found_revived_without_another_answer_and_learn(
    half_dead: tuple[torch.nn.Module, list[Tensor]],
) -> None:
    model, inputs = half_dead
    branches = find_branches(model, inputs)
    assert len(branches) == 8
    assert [b.name for b in branches if b.dead] == ["features.6.block.2", "features.13.block.2"]
    assert all(b.silent == b.hidden for b in branches if b.dead)
    with torch.no_grad():
        before = torch.cat([model(batch) for batch in inputs])
        assert [b.name for b in revive(model, branches, seed=1)] == [
            "features.6.block.2",
            "features.13.block.2",
        ]
        after = torch.cat([model(batch) for batch in inputs])
    assert (after - before).abs().mean() < 0.15 * before.std()  # a random network makes much of little
    again = {b.name: b for b in find_branches(model, inputs)}
    for name in ("features.6.block.2", "features.13.block.2"):
        assert again[name].silent < again[name].hidden / 2
        assert not again[name].dead
        assert float(again[name].scale.min()) > 0.05
        assert float(again[name].scale.max()) < 0.95
    # SGD moves them, and does not kill them again.
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    first = model.get_submodule("features.13.block.2.fc1").weight
    drawn = first.detach().clone()
    targets = torch.arange(16) % 5
    model.train()
    for step in range(6):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs[step % 2]), targets).backward()
        optimizer.step()
    assert not torch.equal(first, drawn)
    assert not [b.name for b in find_branches(model, inputs) if b.dead]


# -- a training, and averages ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three colours, 12 pictures each."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for label, colour in {"blue": (200, 60, 40), "green": (60, 190, 60), "red": (40, 50, 200)}.items():
        (folder / label).mkdir()
        for i in range(12):
            noise = rng.normal(0, 25, (40 + i, 60 - i, 3))
            cv2.imwrite(str(folder / label / f"{i}.png"), np.clip(noise + colour, 0, 255).astype(np.uint8))
    return folder


def small(data: Path, **changes: object) -> TrainOptions:
    values = {"init": "reference", "size": (32, 32), "batch": 6, "workers": 0, **changes}
    return TrainOptions(data, **values)  # type: ignore[arg-type]


def test_the_card_of_a_bins_training_says_that_it_is_for_any_orientation(
    pictures: Path, tmp_path: Path
) -> None:
    result = train(small(pictures, recipe="bin", epochs=1), tmp_path / "mine")
    card = (result.path / "MODEL_CARD.md").read_text()
    assert "Trained for **any orientation**" in card
    assert "SGD" in card
    recipe = result.facts["recipe"]
    assert isinstance(recipe, dict)
    assert recipe["turned"] is True
    assert result.facts["turns"] == "any"
    assert load_checkpoint(str(result.path)).training["turns"] == "any"  # type: ignore[index]
    assert start_model(str(result.path), ("blue", "green", "red"), 0).turns == "any"
    assert json.loads((result.path / "training.json").read_text())["recipe"] == json.loads(json.dumps(recipe))


@pytest.mark.parametrize(
    ("recipe", "freeze", "start", "turns"),
    [
        ("bin", False, "upright", "any"),
        ("card", False, "any", "upright"),
        ("strong", False, None, "upright"),
        ("card", True, "any", "any"),
        ("card", True, None, None),
        ("qat", False, "any", "any"),
        ("qat", False, "upright", "upright"),
    ],
)
def test_what_a_training_is_for_depends_on_its_recipe_or_on_its_start(
    recipe: str, freeze: bool, start: Turns | None, turns: Turns | None
) -> None:
    """Where features are trained it is the recipe that counts; where they stay, the start."""
    settings = settle(TrainOptions(Path("x"), init="reference", recipe=recipe, freeze=freeze), None)
    facts = training_facts(
        settings,
        Start(torch.nn.Identity(), "it", None, "kept", turns=start),
        {},
        (),
        (),
        SimpleNamespace(
            row=SimpleNamespace(epoch=1, train_loss=0, train_accuracy=0, val_loss=0, val_accuracy=0),
            images=(),
            correct=(),
        ),  # type: ignore[arg-type]
        "cpu",
    )
    assert facts["turns"] == turns


@pytest.fixture(scope="module")
def learnt(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(small(pictures, freeze=True, epochs=12), tmp_path_factory.mktemp("learnt") / "it").path


def moved(folder: Path, out: Path, by: float, seed: int = 0) -> Path:
    """The training of a folder, all its kernels moved in a random direction."""
    checkpoint = load_checkpoint(str(folder))
    generator = torch.Generator().manual_seed(seed)
    state = {
        k: v + by * v.std() * torch.randn(v.shape, generator=generator) if v.ndim > 1 else v
        for k, v in checkpoint.state.items()
    }
    metadata = {
        "architecture": "mobilenet_v3_large",
        "labels": json.dumps(checkpoint.labels),
        "preprocessing": json.dumps(checkpoint.preprocessing.to_json()),  # type: ignore[union-attr]
        "training": json.dumps(checkpoint.training),
    }
    out.mkdir()
    (out / "best.safetensors").write_bytes(safetensors_bytes(state, metadata))
    return out


def test_the_average_of_opposite_errors_is_kept_with_its_card(
    learnt: Path, pictures: Path, tmp_path: Path
) -> None:
    a, b = (moved(learnt, tmp_path / name, by) for name, by in (("a", 0.5), ("b", -0.5)))
    arguments = ["train", "--average", str(a), str(b), "--data", str(pictures), "--workers", "0"]
    status = main([*arguments, "-o", str(tmp_path / "both"), "--json", str(tmp_path / "told.json")])
    told = json.loads((tmp_path / "told.json").read_text())
    assert status == 0
    assert told["kept"] is True
    better = told["average"]
    assert all(
        (better["val_accuracy"], -better["val_loss"]) > (t["val_accuracy"], -t["val_loss"])
        for t in told["trainings"]
    )
    kept = load_checkpoint(str(tmp_path / "both"))
    assert kept.labels == load_checkpoint(str(learnt)).labels
    assert sum(told["shares"]) == pytest.approx(1)
    parts = [load_checkpoint(str(folder)).state for folder in (a, b)]
    for key, value in kept.state.items():
        mean = sum(share * part[key] for share, part in zip(told["shares"], parts, strict=True))
        assert value.ndim == 0 or "running" in key or torch.allclose(value, mean, atol=1e-5), key
    assert "The mean of the weights of 2 trainings" in (tmp_path / "both" / "MODEL_CARD.md").read_text()
    facts = kept.training
    assert facts is not None
    assert [row["name"] for row in facts["averaged"]] == ["a", "b"]  # type: ignore[union-attr,index,call-overload]


def test_a_training_that_went_too_far_is_mixed_into_its_start_by_a_small_share(
    learnt: Path, pictures: Path, tmp_path: Path
) -> None:
    near, far = moved(learnt, tmp_path / "near", 0.2), moved(learnt, tmp_path / "far", -1.0)
    result = average_trainings([str(far), str(near)], small(pictures), tmp_path / "both")
    assert result.shares == pytest.approx((1 / 6, 5 / 6))  # which undoes the movement
    assert result.average.merit > max(training.merit for training in result.trainings)
    kept, start = load_checkpoint(str(tmp_path / "both")), load_checkpoint(str(learnt))
    for key, value in start.state.items():
        assert value.ndim == 0 or "running" in key or torch.allclose(kept.state[key], value, atol=1e-5), key
    facts = kept.training
    assert facts is not None
    assert [row["share"] for row in facts["averaged"]] == list(result.shares)  # type: ignore[union-attr,index,call-overload]


def test_a_start_is_averaged_with_what_was_trained_from_it(
    learnt: Path, pictures: Path, tmp_path: Path
) -> None:
    further = train(small(pictures, init=str(learnt), epochs=1), tmp_path / "further").path
    result = average_trainings([str(learnt), str(further)], small(pictures), tmp_path / "both")
    assert len(result.trainings) == 2
    assert sum(result.shares) == pytest.approx(1)


def test_an_average_that_is_not_better_is_not_written(
    learnt: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    far = moved(learnt, tmp_path / "far", 3.0)
    arguments = ["train", "--average", str(learnt), str(far), "--data", str(pictures), "--workers", "0"]
    assert main([*arguments, "-o", str(tmp_path / "both")]) == 1
    assert not (tmp_path / "both").exists()
    assert "it is better than the average: nothing is written" in capsys.readouterr().err


def test_trainings_that_do_not_go_together_are_refused(learnt: Path, pictures: Path, tmp_path: Path) -> None:
    options = small(pictures)
    with pytest.raises(OptionError, match="two trainings or more"):
        average_trainings([str(learnt)], options, tmp_path / "out")
    with pytest.raises(OptionError, match="do not have the same labels"):
        average_trainings([str(learnt), "reference"], options, tmp_path / "out")
    elsewhere = train(small(pictures, init="none", epochs=1), tmp_path / "elsewhere").path
    with pytest.raises(OptionError, match="trainings from one start"):
        average_trainings([str(learnt), str(elsewhere)], options, tmp_path / "out")
    assert main(["train", str(learnt), "--data", str(pictures), "-o", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


def test_a_training_says_how_it_does_upright_and_turned(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "--data", str(pictures), "--init", "reference", "--imgsz", "32", "--workers", "0"]
    assert main([*arguments, "--freeze", "--epochs", "8", "-o", str(tmp_path / "mine")]) == 0
    facts = json.loads((tmp_path / "mine" / "training.json").read_text())
    turned_ = facts["turned"]["as_published"]
    assert len(turned_["by_turn"]) == 4
    assert facts["turned"]["photographs"] == 6
    # Colours are the same whichever way they lie, and upright is what the table says.
    assert turned_["by_turn"][0]["correct"] == sum(row["correct"] for row in facts["classes"])
    said = f"{100 * turned_['mean']:.2f} % in the mean of 4 turns, {100 * turned_['worst']:.2f} % at worst"
    assert said in capsys.readouterr().err
    card = (tmp_path / "mine" / "MODEL_CARD.md").read_text()
    assert said in card
    assert facts["turns"] == "any"  # as its start
    assert "Trained for **any orientation**" in card
