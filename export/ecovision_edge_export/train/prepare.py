"""The start of a training: photographs listed and read, the model made, what was saved compared."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

import torch

from ecovision_edge.errors import DatasetError, OptionError
from ecovision_edge_export.train.core.statistics import estimate_statistics, re_estimated
from ecovision_edge_export.train.core.terms import InterruptedTrainingError
from ecovision_edge_export.train.data.listing import list_training
from ecovision_edge_export.train.data.pictures import Memory, Skipped, read_pictures, squash, stripped, within
from ecovision_edge_export.train.networks.revive import find_branches, revive
from ecovision_edge_export.train.networks.start import NO_WEIGHTS, Start, start_model
from ecovision_edge_export.train.networks.teachers import Teacher, load_teacher
from ecovision_edge_export.train.options import Settings, TrainOptions
from ecovision_edge_export.train.recipes import train_sizes
from ecovision_edge_export.train.report.reporter import Reporter
from ecovision_edge_export.train.work import Work, worker_count

if TYPE_CHECKING:
    from ecovision_edge_export.train.qat.method import Int8Training

__all__ = ["check_same", "prepare"]

_LOOKED_AT = 512  # photographs
_MIN_LOOKED_AT = 256  # fewer say too little of what is dead, or of a mean and a variance
_CROP_ROOM = 1.5  # a photograph is kept so much larger than the network's input, for crops of it


def prepare(
    settings: Settings, options: TrainOptions, reporter: Reporter, stop: Callable[[], bool], device: str
) -> Work:
    """List and read the photographs, and make the model to start from.

    Raises:
        OptionError, DatasetError, CheckpointError, DownloadError: options, photographs, weights.
        InterruptedTrainingError: `stop` said so.
    """
    listing = list_training(options.data, options.val, settings.map, settings.seed)
    for note in listing.notes:
        reporter.warned(note)
    start = start_model(settings.init, listing.labels, settings.seed)
    for note in start.notes:
        reporter.warned(note)
    head = {"kept": "its classifier is kept", "reordered": "its classifier is put into order"}
    reporter.noted(
        f"start: {start.source}, {head.get(start.head, 'a new classifier')}; "
        f"{len(listing.labels)} classes: {', '.join(listing.labels)}"
    )
    teachers = [
        _teacher(spec, settings, listing.labels, start, device, reporter) for spec in settings.teachers
    ]
    skipped: list[Skipped] = []
    memory, workers, how = Memory(), worker_count(options), settings.how
    exact = squash(*settings.size)
    plain = how.augmentation is None and how.views is None
    whole = exact if plain else within(round(_CROP_ROOM * max(settings.size)))
    judged = stripped(*settings.size) if how.turned else exact
    sides = []
    for what, images, shape in (("training", listing.train, whole), ("validation", listing.val, judged)):
        reporter.counting(f"reading {what} photographs", len(images))

        def counted() -> None:
            reporter.counted(1)
            if stop():
                raise InterruptedTrainingError("interrupted while photographs were read")

        def skip(file: Skipped) -> None:
            skipped.append(file)
            reporter.warned(f"left out: {file.reason}")

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")  # of odd files: what is decoded is what counts
            pictures = read_pictures(images, shape, memory, workers, progressed=counted, skipped=skip)
        sides.append(pictures)
    work = Work(
        settings, options, listing, start, (sides[0], sides[1]), skipped, device, reporter, stop, teachers
    )
    _check_readable(work)
    _start_well(work)
    if how.temperature:
        work.int8 = _ready_for_int8(work)
    reporter.noted(
        f"{len(sides[0])} photographs to train on, {len(sides[1])} to validate on ({listing.split})"
        + (f"; {len(skipped)} left out" if skipped else "")
    )
    return work


def _teacher(
    spec: str, settings: Settings, labels: Sequence[str], start: Start, device: str, reporter: Reporter
) -> Teacher:
    sizes = train_sizes(settings.how, settings.size)
    teacher = load_teacher(spec, labels, start, sizes, device, torch.get_num_threads())
    for note in teacher.notes:
        reporter.warned(note)
    reporter.noted(f"teacher: {teacher.name}, {100 * settings.teacher_weight:.0f} % of the loss")
    return teacher


def _start_well(work: Work) -> None:
    """Look at the start on some training photographs, and mend what training would not.

    Where the whole network is trained, dead squeeze-and-excitation branches are revived. Where its
    convolutions stay as they are, `--freeze` and `--qat`, nothing later estimates BatchNorm's statistics.
    """
    settings, start = work.settings, work.start
    if len(work.pictures[0]) < _MIN_LOOKED_AT or start.source == NO_WEIGHTS:
        return
    if settings.freeze or settings.how.temperature:
        _estimate(work)
        return
    work.reporter.counting("looking at the start", _LOOKED_AT)
    work.revived = revive(start.model, find_branches(start.model, work.sample(_LOOKED_AT)), settings.seed)
    if work.revived:
        names = ", ".join(f"{b.name} ({b.silent} of {b.hidden} units never fired)" for b in work.revived)
        work.reporter.noted(
            f"{len(work.revived)} squeeze-and-excitation branches of the start said the same to every "
            f"photograph, and are revived without changing its answers: {names}"
        )


def _estimate(work: Work) -> None:
    """BatchNorm's statistics from photographs to train on; kept unless those to validate on say otherwise."""
    model = work.start.model
    work.reporter.counting("estimating BatchNorm's statistics", _LOOKED_AT)
    inputs = list(work.sample(_LOOKED_AT))
    if work.settings.freeze and work.start.head != "kept":  # nothing that could be judged
        estimate_statistics(model, inputs)
        work.reporter.noted("BatchNorm's statistics are estimated again from these photographs")
        return
    before = work.validation_loss()
    with re_estimated(model, inputs):
        after = work.validation_loss()
    better = after < before
    if better:
        estimate_statistics(model, inputs)
    work.reporter.noted(
        f"BatchNorm's statistics estimated again: validation loss {after:.4f}, {before:.4f} before; "
        + ("kept" if better else "not kept")
    )


