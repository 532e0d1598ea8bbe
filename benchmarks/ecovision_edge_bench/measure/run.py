"""One run of the benchmark, from the choice of subjects to the result."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import importlib.metadata
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ecovision_edge.base.device import read_cpu_times, read_machine, read_state
from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.version import __version__
from ecovision_edge.bundle.folder import MANIFEST_NAME, Bundle
from ecovision_edge.errors import OptionError
from ecovision_edge_bench.measure.agreement import Agreement, Answers, Images, ask, compare
from ecovision_edge_bench.measure.frames import FrameSource
from ecovision_edge_bench.measure.listener import Listener
from ecovision_edge_bench.measure.processes import Worker, WorkerError
from ecovision_edge_bench.measure.result import ColdStart, Result, Row
from ecovision_edge_bench.measure.schedule import Samples, run_schedule
from ecovision_edge_bench.measure.settings import Settings
from ecovision_edge_bench.measure.validity import device_reasons, other_load, row_reasons, unread_note
from ecovision_edge_bench.subjects import Spec

__all__ = ["Request", "run_benchmark"]

_LIBRARIES = (
    "numpy",
    "opencv-python-headless",
    "opencv-python",
    "ecovision-edge-native",
    "onnxruntime",
    "torch",
    "torchvision",
    "pillow",
)
_MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    """What is run.

    Args:
        bundle: What is measured; None for a lone model file.
        specs: The subjects, each with its setting; keys are all different.
        reference: How PyTorch is loaded for parity; None: there is none, and `no_reference` says why.
        no_reference: Why there is no parity.
        source: Frames that are timed.
        images: What parity is measured on.
        base: Name or key of the row that ratios are against; None is PyTorch, else the first.
        settings: How long.
    """

    bundle: Bundle | None
    specs: tuple[Spec, ...]
    reference: Spec | None
    no_reference: str
    source: FrameSource
    images: Images
    base: str | None
    settings: Settings


def run_benchmark(request: Request, listener: Listener | None = None) -> Result:
    """Measure; a subject that fails is a row that says so.

    Raises:
        OptionError: `base` is not among the rows, or no subject is left.
    """
    listener = listener or Listener()
    base = _base(request)
    keys = [spec.key for spec in request.specs]
    if len(set(keys)) != len(keys):
        raise OptionError("subjects", expected="different ones", found=", ".join(keys))
    colds = _cold_starts(request, listener)
    with contextlib.ExitStack() as stack:
        workers, rows = _start(request, stack, listener)
        answers = _classify(request, workers, rows, listener)
        states = [read_state()]
        minutes: list[dict[str, JsonValue]] = []

        def each_round(seconds: float) -> None:
            if seconds >= _MINUTE_S * (len(minutes) + 1):
                states.append(read_state())
                minutes.append({"minute": len(minutes) + 1, "at_s": seconds, **states[-1].to_json()})

        listener.phase("measure")
        times, started, own = read_cpu_times(), time.perf_counter(), _own_cpu_s(workers)
        schedule = run_schedule(workers, request.settings, listener.progress, each_round)
        seconds, own = time.perf_counter() - started, _own_cpu_s(workers) - own
        load = other_load(times, read_cpu_times(), own, seconds)
        states.append(read_state())
        if not schedule.interrupted:
            _prepare_by_source(workers, rows, listener)
    for row in rows:
        row.cold = colds.get(row.key, [])
        row.samples = schedule.samples.get(row.key, row.samples)
        row.agreement = _agreement(request, row, answers)
        row.reasons = row_reasons(row, request.settings)
    reasons = device_reasons(states, load, request.settings)
    if schedule.interrupted:
        reasons.insert(0, "interrupted")
    note = unread_note(states[-1], load)
    return Result(
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        versions=_versions(),
        bundle=_bundle_json(request.bundle),
        machine=read_machine().to_json(),
        before=states[0].to_json(),
        after=states[-1].to_json(),
        load={**load, "seconds": seconds},
        settings=request.settings.to_json(),
        frames={
            "width": request.source.width,
            "height": request.source.height,
            "source": "photographs" if request.source.images else "drawn frames",
        },
        parity={
            "reference": request.reference.name if request.reference else None,
            "why_none": None if request.reference else request.no_reference,
            "evidence": request.images.evidence,
            "images": len(request.images),
        },
        rows=rows,
        base=base,
        minutes=[*minutes] if request.settings.sustained_secs is not None else [],
        reasons=reasons,
        notes=[note] if note else [],
    )


def _base(request: Request) -> str:
    """Return the key of the base's row."""
    if not request.specs:
        raise OptionError("subjects", expected="at least one", found="none")
    if request.base is None:
        torch = [s for s in request.specs if s.name == "torch"]
        return (torch or request.specs)[0].key
    for spec in request.specs:
        if request.base in {spec.key, spec.name}:
            return spec.key
    raise OptionError(
        "--base",
        expected=f"one of {', '.join(dict.fromkeys(s.name for s in request.specs))}",
        found=request.base,
    )


def _cores(spec: Spec, settings: Settings) -> tuple[int, ...]:
    """Return the cores that a pinned worker gets: the last ones, since the first serve interrupts."""
    if not settings.isolate or not hasattr(os, "sched_getaffinity"):
        return ()
    usable = sorted(os.sched_getaffinity(0))
    return tuple(usable[-spec.threads :])


