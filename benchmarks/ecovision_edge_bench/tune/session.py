"""What a run of `tune` knows at any time: its clock, its workers, and what was found so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ecovision_edge.base.device import read_state
from ecovision_edge_bench.measure.processes import WorkerError
from ecovision_edge_bench.subjects import Spec
from ecovision_edge_bench.tune.choice import Candidate, Choice
from ecovision_edge_bench.tune.pool import Pool, Runs
from ecovision_edge_bench.tune.result import Request, Tuned

__all__ = ["Session"]

LATE = "not measured: no time left in the budget"

END_SHARE, END_S = 0.05, 2.0  # of the budget, kept for closing the workers; and at most so many seconds


class Session:
    """One run; see `run.run_tune` for the arguments."""

    def __init__(
        self,
        request: Request,
        say: Callable[[str], object],
        start: Callable[[Spec, float], Runs],
        clock: Callable[[], float],
        available: Callable[[], int | None],
    ) -> None:
        self.request = request
        self.say = say
        self.clock = clock
        self.began = clock() - request.spent_s
        self.deadline = self.began + request.budget_s - min(END_S, END_SHARE * request.budget_s)
        self.pool = Pool(lambda spec: start(spec, max(1.0, self.left)), clock, available)
        self.tuned = Tuned([Candidate(s) for s in request.plan.specs], Choice(None, "", decided=False))
        self.by_key = {c.key: c for c in self.tuned.candidates}
        self.tuned.states.append(read_state())

    @property
    def left(self) -> float:
        """Seconds to the deadline."""
        return self.deadline - self.clock()

    def start(self, specs: Sequence[Spec], until: float) -> list[Candidate]:
        """Start those that are not running, and check golden vectors once; returns those that are sound."""
        failed, late = self.pool.ensure(specs, until)
        for key in late:
            self.late(self.by_key[key])
        sound = []
        for candidate in (self.by_key[s.key] for s in specs):
            if candidate.key in failed:
                candidate.fault = failed[candidate.key]
            elif candidate.fault is None and self.golden(candidate):
                sound.append(candidate)
        return sound

    def golden(self, candidate: Candidate) -> bool:
        """Run the golden vectors, unless that was done."""
        if candidate.golden:
            return True
        try:
            ok, candidate.golden = self.pool.running[candidate.key].check_golden()
        except WorkerError as e:
            candidate.fault = e.message
            return False
        if not ok:
            candidate.fault = f"golden vectors: {candidate.golden}"
        return ok

    def late(self, candidate: Candidate) -> None:
        """There was no time for it."""
        candidate.fault, candidate.out_of_time = LATE, True
