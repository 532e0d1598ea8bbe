"""One subject in a process of its own, which runs when it is told to and sleeps else.

So nothing of one engine disturbs another: neither its thread pools nor its crash, and the memory of the
process is the subject's. Parent and worker exchange lines of JSON over the worker's standard input and
output; what an engine prints goes to standard error.

    parent: {"spec": ..., "source": ..., "cores": [1]}      worker: {"ready": {import_ms, create_ms, ...}}
    parent: {"turn": {settle_s, seconds, fps, first}}       worker: {"samples": {...}}
    parent: {"classify": {files or seeds}}                  worker: {"probabilities": [[...], ...]}
    parent: {"golden": {}}                                  worker: {"check": {ok, detail}}
    parent: {"sources": {}}                                 worker: {"sources": {raw, jpeg, reduced: [ms]}}
    end of input                                            worker ends

Each answer also has `cpu_s`, the seconds of CPU that the process has taken so far.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from ecovision_edge_bench.subjects import Frame, Spec, Subject

__all__ = ["main", "run_turn"]


def run_turn(
    subject: Subject,
    frames: Sequence[Frame],
    *,
    settle_s: float,
    seconds: float,
    fps: float | None,
    first: int,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, list[float]]:
    """Classify frames for `seconds`, each step timed.

    Before that, for at least one frame and `settle_s`, nothing is recorded: caches are cold after another
    subject's turn, and its threads may still be spinning.

    Args:
        subject: What runs.
        frames: Taken in turn.
        settle_s: Seconds that are not recorded.
        seconds: That are; at least one frame is.
        fps: Frames a second, slept out between them; None is as fast as it goes.
        first: Index of the first frame.
        clock: Seconds.
        sleep: Sleeps so many.

    Returns:
        `at_s` (start of each frame, seconds of `clock`), `prepare_ms`, `infer_ms`, `post_ms`.
    """
    samples: dict[str, list[float]] = {"at_s": [], "prepare_ms": [], "infer_ms": [], "post_ms": []}
    index = first
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = clock()
        due = start
        settled = False
        while True:
            if fps is not None:
                sleep(max(0.0, due - clock()))
                due = clock() + 1 / fps  # a late frame is not made up for
            frame = frames[index % len(frames)]
            t0 = clock()
            prepared = subject.prepare(frame)
            t1 = clock()
            output = subject.infer(prepared)
            t2 = clock()
            subject.post(output)
            t3 = clock()
            index += 1
            if settled:
                samples["at_s"].append(t0)
                samples["prepare_ms"].append((t1 - t0) * 1e3)
                samples["infer_ms"].append((t2 - t1) * 1e3)
                samples["post_ms"].append((t3 - t2) * 1e3)
                if t3 - start >= seconds:
                    return samples
            elif t3 - start >= settle_s:
                settled, start = True, t3
    finally:
        if collecting:
            gc.enable()


def _load(request: dict[str, Any]) -> tuple[Subject, Spec, list[Frame], dict[str, Any]]:
    """Return the subject, its spec and its frames, and what a first start costs."""
    with contextlib.suppress(AttributeError, OSError):  # not on macOS; or cores that are not ours
        if request.get("cores"):
            os.sched_setaffinity(0, request["cores"])
    from ecovision_edge_bench.measure.frames import FrameSource
    from ecovision_edge_bench.subjects import KINDS, Spec, engine_modules, load

    spec = Spec(**request["spec"])
    source = request["source"]
    frames = FrameSource(source["width"], source["height"], tuple(source["images"])).load()
    before_bytes = _peak_bytes()
    started = time.perf_counter()
    importlib.import_module(KINDS[spec.kind])
    for module in engine_modules(spec):
        with contextlib.suppress(ImportError):  # loading says it better
            importlib.import_module(module)
    imported = time.perf_counter()
    subject = load(spec)
    created = time.perf_counter()
    subject.post(subject.infer(subject.prepare(frames[0])))
    first = time.perf_counter()
    facts = subject.facts
    return (
        subject,
        spec,
        frames,
        {
            "create_ms": (created - imported) * 1e3,
            "import_ms": (imported - started) * 1e3,
            "first_ms": (first - created) * 1e3,
            "peak_bytes": _peak_bytes(),
            "before_bytes": before_bytes,
            "facts": {
                "engine": facts.engine,
                "precision": facts.precision,
                "threads": facts.threads,
                "sha256": facts.sha256,
                "bytes": facts.bytes,
                "preprocessing": facts.preprocessing,
            },
        },
    )


def _peak_bytes() -> int | None:
    """Return the most memory that this process has held (`VmHWM`); None where the kernel does not say."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return None
    line = next((x for x in text.splitlines() if x.startswith("VmHWM:")), None)
    return int(line.split()[1]) * 1024 if line else None