def _ready_for_int8(work: Work) -> Int8Training:
    from ecovision_edge_export.train.qat.method import calibration_steps, make_ready

    how, settings, train = work.settings.how, work.settings, work.pictures[0]
    work.reporter.counting("finding int8 ranges", calibration_steps(train))
    return make_ready(
        work.start,
        work.listing.labels,
        settings.size,
        work.pictures,
        temperature=how.temperature,
        mixed=how.mixed,
        seed=settings.seed,
        device=work.device,
        progress=lambda _: work.counted(),
    )


def _check_readable(work: Work) -> None:
    """Each class is still to be trained on; what validates should be others, and all classes."""
    labels = work.listing.labels
    train, val = work.pictures
    for option, pictures, needed in (("--data", train, True), ("--val", val, False)):
        counts = work.listing.counts(pictures.images)
        empty = [label for label, count in zip(labels, counts, strict=True) if not count]
        if (needed and empty) or not len(pictures):
            raise DatasetError(
                f"{option}: no photograph that can be read", found=f"none of {', '.join(empty[:5])}"
            )
        if empty:
            work.reporter.warned(f"nothing validates {', '.join(empty)}: no photograph of it")
    if work.flattered:
        work.reporter.warned(
            f"{work.flattered} of the {len(val)} photographs to validate on are trained on, in this training "
            "or in one before it: the accuracy is flattered"
        )


def check_same(state: Mapping[str, object], work: Work, reporter: Reporter) -> None:
    """Refuse to go on with other photographs or weights; tell what may change the last bits.

    Raises:
        OptionError: says which.
    """
    saved = cast("Mapping[str, object]", state["identity"])
    now = work.identity()
    for key, option, what in (
        ("labels", "--data", "classes"),
        ("train", "--data", "photographs to train on"),
        ("val", "--val" if work.settings.val else "--data", "photographs to validate on"),
        ("init", "--init", "weights to start from"),
        ("teachers", "--teacher", "teachers"),
    ):
        if saved.get(key) != now.get(key):
            raise OptionError(
                f"{option}: these are not the {what} that this training began with",
                fix="give those, or train again in another --out",
            )
    for key in ("device", "threads", "torch"):
        if saved[key] != now[key]:
            reporter.warned(
                f"begun with {key} {saved[key]}, now {now[key]}: the result may differ in its last bits"
            )
