"""The parity gate: what disagrees with PyTorch by more than its budget is not written."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from ecovision_edge.base.device import read_cpu
from ecovision_edge.classifier import Classifier
from ecovision_edge.errors import EcovisionError, InferenceError
from ecovision_edge_export.finished.made import Made
from ecovision_edge_export.int8.report import noun_of
from ecovision_edge_export.options import ExportOptions
from ecovision_edge_export.parity.baseline import TorchBaseline
from ecovision_edge_export.parity.figures import GateClosedError, Parity, budget_for
from ecovision_edge_export.parity.half import HalfBackend, how_in_fp16
from ecovision_edge_export.parity.measure import Half, measure_parity
from ecovision_edge_export.photographs.dataset import PhotographSet
from ecovision_edge_export.targets import computes_in_fp16, resolve_targets
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
    with script.stage("parity"), contextlib.ExitStack() as closing:
        halves = _in_fp16(options, made, script, closing)
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
            halves,
        )
        script.figure(
            ", ".join(f"{p.artifact} agrees on {100 * p.agreement:.2f} %" for p in parity)
            + f" of {parity[0].judged} {noun_of(parity[0].evidence)}"
            + "".join(f"; {p.half.text}" for p in parity if p.half is not None)
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
    for p in parity:
        if p.half is not None and not p.half.gated:
            for failure in p.half.parity.failures():
                script.warn(f"{p.half.parity.artifact} {failure}; told alone, for it was not made for that")
    for failure in failures:
        script.warn(f"waived by --allow-parity-failure: {failure}")
    return parity


def _in_fp16(
    options: ExportOptions, made: Sequence[Made], script: Transcript, closing: contextlib.ExitStack
) -> dict[str, Half]:
    """Open the TFLite models in fp16 too, if a target computes so; what this machine cannot, is told.

    int8 that was made for fp16 has to meet its budget in fp16 too. fp32 is only measured: whether to compute
    it so, `tune` or the user says.
    """
    models = [m for m in made if m.format == "tflite"]
    if not models or not any(map(computes_in_fp16, resolve_targets(options.target))):
        return {}
    cpu = read_cpu()
    how = how_in_fp16(cpu)
    halves: dict[str, Half] = {}
    budget = budget_for("int8", agree=options.agree, max_drop=options.max_drop)
    for m in models:
        try:
            if how is None:
                raise InferenceError("fp16", expected="F16C or asimdhp", found=cpu.model)
            backend = HalfBackend(m.data, m.backend().contract)
        except EcovisionError as e:
            script.warn(
                f"{m.name} is not measured in fp16 here ({e.message}); `verify --fp16` does on a device"
            )
            continue
        closing.callback(backend.close)
        made_for_it = m.precision == "int8" and m.recipe.get("target") == "arm64-fp16"
        classifier = Classifier(backend, artifact=f"{m.name} in fp16")
        halves[m.name] = Half(classifier, budget, how, gated=made_for_it)
    return halves


def _advice(parity: tuple[Parity, ...]) -> str:
    """Return what to do about a closed gate."""
    ways = ["look at the flips (--json has all)"] if any(p.flips for p in parity) else []
    if any(not p.ok and p.judged and p.artifact.startswith("int8") for p in parity):
        ways += ["give more --calib photographs", "raise --fp32-blocks", "ship fp32 alone (--precision fp32)"]
    return ", ".join([*ways, "or waive it with --allow-parity-failure"])