def _classify(subject: Subject, request: dict[str, Any]) -> list[list[float]]:
    """Probabilities of whole images, from files or synthetic."""
    from ecovision_edge.photographs.images import read_image
    from ecovision_edge.simulation.synthetic import draw_frame

    frames = (
        (read_image(path) for path in request["files"])
        if request.get("files")
        else (draw_frame(seed) for seed in request["seeds"])
    )
    return [subject.post(subject.infer(subject.prepare(f))).tolist() for f in frames]


def _sources(subject: Subject, frames: list[Frame]) -> dict[str, list[float]]:
    """Milliseconds of preparing by what a frame comes as; nothing of a subject that knows no JPEG."""
    from ecovision_edge_bench.measure.sources import PreparesJpeg, measure_sources

    return measure_sources(subject, frames) if isinstance(subject, PreparesJpeg) else {}


def _check_golden(subject: Subject, spec: Spec) -> dict[str, Any]:
    """Run an artifact of a bundle on the bundle's golden inputs, with this subject's threads."""
    import numpy as np

    from ecovision_edge.base.device import read_cpu
    from ecovision_edge.bundle.folder import Bundle
    from ecovision_edge.verify import compare_golden, golden_tolerance

    bundle = Bundle.open(spec.source)
    entry, golden, cpu = bundle.artifact(spec.artifact), bundle.golden(), read_cpu()
    expected = golden.logits.get(entry.name)
    if expected is None:
        return {"ok": False, "detail": "no golden logits for this artifact; export the bundle again"}
    found = [np.asarray(subject.infer(golden.inputs[i : i + 1])) for i in range(len(golden.inputs))]
    tolerance = golden_tolerance(entry, cpu, fp16=spec.fp16)
    check = compare_golden(spec.key, expected, np.concatenate(found), tolerance, entry, cpu)
    return {"ok": check.ok, "detail": check.detail}


def _serve(requests: TextIO, answers: TextIO) -> None:
    def answer(value: dict[str, Any]) -> None:
        answers.write(json.dumps({**value, "cpu_s": time.process_time()}) + "\n")
        answers.flush()

    from ecovision_edge.errors import EcovisionError

    subject: Subject | None = None
    spec: Spec | None = None
    frames: list[Frame] = []
    for line in requests:
        request = json.loads(line)
        try:
            if "spec" in request:
                subject, spec, frames, ready = _load(request)
                answer({"ready": ready})
            elif subject is None or spec is None:
                answer({"error": "no subject was loaded"})
            elif "turn" in request:
                answer({"samples": run_turn(subject, frames, **request["turn"])})
            elif "sources" in request:
                answer({"sources": _sources(subject, frames)})
            elif "golden" in request:
                answer({"check": _check_golden(subject, spec)})
            else:
                answer({"probabilities": _classify(subject, request["classify"])})
        except EcovisionError as e:
            answer({"error": e.message})
        except Exception as e:  # noqa: BLE001 - engines raise what they like; the parent has the row to mark
            answer({"error": f"{type(e).__name__}: {(str(e).strip().splitlines() or [''])[0][:300]}"})


def main() -> int:
    """Serve a parent until it closes the pipe."""
    # Engines print from native code: descriptor 1 becomes standard error, answers get one of their own.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):  # the parent is told, and ends us
        _serve(sys.stdin, answers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
