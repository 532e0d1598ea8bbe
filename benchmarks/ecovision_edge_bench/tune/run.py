"""One run of `tune`, inside a budget of time.

First each artifact answers: golden vectors, and the same images as the bundle's fp32 artifact. What does not
answer as it should is not measured at all. Then every configuration that is left takes turns with the base,
the default configuration; where there are many, the few that look faster then do so once more, and longer,
and by that alone it is decided (see `choice`). Each configuration has a process of its own.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence

from ecovision_edge.base.device import read_cpu_times, read_state
from ecovision_edge_bench.measure.frames import FrameSource
from ecovision_edge_bench.measure.processes import ANSWER_LIMIT_S, Worker
from ecovision_edge_bench.measure.schedule import Samples, run_schedule
from ecovision_edge_bench.measure.validity import other_load
from ecovision_edge_bench.subjects import Spec
from ecovision_edge_bench.tune.answers import check_artifacts
from ecovision_edge_bench.tune.choice import FINALISTS, Candidate, choose, finalists, set_ratio, unless_busy
from ecovision_edge_bench.tune.plan import most_at_once, phase_settings
from ecovision_edge_bench.tune.pool import Runs, available_bytes
from ecovision_edge_bench.tune.result import Request, Tuned
from ecovision_edge_bench.tune.session import Session

__all__ = ["run_tune"]

ALONE_S = 3.0  # for a base that has no rival
SCREEN_ROUNDS, FINAL_ROUNDS = 8, 24  # that are aimed at; `MIN_ROUNDS` are needed for an interval


def run_tune(
    request: Request,
    say: Callable[[str], object] = lambda line: None,
    *,
    start: Callable[[Spec, float], Runs] | None = None,
    clock: Callable[[], float] = time.perf_counter,
    available: Callable[[], int | None] = available_bytes,
) -> Tuned:
    """Measure inside the budget, and choose.

    Args:
        request: What.
        say: Is told of each phase.
        start: Starts a configuration's worker, which has so many seconds at most for its start, and likewise
            for each answer.
        clock: Seconds.
        available: Bytes of memory that are free.

    Raises:
        KeyboardInterrupt: Ctrl-C; the workers are ended.
    """
    run = Session(request, say, start or _starter(request.source), clock, available)
    with contextlib.closing(run.pool):
        tuned = run.tuned
        check_artifacts(run)
        sound = [c for c in tuned.candidates if c.fault is None]
        default = run.by_key[run.request.plan.default.key]
        base = tuned.base = default if default in sound else next(iter(sound), None)
        if base is not None:
            _measure_all(run, base, [c for c in sound if c is not base])
        for candidate in tuned.candidates:
            if candidate.fault is None and not candidate.kept:
                if base is None or base.fault is None or base.out_of_time:
                    run.late(candidate)
                else:
                    candidate.fault = f"not measured: {base.key} failed"
        tuned.choice = choose(tuned.candidates, base)
        if not run.request.anyway:
            tuned.choice = unless_busy(tuned.choice, tuned.load["busy"])
        tuned.seconds = run.clock() - run.began
        return tuned


def _starter(source: FrameSource) -> Callable[[Spec, float], Runs]:
    def start(spec: Spec, seconds: float) -> Runs:
        return Worker(spec, source, start_limit_s=seconds, answer_limit_s=min(ANSWER_LIMIT_S, seconds))

    return start


def _measure_all(run: Session, base: Candidate, rivals: Sequence[Candidate]) -> None:
    """All that is left, in one measurement or two."""
    few = _together(run, FINALISTS)
    if len(rivals) <= few:
        _final(run, base, rivals)
    elif most_at_once(0.5 * run.left) - 1 <= few:  # no time for more than these anyway
        _final(run, base, rivals[:few])
    else:
        _screen(run, base, rivals)
        measured = any(len(c.samples) for c in rivals)
        best = (finalists(rivals, base) if measured else rivals)[:few]
        if best:
            _final(run, base, best)


def _screen(run: Session, base: Candidate, rivals: Sequence[Candidate]) -> None:
    """All of them against the base, in half of the time that is left; in heats that memory holds."""
    half = run.clock() + 0.5 * max(0.0, run.left)
    size = _together(run, len(rivals))
    heats = [rivals[i : i + size] for i in range(0, len(rivals), size)]
    for number, heat in enumerate(heats):
        run.say(f"measure {len(heat) + 1} configurations, heat {number + 1} of {len(heats)}")
        now = run.clock()
        until = now + max(0.0, half - now) / (len(heats) - number)
        run.pool.retain({base.key, *(c.key for c in heat)})
        started = run.start([c.spec for c in heat], now + 0.6 * (until - now))
        room = max(1, most_at_once(until - run.clock()) - 1)
        for candidate in started[room:]:
            run.late(candidate)
        _measure(run, base, started[:room], until, SCREEN_ROUNDS, least=1)


def _final(run: Session, base: Candidate, rivals: Sequence[Candidate]) -> None:
    """The base and a few, until the end of the budget; a lone base has nobody to wait for."""
    run.say(f"measure {', '.join(c.key for c in (base, *rivals))}")
    for candidate in (base, *rivals):
        if candidate.out_of_time:  # starts took longer than was thought: there is some time after all
            candidate.fault, candidate.out_of_time = None, False
    now, left = run.clock(), max(0.0, run.left)
    until = now + (left if rivals else min(left, ALONE_S))
    run.pool.retain({base.key, *(c.key for c in rivals)})
    started = run.start([c.spec for c in rivals], now + 0.5 * left)
    measured = _measure(run, base, started, until, FINAL_ROUNDS)
    for candidate in rivals:
        candidate.final = candidate in measured
        if candidate.out_of_time and len(candidate.samples):  # it keeps what was measured before
            candidate.fault, candidate.out_of_time = None, False


def _together(run: Session, most: int) -> int:
    """Return how many can be compared with the base at once: at most `most`, and what memory holds."""
    return min(most, max(1, run.pool.capacity - 1))


def _measure(
    run: Session, base: Candidate, rivals: Sequence[Candidate], until: float, rounds: int, least: int = 0
) -> list[Candidate]:
    """Let them take turns with the base; returns those that did: the first, where time is short.

    None takes turns where there is no time for `least` of them.
    """
    if not run.start([base.spec], until):
        return []
    rivals = [*rivals]
    while True:
        left = until - run.clock()
        settings = phase_settings(left, len(rivals) + 1, rounds, run.request.seed)
        if settings is not None:
            break
        if len(rivals) <= least:
            for candidate in rivals:
                run.late(candidate)
            return []
        run.late(rivals.pop())
    workers = {c.key: run.pool.running[c.key] for c in (base, *rivals)}
    times, began = read_cpu_times(), run.clock()
    own = time.process_time() + sum(w.cpu_s for w in workers.values())
    schedule = run_schedule(workers, settings, clock=run.clock)
    own = time.process_time() + sum(w.cpu_s for w in workers.values()) - own
    run.tuned.load = other_load(times, read_cpu_times(), own, run.clock() - began)
    run.tuned.states.append(read_state())
    if schedule.interrupted:
        raise KeyboardInterrupt
    for candidate in (base, *rivals):
        candidate.samples = schedule.samples.get(candidate.key, Samples())
        candidate.fault = candidate.samples.error
    for candidate in rivals:
        set_ratio(candidate, base.samples, run.request.seed)
    return rivals
