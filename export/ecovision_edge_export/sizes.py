"""The size of the network's input as a choice: what each costs on the target, and how often it is right."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

import onnx

from ecovision_edge.bundle.contract import Contract
from ecovision_edge.bundle.folder import MANIFEST_NAME
from ecovision_edge.bundle.sizes import SizeEntry
from ecovision_edge.errors import OptionError
from ecovision_edge.photographs.labelled import spread
from ecovision_edge.photographs.turns import MOST_TURNED, TurnReport
from ecovision_edge_export.finished.made import Made
from ecovision_edge_export.finished.onnx_file import finish
from ecovision_edge_export.graph.sides import at_size
from ecovision_edge_export.int8.costs import Work, modelled_cost, work_of
from ecovision_edge_export.options import ExportOptions
from ecovision_edge_export.parity.frontier import Frontier, SizeFigure
from ecovision_edge_export.parity.turning import count_turns
from ecovision_edge_export.photographs.dataset import PhotographSet
from ecovision_edge_export.targets import Target
from ecovision_edge_export.transcript import Transcript
from ecovision_edge_export.weights.checkpoint import Checkpoint
from ecovision_edge_export.weights.preprocessing import Preprocessing

__all__ = [
    "COMMON_SIDES",
    "contract_at",
    "measure_sizes",
    "options_at",
    "settle_size",
    "sides_of",
]

COMMON_SIDES = (128, 160, 192, 224)
"""Pixels, where `--sizes` does not say."""


def sides_of(options: ExportOptions, contract: Contract, val: PhotographSet | None) -> tuple[int, ...]:
    """Return the sizes to measure, pixels, the smallest first; empty if none is asked for.

    Args:
        options: Of the export.
        contract: At the size that the weights were trained for: without `--sizes`, the largest to try.
        val: Those of `--val`, which are to judge.

    Raises:
        OptionError: `--size auto` without `--sizes`, of a network for which none smaller is known; or no
            labelled photographs.
    """
    asked = "--size auto" if options.auto_size else "--sizes"
    if (options.sizes or options.auto_size) and (val is None or not val.labelled):
        raise OptionError(
            asked,
            expected="--val with one folder per class: sizes are judged by accuracy",
            found="no --val" if val is None else "photographs without labels",
        )
    if options.keep_sizes and not options.auto_size:
        own = (contract.input.height, contract.input.width)
        if own not in [(side, side) for side in options.sizes]:
            raise OptionError(
                "--keep-sizes",
                expected=f"--sizes with the bundle's own, {own[0]}, or --size auto",
                found=", ".join(map(str, options.sizes)),
            )
    if options.sizes:
        return tuple(sorted(options.sizes))
    if not options.auto_size:
        return ()
    height, width = contract.input.height, contract.input.width
    smaller = tuple(side for side in COMMON_SIDES if side < height)
    if height != width or not smaller:
        raise OptionError(
            "--size auto",
            expected=f"--sizes, or a square network of more than {COMMON_SIDES[0]} pixels",
            found=f"one of {height}x{width} and no --sizes",
            fix="say which sizes to try, as --sizes 96,112,128",
        )
    return (*smaller, height)


def contract_at(contract: Contract, side: int) -> Contract:
    """Return the contract with another size; a crop shows the same part of a picture.

    Raises:
        ContractError: no contract can hold it.
    """
    spec, resize = contract.input, contract.resize
    if resize.shortest is not None:
        shortest = max(side, round(resize.shortest * side / max(spec.height, spec.width)))
        resize = dataclasses.replace(resize, shortest=shortest)
    spec = dataclasses.replace(spec, height=side, width=side)
    return dataclasses.replace(contract, input=spec, resize=resize)


def measure_sizes(
    sides: Sequence[int],
    options: ExportOptions,
    contract: Contract,
    graph: onnx.ModelProto,
    val: PhotographSet,
    target: Target,
    script: Transcript,
) -> Frontier:
    """Measure fp32 at each size, as the stage `sizes`, and show the frontier.

    Args:
        sides: Pixels, the smallest first.
        options: Say whether a size is to be chosen, and by which loss.
        contract: Of the graph.
        graph: fp32, preprocessing folded; it stays as it is.
        val: Judges, labelled; `MOST_TURNED` of them at most, evenly spread.
        target: The CPU of the costs.
        script: Gets the stage, the table and the plot.

    Raises:
        ImageReadError: a file is no image any more.
        InferenceError: the engine failed.
    """
    chosen = spread(val.photographs, MOST_TURNED)
    with script.stage("sizes"):
        contracts = [contract_at(contract, side) for side in sides]
        graphs = [at_size(graph, at.input) for at in contracts]
        works = [work_of(g, {n.name for n in g.graph.node}) for g in graphs]
        made = [Made("fp32", "onnx", finish(g, at)) for g, at in zip(graphs, contracts, strict=True)]
        reports = count_turns(
            made, chosen, lambda done: script.progress("sizes", done, len(chosen)), bars=False
        )
        frontier = Frontier(
            _figures(sides, works, reports, target),
            len(chosen),
            contract.any_orientation,
            target,
            options.max_loss_of_size,
        )
        script.figure(frontier.summary())
    script.show(frontier.rows(), frontier.plot())
    _warn(frontier, script)
    return frontier


def settle_size(
    options: ExportOptions, checkpoint: Checkpoint, contract: Contract, frontier: Frontier
) -> ExportOptions:
    """Return the options with the chosen size in place of `auto`, so that all else follows from them.

    Args:
        options: As given; returned as they are if no size is to be chosen.
        checkpoint: Whose own size needs no option.
        contract: At its own size, as the options say.
        frontier: Says which size it is.
    """
    if frontier.chosen is None:
        return options
    return options_at(options, checkpoint, contract, frontier.chosen.side)


def options_at(
    options: ExportOptions, checkpoint: Checkpoint, contract: Contract, side: int
) -> ExportOptions:
    """Return the options for another size.

    Args:
        options: As given.
        checkpoint: Whose own size needs no option.
        contract: At the size that the options name.
        side: Pixels.
    """
    options = dataclasses.replace(options, auto_size=False, max_loss=None)
    if (side, side) == (contract.input.height, contract.input.width):
        return options
    if (side, side) == (checkpoint.preprocessing or Preprocessing()).size and options.resize is None:
        return dataclasses.replace(options, size=None)
    shortest = contract_at(contract, side).resize.shortest
    resize = options.resize if shortest is None else f"shortest:{shortest}"
    return dataclasses.replace(options, size=(side, side), resize=resize)


def kept_sizes(
    frontier: Frontier, contract: Contract, others: Mapping[int, Mapping[str, bytes]]
) -> tuple[SizeEntry, ...]:
    """Return what the manifest says of the sizes that a bundle has, the smallest first.

    Args:
        frontier: What was measured.
        contract: The bundle's own.
        others: The files of the bundle of each other size.
    """
    own = contract.input.height
    return tuple(
        SizeEntry(
            figure.side,
            round(frontier.accuracy(figure), 4),
            round(frontier.loss(figure), 4),
            round(figure.cost, 4),
            None if figure.side == own else hashlib.sha256(others[figure.side][MANIFEST_NAME]).hexdigest(),
        )
        for figure in frontier.figures
        if figure.side == own or figure.side in others
    )


def _figures(
    sides: Sequence[int], works: Sequence[Work], reports: Sequence[TurnReport], target: Target
) -> tuple[SizeFigure, ...]:
    largest = modelled_cost(target, works[-1])
    return tuple(
        SizeFigure(
            side,
            work.fp32_conv + work.fp32_depthwise + work.fp32_depthwise_3,
            modelled_cost(target, work) / largest,
            report.stripped,
        )
        for side, work, report in zip(sides, works, reports, strict=True)
    )


def _warn(frontier: Frontier, script: Transcript) -> None:
    """Tell what makes the choice a weak one."""
    if frontier.max_loss is None:
        return
    if frontier.chosen is frontier.figures[-1]:
        script.warn(
            f"no smaller size is within {frontier.max_loss:g} points of the largest: that one is taken"
        )
    one = 100 / frontier.photographs
    if one > frontier.max_loss > 0:
        script.warn(
            f"the sizes are judged by {frontier.photographs} photographs, of which one is {one:.1f} points: "
            f"too few to tell a loss of {frontier.max_loss:g}"
        )
