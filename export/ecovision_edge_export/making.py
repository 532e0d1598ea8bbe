"""The artifacts of an export: fp32, and int8 for each target by the first recipe that passes the gate."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import onnx

from ecovision_edge.base.device import read_cpu
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.bundle.manifest import Format
from ecovision_edge.bundle.targets import Target, target_of
from ecovision_edge_export.finished.made import Made
from ecovision_edge_export.finished.onnx_file import finish
from ecovision_edge_export.finished.speed import Speed, compare_speed
from ecovision_edge_export.int8.report import describe, recipe_json
from ecovision_edge_export.int8.sharing import Loss, Shared, onnx_loss, share
from ecovision_edge_export.int8.stage import Recipes, quantize_by
from ecovision_edge_export.options import ExportOptions
from ecovision_edge_export.parity.baseline import TorchBaseline
from ecovision_edge_export.parity.figures import GateClosedError, Parity
from ecovision_edge_export.photographs.dataset import PhotographSet
from ecovision_edge_export.publish.gate import pass_gate
from ecovision_edge_export.transcript import Transcript

if TYPE_CHECKING:
    from ecovision_edge_export.tflite.choose import TfliteTrial

__all__ = ["Artifacts", "ExportRun", "make_artifacts"]

Artifacts = tuple[tuple[Made, ...], tuple[Parity, ...]]
"""Finished models, and the parity of each."""

Attempt = Callable[[], "tuple[Made, str] | None"]
"""Makes a model when it is called, and names the blocks that it leaves in fp32; None: there is no other."""

Attempts = Callable[[Shared, "tuple[Target, ...]"], "Iterable[Attempt]"]
"""The models to try for targets that share one, the first to be taken first. The second argument is those
targets where others have a model of their own; empty where one serves all."""


@dataclass(frozen=True, slots=True)
class ExportRun:
    """What both formats are made of.

    Args:
        recipes: For each target of int8; empty if none is asked for.
        speeds: Filled with what was timed here.
    """

    options: ExportOptions
    contract: Contract
    graph: onnx.ModelProto
    recipes: Mapping[Target, Recipes]
    baseline: TorchBaseline
    val: PhotographSet | None
    script: Transcript
    speeds: list[Speed] = field(default_factory=list)

    def gate(self, *made: Made) -> tuple[Parity, ...]:
        """Measure parity; raises as `pass_gate`."""
        return pass_gate(self.options, self.baseline, made, self.val, self.script)


def make_artifacts(run: ExportRun) -> Artifacts:
    """Make all models asked for; raises as `pass_gate`, and as the makers of a format."""
    made: tuple[Made, ...] = ()
    parity: tuple[Parity, ...] = ()
    for format, make in (("onnx", _make_onnx), ("tflite", _make_tflite)):
        if format in run.options.formats:
            more, measured = make(run)
            made, parity = made + more, parity + measured
    return made, parity


def _make_onnx(run: ExportRun) -> Artifacts:
    contract, script = run.contract, run.script
    fp32 = Made("fp32", "onnx", finish(run.graph, contract))
    if not run.recipes:
        return (fp32,), run.gate(fp32)
    if read_cpu().u8s8_saturates is not False:
        script.warn(
            "this CPU may clip int8 sums (no VNNI): parity and golden vectors are those of exact sums, "
            "as Arm and x86 with VNNI give"
        )

    def attempts(shared: Shared, targets: tuple[Target, ...]) -> Iterable[Attempt]:
        recipes = run.recipes[shared.lead]

        def attempt(number: int) -> tuple[Made, str] | None:
            int8, table, layers = quantize_by(run.graph, recipes[number], recipes.inputs)
            script.figure(describe(table, shared))
            recipe, judged = recipe_json(table, shared, layers), finish(int8.judged, contract)
            made = Made("int8", "onnx", finish(int8.model, contract), recipe, judged, targets)
            return made, table.recipe.fp32_text

        return [functools.partial(attempt, number) for number in range(len(recipes))]

    shares = _shares(run, "onnx", lambda: onnx_loss(run.graph, {t: r[0] for t, r in run.recipes.items()}))
    return _make_int8(run, fp32, shares, attempts)


def _make_tflite(run: ExportRun) -> Artifacts:
    from ecovision_edge_export.tflite.choose import Kept, open_once, tflite_loss, tflite_recipe, tflite_trials
    from ecovision_edge_export.tflite.convert import convert
    from ecovision_edge_export.tflite.flatbuffer import finish as finish_tflite

    options, contract, script = run.options, run.contract, run.script
    with script.stage("convert"):
        fp32 = Made("fp32", "tflite", finish_tflite(convert(run.graph, contract), contract))
        open_once(fp32.data)
        script.figure(f"fp32 .tflite, {len(fp32.data) / 1e6:.1f} MB, opened and run once")
    if not run.recipes:
        return (fp32,), run.gate(fp32)
    kept = Kept()
    tables = {target: recipes.tables[0] for target, recipes in run.recipes.items()}
    trials = {
        target: tflite_trials(
            run.graph,
            tables[target],
            contract,
            recipes.inputs,
            target=target,
            # Synthetic frames judge nothing: the gate does.
            agree=options.agree / 100 if recipes.searched else 0.0,
            fp32_blocks=_blocks_of(options, recipes),
            progress=lambda done, total: script.progress("quantize", done, total),
            kept=kept,
        )
        for target, recipes in run.recipes.items()
    }
    firsts: dict[Target, TfliteTrial] = {}

    def loss() -> Loss:
        firsts.update((target, next(tried)) for target, tried in trials.items())
        return tflite_loss(firsts)

    shares = _shares(run, "tflite", loss)

    def attempts(shared: Shared, targets: tuple[Target, ...]) -> Iterable[Attempt]:
        def attempt() -> tuple[Made, str] | None:
            trial = firsts.pop(shared.lead, None) or next(trials[shared.lead], None)
            if trial is None:
                return None
            recipe = tflite_recipe(trial, tables[shared.lead], shared)
            script.figure(
                f"int8 .tflite {shared}, {len(trial.data) / 1e6:.1f} MB, blocks {trial.recipe.fp32_text} in "
                f"fp32: SQNR {trial.fidelity.sqnr_db:.1f} dB"
            )
            return Made("int8", "tflite", trial.data, recipe, targets=targets), trial.recipe.fp32_text

        return itertools.repeat(attempt)

    return _make_int8(run, fp32, shares, attempts)


def _blocks_of(options: ExportOptions, recipes: Recipes) -> tuple[int, ...] | None:
    """Return the numbers of leading blocks to try in fp32; None: those of the target."""
    if options.fp32_blocks is not None:
        return (options.fp32_blocks,)
    if recipes.searched or recipes.tables[0].trained:
        return None
    return tuple(table.recipe.fp32_blocks for table in recipes.tables)


def _shares(run: ExportRun, format: Format, loss: Callable[[], Loss]) -> tuple[Shared, ...]:
    """Say which targets share a model; nothing is asked, and nothing told, where there is one target."""
    targets = tuple(run.recipes)
    if len(targets) == 1:
        return share(targets, lambda lead, target: 0.0)
    with run.script.stage("share"):
        shares = share(targets, loss())
        which = "one int8" if len(shares) == 1 else f"{len(shares)} int8"
        run.script.figure(f"{which} .{format}: {'; '.join(map(str, shares))}")
    return shares


def _make_int8(run: ExportRun, fp32: Made, shares: Sequence[Shared], attempts: Attempts) -> Artifacts:
    """Return int8 for each share, and fp32 if it is asked for."""
    made: tuple[Made, ...] = ()
    parity: tuple[Parity, ...] = ()
    beside = (fp32,) if "fp32" in run.options.precisions else ()
    for shared in shares:
        targets = shared.targets if len(shares) > 1 else ()
        int8, measured = _first_let_through(run, beside, attempts(shared, targets))
        here = target_of(read_cpu())
        if here in shared.targets:
            run.speeds.extend(compare_speed(fp32, int8, run.contract, here, run.script))
        made, parity = (*made, *beside, int8), parity + measured
        beside = ()
    return made, parity


def _first_let_through(
    run: ExportRun, beside: tuple[Made, ...], attempts: Iterable[Attempt]
) -> tuple[Made, tuple[Parity, ...]]:
    """Return the first model that the gate lets through; and the parity of what is beside it, and its own.

    Raises:
        GateClosedError: none is let through, or something else is not.
    """
    closed: GateClosedError | None = None
    for attempt, another in itertools.pairwise(itertools.chain(attempts, [None])):
        assert attempt is not None
        with run.script.stage("quantize"):
            found = attempt()
            if found is None:
                assert closed is not None
                raise closed
        int8, blocks = found
        try:
            return int8, run.gate(*beside, int8)
        except GateClosedError as e:
            if another is None or not all(p.ok or p.artifact.startswith("int8") for p in e.parity):
                raise
            closed = e
            why = "; ".join(f for p in e.parity for f in p.failures())
            run.script.warn(f"blocks {blocks} in fp32 are not enough ({why}); the next recipe")
    raise AssertionError  # the loop returns or raises
