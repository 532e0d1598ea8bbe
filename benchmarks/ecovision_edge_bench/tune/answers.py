"""Which artifacts answer as they should: their golden vectors, and the same images as the reference."""

from __future__ import annotations

import dataclasses

import numpy as np

from ecovision_edge_bench.measure.agreement import Answers, Images, ask, compare
from ecovision_edge_bench.measure.processes import WorkerError
from ecovision_edge_bench.subjects import Spec
from ecovision_edge_bench.tune.choice import agreement_fault
from ecovision_edge_bench.tune.drawn import as_files
from ecovision_edge_bench.tune.plan import agreement_budget, image_parts, join_images
from ecovision_edge_bench.tune.session import Session

__all__ = ["check_artifacts"]

START_SHARE = 0.4  # of the budget: by then the first worker of each artifact is started, or it is left out
ANSWERS_SHARE = 0.25  # of the budget: for the images, all artifacts together


def check_artifacts(run: Session) -> None:
    """Golden vectors and agreement of each artifact, by the first of its configurations; in fp16 apart.

    Another size of the bundle is another network: its artifacts have a reference of their own.
    """
    request, plan = run.request, run.request.plan
    firsts: dict[tuple[int | None, str, bool], Spec] = {}
    for spec in plan.specs:
        firsts.setdefault((spec.size, spec.artifact, spec.fp16), spec)
    # The reference answers first: fp32 where there is such an artifact, else the default.
    order = sorted(
        firsts.values(),
        key=lambda s: (s.size is not None, s.size or 0, s.fp16, s.precision != "fp32", s != plan.default),
    )
    until = run.began + START_SHARE * request.budget_s
    run.say(f"start {len(order)} {'artifact' if len(order) == 1 else 'artifacts'}")
    run.pool.ensure([plan.default], run.deadline)
    if len(order) <= run.pool.capacity:
        run.pool.ensure(order, until)
    run.say("compare answers")
    references: dict[int | None, tuple[Spec, Answers]] = {}
    asked: list[Images] = []
    for spec in order:
        if spec.key not in run.pool.running and len(run.pool.running) >= run.pool.capacity:
            run.pool.retain({plan.default.key, spec.key})
        if not run.start([spec], run.deadline if spec == plan.default else until):
            _spread(run, spec)
            continue
        try:
            if not asked:
                found, asked = _ask_reference(run, spec, run.clock() + _answers_s(run, len(order)))
            elif run.left <= 0:
                run.late(run.by_key[spec.key])
                _spread(run, spec)
                continue
            else:
                worker = run.pool.running[spec.key]
                found = np.concatenate([ask(worker, as_files(p, request.folder)) for p in asked])
        except WorkerError as e:
            run.by_key[spec.key].fault = e.message
        else:
            reference, expected = references.setdefault(spec.size, (spec, found))
            _judge(run, spec, expected, found, join_images(asked), reference)
        _spread(run, spec)


def _answers_s(run: Session, artifacts: int) -> float:
    """Give the seconds for the reference's answers; the others answer as many, and are as fast or faster."""
    return max(0.0, min(ANSWERS_SHARE * run.request.budget_s, 0.5 * run.left)) / artifacts


def _ask_reference(run: Session, spec: Spec, until: float) -> tuple[Answers, list[Images]]:
    """Return its answers, on as many parts of the images as there is time for; on one at least."""
    answers: list[Answers] = []
    parts = image_parts(run.request.images)
    for part in parts:
        if answers and run.clock() >= until:
            break
        answers.append(ask(run.pool.running[spec.key], as_files(part, run.request.folder)))
    run.tuned.reference = spec.artifact
    asked = parts[: len(answers)]
    run.tuned.images = sum(len(part) for part in asked)
    return np.concatenate(answers), asked


def _judge(
    run: Session, spec: Spec, expected: Answers, found: Answers, images: Images, reference: Spec
) -> None:
    """Set the agreement of a configuration, and whether it is enough."""
    bundle = run.request.bundle
    entry = (bundle if spec.size is None else bundle.at_size(spec.size)).artifact(spec.artifact)
    agreement = dataclasses.replace(
        compare(expected, found, images, spec.precision), budget=agreement_budget(entry)
    )
    candidate = run.by_key[spec.key]
    candidate.agreement = agreement
    default = any(_computes_as(spec, other) for other in (run.request.plan.default, reference))
    candidate.fault = agreement_fault(agreement, default=default)


def _spread(run: Session, spec: Spec) -> None:
    """What was found of an artifact holds for all its configurations of that precision."""
    first = run.by_key[spec.key]
    for candidate in run.tuned.candidates:
        if candidate is not first and _computes_as(candidate.spec, spec):
            candidate.agreement = first.agreement
            candidate.fault = first.fault
            candidate.out_of_time = first.out_of_time


def _computes_as(spec: Spec, other: Spec) -> bool:
    return (spec.size, spec.artifact, spec.fp16) == (other.size, other.artifact, other.fp16)