def _cold_starts(request: Request, listener: Listener) -> dict[str, list[ColdStart]]:
    """Fresh processes, one after the other; one that fails does so again as a worker, and is told there."""
    count = request.settings.cold_starts
    colds: dict[str, list[ColdStart]] = {}
    if count:
        listener.phase("cold starts")
    total, done = max(1, count * len(request.specs)), 0
    for _ in range(count):
        for spec in request.specs:
            with (
                contextlib.suppress(WorkerError),
                Worker(spec, request.source, _cores(spec, request.settings)) as worker,
            ):
                r = worker.ready
                colds.setdefault(spec.key, []).append(
                    ColdStart(
                        r["import_ms"], r["create_ms"], r["first_ms"], r["peak_bytes"], r["before_bytes"]
                    )
                )
            done += 1
            listener.progress(done / total)
    return colds


def _start(
    request: Request, stack: contextlib.ExitStack, listener: Listener
) -> tuple[dict[str, Worker], list[Row]]:
    """Return a worker and a row for each subject; one that does not start has a row with the reason."""
    listener.phase("start")
    workers: dict[str, Worker] = {}
    rows: list[Row] = []
    for number, spec in enumerate(request.specs, 1):
        try:
            worker = stack.enter_context(Worker(spec, request.source, _cores(spec, request.settings)))
        except WorkerError as e:
            listener.note(e.message)
            rows.append(_row(spec, {}))
            rows[-1].samples = Samples(error=e.message)
        else:
            workers[spec.key] = worker
            rows.append(_row(spec, worker.ready["facts"]))
        listener.progress(number / len(request.specs))
    return workers, rows


def _row(spec: Spec, facts: Mapping[str, Any]) -> Row:
    """Make a row without samples; `facts` are `Facts` as the worker told them, none if it did not start."""
    return Row(
        key=spec.key,
        name=spec.name,
        precision=facts.get("precision", spec.precision),
        threads=facts.get("threads", spec.threads),
        spinning=spec.spinning,
        engine=facts.get("engine", ""),
        sha256=facts.get("sha256", ""),
        bytes=facts.get("bytes", 0),
        preprocessing=facts.get("preprocessing", ""),
        made=spec.made,
        size=spec.size,
    )


def _classify(
    request: Request, workers: dict[str, Worker], rows: Sequence[Row], listener: Listener
) -> dict[str, Answers]:
    """Answers of each subject by name, once whatever its settings; and PyTorch's."""
    answers: dict[str, Answers] = {}
    chosen = {spec.name: workers[spec.key] for spec in reversed(request.specs) if spec.key in workers}
    with contextlib.ExitStack() as stack:
        reference = request.reference
        if reference is not None and reference.name not in chosen:
            listener.phase("start PyTorch for parity")
            try:
                worker = stack.enter_context(Worker(reference, FrameSource(64, 64)))
            except WorkerError as e:
                listener.note(e.message)
            else:
                chosen = {reference.name: worker, **chosen}
        listener.phase("parity")
        for number, (name, worker) in enumerate(chosen.items()):
            try:
                answers[name] = ask(
                    worker, request.images, _part(listener, number, len(chosen), len(request.images))
                )
            except WorkerError as e:
                listener.note(e.message)
                for row in rows:
                    if row.name == name:
                        row.samples.error = e.message
                        workers.pop(row.key, None)
    return answers


def _prepare_by_source(workers: Mapping[str, Worker], rows: Sequence[Row], listener: Listener) -> None:
    """Measure what preparing costs of pixels and of JPEG; a subject that fails at it goes without."""
    listener.phase("prepare by source")
    for number, row in enumerate(rows, 1):
        if (worker := workers.get(row.key)) is not None:
            with contextlib.suppress(WorkerError):
                row.sources = worker.prepare_by_source()
        listener.progress(number / len(rows))


def _part(listener: Listener, number: int, parts: int, images: int) -> Callable[[int], None]:
    return lambda done: listener.progress((number + done / max(1, images)) / parts)


def _agreement(request: Request, row: Row, answers: dict[str, Answers]) -> Agreement | None:
    if row.name not in answers:
        return None
    expected = answers.get(request.reference.name) if request.reference is not None else None
    if row.size is not None:
        expected = None  # PyTorch answers at the bundle's own size
    return compare(expected, answers[row.name], request.images, row.precision)


def _own_cpu_s(workers: dict[str, Worker]) -> float:
    return time.process_time() + sum(worker.cpu_s for worker in workers.values())


def _versions() -> dict[str, str]:
    found = {"ecovision-edge": __version__}
    for name in _LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _bundle_json(bundle: Bundle | None) -> dict[str, JsonValue]:
    if bundle is None:
        return {"name": None, "sha256": None}
    data = (bundle.path / MANIFEST_NAME).read_bytes()
    sizes: dict[str, JsonValue] = {str(size.side): size.to_json() for size in bundle.manifest.sizes}
    named: dict[str, JsonValue] = {
        "name": bundle.manifest.name,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    return {**named, "sizes": sizes} if sizes else named
