"""The parity gate: what disagrees with PyTorch by more than its budget is not written."""

from __future__ import annotations

from collections.abc import Sequence

from ecovision_edge.classifier import Classifier
from ecovision_edge_export.finished.made import Made
from ecovision_edge_export.int8.report import noun_of
from ecovision_edge_export.options import ExportOptions
from ecovision_edge_export.parity.baseline import TorchBaseline
from ecovision_edge_export.parity.figures import GateClosedError, Parity, budget_for
from ecovision_edge_export.parity.measure import measure_parity
from ecovision_edge_export.photographs.dataset import PhotographSet
from ecovision_edge_export.transcript import Transcript

__all__ = ["pass_gate"]


def pass_gate(
    options: ExportOptions,
    baseline: TorchBaseline,
    made: Sequence[Made],
    val: PhotographSet | None,
    script: Transcript,
) -> tuple[Parity, ...]:
    """Measure parity; let through only what meets its budget, or what was waived.

    Raises:
        GateClosedError: something does not.
    """
    with script.stage("parity"):
        artifacts = {
            m.name: (
                Classifier(m.backend(), artifact=m.name),
                budget_for(
                    m.precision,
                    agree=options.agree,
                    max_drop=options.max_drop,
                    expect=options.expect_accuracy,
                ),
            )
            for m in made
        }
        parity = measure_parity(
            baseline,
            artifacts,
            val,
            lambda done, total: script.progress("parity", done, total),
        )
        script.figure(
            ", ".join(f"{p.artifact} agrees on {100 * p.agreement:.2f} %" for p in parity)
            + f" of {parity[0].judged} {noun_of(parity[0].evidence)}"
        )
        failures = [f"{p.artifact} {failure}" for p in parity for failure in p.failures()]
        if failures and not options.allow_parity_failure:
            flips = [f.image for p in parity if not p.ok for f in p.flips]
            raise GateClosedError(
                "parity failed, nothing was written",
                parity,
                script.to_json(),
                found="; ".join(failures) + (f"; flipped: {', '.join(flips[:8])}" if flips else ""),
                fix=_advice(parity),
            )
    for failure in failures:
        script.warn(f"waived by --allow-parity-failure: {failure}")
    return parity


def _advice(parity: tuple[Parity, ...]) -> str:
    """Return what to do about a closed gate."""
    ways = ["look at the flips (--json has all)"] if any(p.flips for p in parity) else []
    if any(not p.ok and p.judged and p.artifact.startswith("int8") for p in parity):
        ways += ["give more --calib photographs", "raise --fp32-blocks", "ship fp32 alone (--precision fp32)"]
    return ", ".join([*ways, "or waive it with --allow-parity-failure"])
