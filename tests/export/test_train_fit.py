"""Facts about the training loop itself, with a model small enough to see through."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ecovision_edge.errors import ExportError, OptionError
from ecovision_edge_export.train.core.average import WeightAverage
from ecovision_edge_export.train.core.fit import fit
from ecovision_edge_export.train.core.objective import cross_entropy
from ecovision_edge_export.train.core.terms import (
    Batch,
    EpochRow,
    FitOptions,
    InterruptedTrainingError,
    Watcher,
)
from ecovision_edge_export.train.data.batches import PhotographBatches, groups, in_order, normalized

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Points:
    """Two classes of points in a plane: 5 batches of 8, one of 16 to validate on."""

    classes = 2

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        self.inputs = torch.randn(56, 2, generator=generator)
        self.targets = (self.inputs[:, 0] > 0).long()
        self.seen: list[tuple[int, int]] = []

    def steps(self, epoch: int) -> int:
        return 5

    def val_steps(self) -> int:
        return 1

    def train(self, epoch: int, first: int) -> Iterator[Batch]:
        for step in range(first, 5):
            self.seen.append((epoch, step))
            rows = slice(8 * step, 8 * step + 8)
            yield Batch(self.inputs[rows], self.targets[rows])

    def val(self) -> Iterator[Batch]:
        yield Batch(self.inputs[40:], self.targets[40:])

    def statistics(self, epoch: int) -> Iterator[Batch]:
        yield Batch(self.inputs[:20], self.targets[:20])
        yield Batch(self.inputs[20:40], self.targets[20:40])


def network() -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return torch.nn.Sequential(
            torch.nn.Linear(2, 16),
            torch.nn.BatchNorm1d(16),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.2),
            torch.nn.Linear(16, 2),
        )


STRONG = FitOptions(epochs=3, lr=0.01, schedule="cosine", warmup=0.2, ema=0.9, seed=5, save_every=0.0)


def bits(row: EpochRow) -> tuple[float, ...]:
    """All of a row but the time."""
    return (row.epoch, row.train_loss, row.train_accuracy, row.val_loss, row.val_accuracy, row.lr)


def through_a_file(state: dict[str, object]) -> dict[str, object]:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    loaded: dict[str, object] = torch.load(buffer, weights_only=True)
    return loaded


@pytest.mark.parametrize("options", [STRONG, FitOptions(epochs=3, save_every=0.0)], ids=["strong", "card"])
def test_a_loop_resumed_at_any_step_comes_to_the_same_bits(options: FitOptions) -> None:
    objective = cross_entropy(0.1, 0.4) if options.ema else None
    states: list[dict[str, object]] = []
    whole = network()
    done = fit(
        whole, Points(), options, objective=objective, save=lambda s, _: states.append(through_a_file(s))
    )
    assert len(states) == 1 + 3 * (5 + 1)  # at the start, after each step, after each epoch
    for state in states:
        model = network()
        again = fit(model, Points(), options, objective=objective, saved=state)
        assert [bits(r) for r in again.history] == [bits(r) for r in done.history]
        assert again.best.row.epoch == done.best.row.epoch
        for key, value in whole.state_dict().items():
            assert torch.equal(model.state_dict()[key], value)
        for key, value in done.best.weights.items():
            assert torch.equal(again.best.weights[key], value)


def test_a_resumed_loop_asks_for_no_batch_twice() -> None:
    states: list[dict[str, object]] = []
    fit(network(), Points(), STRONG, save=lambda s, _: states.append(through_a_file(s)))
    data = Points()
    fit(network(), data, STRONG, saved=states[8])
    assert data.seen == [(2, 2), (2, 3), (2, 4), (3, 0), (3, 1), (3, 2), (3, 3), (3, 4)]


@pytest.mark.parametrize("after", [0, 3, 5, 6, 7])
def test_a_loop_that_is_asked_to_stop_saves_and_says_where(after: int) -> None:
    whole = fit(network(), Points(), STRONG)
    states: list[dict[str, object]] = []
    calls = iter(range(1000))
    with pytest.raises(InterruptedTrainingError, match=r"interrupted in epoch \d of 3, after batch \d of 5"):
        fit(
            network(),
            Points(),
            FitOptions(epochs=3, lr=0.01, schedule="cosine", warmup=0.2, ema=0.9, seed=5),
            save=lambda s, _: states.append(through_a_file(s)),
            stop=lambda: next(calls) >= after,
        )
    again = fit(network(), Points(), STRONG, saved=states[-1])
    assert [bits(r) for r in again.history] == [bits(r) for r in whole.history]


def test_the_random_numbers_of_the_caller_are_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    fit(network(), Points(), STRONG)
    assert torch.equal(torch.rand(4), expected)


def test_another_seed_is_another_training() -> None:
    a, b = (fit(network(), Points(), FitOptions(epochs=1, seed=seed)) for seed in (0, 1))
    assert a.history[0].train_loss != b.history[0].train_loss


def test_the_best_epoch_is_the_most_accurate_then_that_of_least_loss() -> None:
    result = fit(network(), Points(), FitOptions(epochs=8, lr=0.05))
    key = max(result.history, key=lambda r: (r.val_accuracy, -r.val_loss))
    assert result.best.row == key
    assert sum(result.best.correct) / sum(result.best.images) == key.val_accuracy
    model = network()
    model.load_state_dict(dict(result.best.weights))
    data = Points()
    with torch.inference_mode():
        answers = model.eval()(data.inputs[40:]).argmax(1)
    assert int((answers == data.targets[40:]).sum()) == sum(result.best.correct)


def test_a_training_that_diverges_is_one_clear_error() -> None:
    data = Points()
    data.inputs[10] = float("nan")
    with pytest.raises(ExportError, match=r"diverged in epoch 1, batch 2.*found nan.*lower --lr"):
        fit(network(), data, FitOptions(epochs=1))


def test_the_watcher_sees_every_epoch_and_every_step() -> None:
    class Watching(Watcher):
        def __init__(self) -> None:
            self.seen: list[object] = []

        def started(self, what: str, epoch: int, steps: int) -> None:
            self.seen.append((what, epoch, steps))

        def stepped(self, done: int, loss: float | None) -> None:
            self.seen.append(done)

        def ended(self, row: EpochRow, *, best: bool) -> None:
            self.seen.append((row.epoch, best))

    watcher = Watching()
    fit(network(), Points(), FitOptions(epochs=1), watcher=watcher)
    assert watcher.seen == [("training", 1, 5), 0, 1, 2, 3, 4, 5, ("validating", 1, 1), 1, (1, True)]
    states: list[dict[str, object]] = []
    done = fit(network(), Points(), FitOptions(epochs=3), save=lambda s, _: states.append(through_a_file(s)))
    again = Watching()
    fit(network(), Points(), FitOptions(epochs=3), saved=states[-1], watcher=again)
    assert again.seen == [(epoch, epoch == done.best.row.epoch) for epoch in (1, 2, 3)]


def test_the_schedule_rises_then_falls_to_a_hundredth() -> None:
    rates: list[float] = []

    class Rates(torch.optim.SGD):
        def step(self, closure: None = None) -> None:  # type: ignore[override]
            rates.append(self.param_groups[0]["lr"])

    options = FitOptions(epochs=4, lr=1.0, schedule="cosine", warmup=0.2)
    fit(network(), Points(), options, optimizer=lambda p, lr: Rates(p, lr=lr))
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] == pytest.approx(0.01)


def test_the_average_follows_the_weights_and_swaps_places() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    average = WeightAverage(model, 0.5)
    with torch.no_grad():
        model.weight.fill_(1.0)
    average.update(1)  # decay (1 + 1) / (10 + 1)
    average.swap()
    assert model.weight.item() == pytest.approx(1 - 2 / 11)
    average.swap()
    assert model.weight.item() == 1.0
    for number in range(2, 60):
        average.update(number)
    average.swap()
    assert model.weight.item() == pytest.approx(1.0)


def test_mixup_and_smoothing_are_what_their_papers_say() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.5, 0.0], [0.0, 3.0]])
    targets = torch.tensor([0, 1, 1])

    class Known(torch.nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            self.given = inputs
            return logits

    model, inputs = Known(), torch.tensor([[1.0], [10.0], [100.0]])
    loss, same = cross_entropy(0.1)(model, inputs, targets)
    wanted = 0.9 * torch.nn.functional.one_hot(targets, 2) + 0.1 / 2
    assert same is logits
    assert loss.item() == pytest.approx(-(wanted * logits.log_softmax(1)).sum(1).mean().item(), rel=1e-6)
    torch.manual_seed(0)
    loss, _ = cross_entropy(0.0, 0.5)(model, inputs, targets)
    torch.manual_seed(0)
    share = float(torch.distributions.Beta(torch.tensor(0.5), torch.tensor(0.5)).sample())
    share, other = max(share, 1 - share), torch.randperm(3)
    assert torch.allclose(model.given, share * inputs + (1 - share) * inputs[other])
    hot = torch.nn.functional.one_hot(targets, 2)
    mixed = share * hot + (1 - share) * hot[other]
    assert loss.item() == pytest.approx(-(mixed * logits.log_softmax(1)).sum(1).mean().item(), rel=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 0}, "--epochs"),
        ({"lr": 0.0}, "--lr"),
        ({"lr": float("nan")}, "--lr"),
        ({"seed": -1}, "--seed"),
        ({"ema": 1.0}, "ema"),
        ({"warmup": 2.0}, "warmup"),
    ],
)
def test_options_of_the_loop_outside_their_range_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        FitOptions(**change)  # type: ignore[arg-type]


# -- batches ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", range(1, 40))
def test_batches_cover_everything_once_and_leave_none_alone(count: int) -> None:
    found = groups(count, 4)
    assert [i for g in found for i in range(g.start, g.stop)] == list(range(count))
    assert all(2 <= g.stop - g.start <= 5 for g in found) or count == 1


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_threads_keep_the_order_and_pass_errors_on(workers: int) -> None:
    assert list(in_order(lambda i: i * i, range(200), workers)) == [i * i for i in range(200)]
    results = in_order(lambda i: 1 // (3 - i), range(200), workers)
    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_gives_the_same_batches(workers: int) -> None:
    import numpy as np

    def batches(count: int) -> list[Batch]:
        def picture(epoch: int, step: int, index: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
            return np.random.default_rng((epoch, index)).integers(0, 256, (8, 8, 3), np.uint8)

        data = PhotographBatches(
            picture,
            [i % 3 for i in range(50)],
            lambda i: picture(0, 0, i),
            [i % 3 for i in range(40)],
            classes=3,
            batch=8,
            seed=4,
            workers=count,
            to_input=normalized((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)),
        )
        assert data.steps(1) == 7
        assert data.val_steps() == 2
        return [*data.train(1, 0), *data.train(2, 0), *data.train(2, 3), *data.val()]

    alone, threaded = batches(0), batches(workers)
    assert len(alone) == len(threaded) == 7 + 7 + 4 + 2
    for a, b in zip(alone, threaded, strict=True):
        assert torch.equal(a.inputs, b.inputs)
        assert torch.equal(a.targets, b.targets)
    assert torch.equal(alone[10].inputs, alone[14].inputs)  # batch 3 of epoch 2, in full and from there on
    assert not torch.equal(alone[0].targets, alone[7].targets)  # each epoch has an order of its own


def test_the_network_input_is_torchvisions_bit_for_bit(tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image
    from torchvision import transforms

    picture = np.random.default_rng(0).integers(0, 256, (16, 12, 3), np.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    theirs = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])(
        Image.fromarray(picture)
    )
    ours = normalized(mean, std)(torch.from_numpy(picture[None]))
    assert torch.equal(ours[0], theirs)
