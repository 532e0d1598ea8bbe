"""`ecovision-edge train`."""

from __future__ import annotations

import contextlib
import shlex
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecovision_edge.base.durations import parse_duration
from ecovision_edge.base.extras import require
from ecovision_edge.cli.options import LabelMap
from ecovision_edge.cli.output import check_target, write_json
from ecovision_edge.errors import OptionError

if TYPE_CHECKING:
    from ecovision_edge_export.train.options import TrainOptions

__all__ = ["train"]


def train(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[A B ...]", help="With --average: the trainings.", show_default=False),
    ] = None,
    *,
    data: Annotated[Path, typer.Option(help="Photographs to train on: one folder per class.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for weights, state, curves and card.")],
    val: Annotated[
        Path | None,
        typer.Option(help="Photographs to validate on; default: a fifth of each class of --data."),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            help="Start from imagenet (torchvision's weights, the default), reference, none, or a checkpoint "
            "as `export --weights` takes it."
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="card (the default): resize and normalize, Adam. strong: augmentation for cameras, averaged "
            "weights, label smoothing, mixup, cosine schedule, growing size. bin: for a camera above a bin, "
            "where things lie in any orientation; 30 epochs."
        ),
    ] = None,
    qat: Annotated[
        bool,
        typer.Option(
            "--qat",
            help="Fine-tune a trained checkpoint (--init) for int8: 6 epochs, batches of 16; the same as "
            "--recipe qat. Export then takes the ranges that were trained for.",
        ),
    ] = False,
    freeze: Annotated[
        bool | None,
        typer.Option("--freeze", help="Train the classifier alone: minutes on a CPU.", show_default=False),
    ] = None,
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Learn from the answers of this network too: a checkpoint as --init takes it, or a .onnx "
            "classifier of any architecture that gives logits; several are averaged.",
            show_default=False,
        ),
    ] = None,
    teacher_weight: Annotated[
        float | None, typer.Option(help="Share of the teachers in the loss, 0 to 1; default: 0.7.")
    ] = None,
    average: Annotated[
        bool,
        typer.Option(
            "--average",
            help="Average the weights of the trainings A, B, ... from one start, each by the share that is "
            "best on --val; --out is written if the average is better than each, else the exit status is 1.",
        ),
    ] = False,
    epochs: Annotated[int | None, typer.Option(help="Default: 10; recipe bin: 30.")] = None,
    batch: Annotated[
        int | None, typer.Option(help="Photographs per step; default: 32; recipe bin: 64.")
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(
            help="Learning rate; default: 0.001 (Adam); recipe bin: 0.03 (SGD); --qat: 0.08 steps of int8."
        ),
    ] = None,
    imgsz: Annotated[str | None, typer.Option(help="PIXELS or HEIGHTxWIDTH; default: 224.")] = None,
    map: LabelMap = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random; default: 0.")] = None,
    device: Annotated[
        str, typer.Option(help="auto (CUDA where there is one, in mixed precision), cpu, cuda or cuda:N.")
    ] = "auto",
    threads: Annotated[
        int | None, typer.Option(help="Threads of PyTorch on the CPU; default: the cores.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Threads that prepare photographs; default: the cores, at most 4.")
    ] = None,
    save_every: Annotated[
        str, typer.Option(help="Save in the middle of an epoch after this time: 60s, 5m.")
    ] = "60s",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the training in --out; options come from there.")
    ] = False,
    json: Annotated[Path | None, typer.Option(help="Write everything here as JSON; - is stdout.")] = None,
) -> int:
    """Train or fine-tune the classifier on photographs, one folder per class.

    The folder then goes into `ecovision-edge export --weights`. A training that was killed goes on with
    --resume, and comes to the same result.

    Examples:

      ecovision-edge train --data photos/train --val photos/val -o build/mine

      ecovision-edge train --data photos --init reference --freeze -o build/mine

      ecovision-edge train --data kaggle --map green-glass=glass,brown-glass=glass,white-glass=glass -o k

      ecovision-edge train --data photos/train --val photos/val -o build/mine --resume

      ecovision-edge train --data photos/train --val photos/val --init build/mine --qat -o build/mine-int8

      ecovision-edge train --data photos/train --val photos/val --init reference --recipe bin -o build/bin

      ecovision-edge train --data photos/train --val photos/val --recipe bin --teacher big.onnx -o build/mine

      ecovision-edge train --data photos/train --val photos/val --average build/a build/b -o build/both
    """
    for module, minimum in (("torch", "2.7"), ("torchvision", None), ("PIL", None), ("matplotlib", None)):
        require(module, "export", minimum)
    require("safetensors", "export")
    from ecovision_edge_export.options import parse_size
    from ecovision_edge_export.train import run
    from ecovision_edge_export.train.core.terms import InterruptedTrainingError
    from ecovision_edge_export.train.options import TrainOptions
    from ecovision_edge_export.train.screen import ConsoleReporter

    options = TrainOptions(
        data=data,
        val=val,
        map=map,
        init=init,
        recipe=_recipe(recipe, qat=qat),
        freeze=freeze,
        teachers=tuple(teacher) if teacher else None,
        teacher_weight=teacher_weight,
        epochs=epochs,
        batch=batch,
        lr=lr,
        seed=seed,
        size=None if imgsz is None else parse_size(imgsz),
        device=device,
        threads=threads,
        workers=workers,
        save_every=parse_duration(save_every, "--save-every"),
        resume=resume,
    )
    if json is not None:
        check_target(json, "--json")
    if average:
        return _average(runs or [], options, out, json)
    if runs:
        raise OptionError("trainings without --average", expected="none", found=shlex.join(runs)[:80])
    with ConsoleReporter() as reporter, _stop_signals() as asked:
        try:
            result = run.train(options, out, reporter, asked.is_set)
        except InterruptedTrainingError as e:
            raise InterruptedTrainingError(e.message, fix=_how_to_go_on(data, val, out, threads)) from e
        reporter.finished(result, data, val)
    if json is not None:
        write_json(result.to_json(), json)
    return 0


def _average(runs: Sequence[str], options: TrainOptions, out: Path, json: Path | None) -> int:
    """`--average`."""
    from ecovision_edge_export.train.averaging import average_trainings
    from ecovision_edge_export.train.screen import ConsoleReporter

    with ConsoleReporter() as reporter, _stop_signals() as asked:
        result = average_trainings(runs, options, out, reporter, asked.is_set)
        best = max(result.trainings, key=lambda t: (t.accuracy, -t.loss))
        kept = f"the average is kept: {out}"
        reporter.noted(kept if result.path else f"{best.name} is better than the average: nothing is written")
    if json is not None:
        write_json(result.to_json(), json)
    return 0 if result.path else 1


def _recipe(recipe: str | None, *, qat: bool) -> str | None:
    if qat and recipe not in (None, "qat"):
        raise OptionError("--qat", expected="no other --recipe", found=recipe)
    return "qat" if qat else recipe


@contextlib.contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Set by Ctrl-C or SIGTERM; a second one ends the process as ever."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, _: object) -> None:
        asked.set()
        signal.signal(number, before[signal.Signals(number)])

    try:
        for number in before:
            signal.signal(number, handle)
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _how_to_go_on(data: Path, val: Path | None, out: Path, threads: int | None) -> str:
    words = ["ecovision-edge", "train", "--data", str(data)]
    if val is not None:
        words += ["--val", str(val)]
    words += ["--out", str(out)]
    if threads is not None:
        words += ["--threads", str(threads)]
    if not (out / "last.pth").exists():
        return "nothing was done yet, so begin again"
    return f"go on with: {shlex.join([*words, '--resume'])}"
