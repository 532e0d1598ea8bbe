"""Which targets are served by one int8 model, and which need one of their own.

One more model costs its file (1.5 to 3 MB), its own gate and its own golden vectors; so a target takes
another's while that costs it at most `MOST_LOSS` more than its own would. What that gave for the reference is
in docs/figures/targets.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.bundle.targets import TARGETS, Target
from ecovision_edge_export.int8.costs import SIGNED, modelled_cost, work_of
from ecovision_edge_export.int8.quantize import quantize
from ecovision_edge_export.int8.table import CalibrationTable

__all__ = ["MOST_LOSS", "Shared", "onnx_loss", "share"]

MOST_LOSS = 0.05
"""Of the cost of a target's own model: the error of the model of costs and a little more."""

Loss = Callable[[Target, Target], float]
"""What the model made for the first costs more on the second than the second's own, 0.03 is 3 %; infinite if
that is not known."""


@dataclass(frozen=True, slots=True)
class Shared:
    """One model and the targets that it serves.

    Args:
        lead: For which it is made.
        losses: For each target that it serves what it costs more there than its own would, 0.03 is 3 %; in
            the order of `TARGETS`.
    """

    lead: Target
    losses: Mapping[Target, float]

    @property
    def targets(self) -> tuple[Target, ...]:
        """All that it serves."""
        return tuple(self.losses)

    def __str__(self) -> str:
        return f"for {self.lead}" + (f", serves {', '.join(self._others)}" if self._others else "")

    def to_json(self) -> dict[str, JsonValue]:
        """Return what a manifest's recipe says of it."""
        return {"target": self.lead, **({"serves": [*self._others]} if self._others else {})}

    @property
    def _others(self) -> tuple[str, ...]:
        lost = {t: loss for t, loss in self.losses.items() if t != self.lead}
        return tuple(f"{t} ({100 * loss:+.1f} % of cost)" for t, loss in lost.items())


def share(targets: Sequence[Target], loss: Loss) -> tuple[Shared, ...]:
    """Return the fewest models that serve all targets well enough; of as few those that lose least together.

    Args:
        targets: Each once.
        loss: See `Loss`.

    Returns:
        The model of the first target first, if it serves; else in the order of the targets they are made for.
    """
    if len(targets) == 1:
        return (Shared(targets[0], {targets[0]: 0.0}),)
    losses = {(a, b): 0.0 if a == b else loss(a, b) for a in targets for b in targets}
    for count in range(1, len(targets) + 1):
        found: list[tuple[float, tuple[Shared, ...]]] = []
        for leads in itertools.combinations(targets, count):
            served = {t: min(leads, key=lambda lead: losses[lead, t]) for t in targets}
            if set(served.values()) == set(leads) and all(losses[served[t], t] <= MOST_LOSS for t in targets):
                found.append((sum(losses[served[t], t] for t in targets), _shared(leads, served, losses)))
        if found:
            return min(found, key=lambda one: one[0])[1]
    raise AssertionError  # each target's own model serves it


def _shared(
    leads: Sequence[Target], served: Mapping[Target, Target], losses: Mapping[tuple[Target, Target], float]
) -> tuple[Shared, ...]:
    return tuple(
        Shared(lead, {t: losses[lead, t] for t in TARGETS if served.get(t) == lead}) for lead in leads
    )


def onnx_loss(graph: onnx.ModelProto, tables: Mapping[Target, CalibrationTable]) -> Loss:
    """Return what each target's model, by its table, loses on the others, as modelled."""
    works = {}
    for target, table in tables.items():
        made = quantize(graph, table)
        works[target] = work_of(made.twin, made.fp32), table.recipe.signed

    def cost(lead: Target, target: Target) -> float:
        work, signed = works[lead]
        return modelled_cost(target, work) * (SIGNED[target] if signed else 1)

    return lambda lead, target: cost(lead, target) / cost(target, target) - 1
