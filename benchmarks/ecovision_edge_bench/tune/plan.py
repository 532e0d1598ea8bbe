"""What is tried, in which order, and how a budget of time is divided."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ecovision_edge.backends import default_threads
from ecovision_edge.backends.half import fp16_fault
from ecovision_edge.backends.survival import FP16, Finding, deadly_engine
from ecovision_edge.base.device import read_cpu
from ecovision_edge.base.durations import parse_duration
from ecovision_edge.bundle.engines import ENGINES, is_installed
from ecovision_edge.bundle.folder import Bundle
from ecovision_edge.bundle.manifest import ArtifactEntry, Format
from ecovision_edge.bundle.sizes import SizeEntry
from ecovision_edge.errors import ArtifactNotFoundError, MissingDependencyError, OptionError
from ecovision_edge_bench.measure.agreement import GROUP, Images
from ecovision_edge_bench.measure.ratios import MIN_ROUNDS
from ecovision_edge_bench.measure.settings import Settings
from ecovision_edge_bench.subjects import Spec

__all__ = [
    "MAX_LOSS",
    "MIN_BUDGET_S",
    "Plan",
    "agreement_budget",
    "check_max_loss",
    "image_parts",
    "join_images",
    "make_plan",
    "most_at_once",
    "parse_budget",
    "phase_settings",
    "usable_thread_counts",
]

MIN_BUDGET_S = 5.0
MAX_THREADS = 4  # a network this small gains nothing beyond: see `default_threads`
DEFAULT_AGREEMENT = 0.98  # the exporter's own gate for int8, where a manifest records none

MAX_LOSS = 0.5
"""Percentage points that a size may lose, as `export --size auto` allows."""

SETTLE_S = 0.06  # as `Settings.settle_secs`
TURNS_S = (0.03, 0.25)  # least and most of one turn


@dataclass(frozen=True, slots=True)
class Plan:
    """What is tried.

    Args:
        specs: Each configuration, the likely ones first.
        default: That of `Classifier.load` without a profile; it is one of `specs`.
        fp16: Why TFLite artifacts are not tried in fp16 too; None: they are, or there are none.
        skipped: Artifacts whose engine is not installed, or dies on this CPU, each with what to run.
        lossy: Sizes of the bundle that are not tried, for they lose too much; each by its percentage points.
    """

    specs: tuple[Spec, ...]
    default: Spec
    skipped: tuple[tuple[str, str], ...]
    fp16: str | None = None
    lossy: Mapping[int, float] = field(default_factory=dict)


def parse_budget(text: str) -> float:
    """`60s`, `2m` in seconds.

    Raises:
        OptionError: no duration, or below `MIN_BUDGET_S`.
    """
    seconds = parse_duration(text)
    if not MIN_BUDGET_S <= seconds <= 86400:
        raise OptionError("--budget", expected=f"{MIN_BUDGET_S:g}s to 24h", found=text)
    return seconds


def check_max_loss(max_loss: float | None, bundle: Bundle) -> None:
    """Refuse a loss out of range, and one of a bundle that has nothing to choose among.

    Raises:
        OptionError: that.
    """
    if max_loss is None:
        return
    if not 0 <= max_loss <= 100:
        raise OptionError("--max-loss", expected="0 to 100 percentage points", found=max_loss)
    if not bundle.manifest.sizes:
        raise OptionError(
            "--max-loss", expected="a bundle of several sizes, of `export --keep-sizes`", found="one size"
        )


def usable_thread_counts() -> tuple[int, ...]:
    """1 to the cores that this process may use, at most 4."""
    return tuple(range(1, min(MAX_THREADS, default_threads()) + 1))


def make_plan(
    bundle: Bundle, threads: Sequence[int], findings: Sequence[Finding] = (), max_loss: float = MAX_LOSS
) -> Plan:
    """Return every artifact whose engine is installed, with each count of threads, spinning and sleeping.

    The default configuration is among them whatever `threads` says. Of other sizes of the bundle those that
    cost less by its manifest, and lose no more than `max_loss`.

    Args:
        bundle: Whose artifacts.
        threads: Counts to try.
        findings: What a probe found of the engines here: one that ends its process is not tried.
        max_loss: Percentage points of accuracy that a size may lose against the largest that was measured.

    Raises:
        BundleError: another size in the bundle is damaged.
        MissingDependencyError: no engine is installed for any artifact, or none that this CPU survives.
    """
    ends = {f.package: f.ended for f in findings if f.ended is not None}
    fixes: dict[Format, str] = {
        format: deadly_engine(format, read_cpu(), ends[engine.package]).message
        if engine.package in ends
        else engine.fix
        for format, engine in ENGINES.items()
        if engine.package in ends or not is_installed(format)
    }
    entries = [e for e in bundle.manifest.artifacts if e.format not in fixes]
    skipped = [(e.name, fixes[e.format]) for e in bundle.manifest.artifacts if e.format in fixes]
    if not entries:
        lines = dict.fromkeys(line for _, line in skipped)
        raise MissingDependencyError(
            "no engine is installed that runs an artifact of this bundle",
            expected=f"one for {', '.join(name for name, _ in skipped)}",
            fix=" or ".join(lines),
        )
    first = _default_entry(bundle, entries)
    default = _spec(bundle, first, default_threads(), spinning=True)
    specs = [_spec(bundle, entry, count, spinning=True) for entry in entries for count in threads]
    cost: dict[int | None, float] = {None: _own_cost(bundle.manifest.sizes)}
    cheaper, lossy = _other_sizes(bundle.manifest.sizes, max_loss)
    for size in cheaper:
        there = bundle.at_size(size.side)
        fitting = [e for e in there.manifest.artifacts if e.format not in fixes]
        own = [_spec(there, entry, count, spinning=True) for entry in fitting for count in threads]
        specs += [spec.at_size(size.side) for spec in own]
        cost[size.side] = size.cost
    specs += [dataclasses.replace(s, spinning=False) for s in specs if s.threads > 1 and s.may_spin]
    if default not in specs:
        specs.insert(0, default)
    half = [s for s in specs if s.format == "tflite"]
    fp16 = _fp16_fault(findings) if half else None
    specs += [dataclasses.replace(s, fp16=True) for s in half] if fp16 is None else []
    # Where the budget is too small for all of them, it is the likely ones that are measured.
    specs.sort(key=lambda s: (s != default, cost[s.size], s.precision != "int8", not s.spinning, -s.threads))
    return Plan(tuple(specs), default, tuple(skipped), fp16, lossy)


def _other_sizes(sizes: Sequence[SizeEntry], max_loss: float) -> tuple[list[SizeEntry], dict[int, float]]:
    """Return the sizes that cost less than the bundle's own and lose no more; and what the others lose."""
    cheaper = [size for size in sizes if size.sha256 is not None and size.cost < _own_cost(sizes)]
    taken = [size for size in cheaper if size.loss <= max_loss]
    return taken, {size.side: size.loss for size in cheaper if size not in taken}


def _own_cost(sizes: Sequence[SizeEntry]) -> float:
    return next((size.cost for size in sizes if size.sha256 is None), 1.0)


def _fp16_fault(findings: Sequence[Finding]) -> str | None:
    """Return why fp16 is not tried: the CPU lacks it, or a process did not survive it; None if one did."""
    cpu = read_cpu()
    fault = fp16_fault(cpu)
    if fault is not None:
        return fault
    found = FP16.finding(cpu, findings)
    if found is None:
        return "it could not be tried in a process of its own"
    return None if found.ended is None else f"it ended a process of its own by {found.ended}"


def agreement_budget(entry: ArtifactEntry) -> float:
    """Least top-1 agreement, 0 to 1: what the export's gate asked for, by the manifest; else 98 %."""
    budget = entry.parity.get("budget")
    value = budget.get("agreement") if isinstance(budget, dict) else None
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1
    return float(value) if fits and isinstance(value, (int, float)) else DEFAULT_AGREEMENT


def image_parts(images: Images) -> list[Images]:
    """Return the images in parts of at most `GROUP`, each spread evenly over all of them."""
    count = -(-len(images) // GROUP)
    return [
        Images(images.files[i::count], images.labels[i::count], images.seeds[i::count]) for i in range(count)
    ]


def join_images(parts: Sequence[Images]) -> Images:
    """Join images one after the other."""
    return Images(
        tuple(f for p in parts for f in p.files),
        tuple(x for p in parts for x in p.labels),
        tuple(s for p in parts for s in p.seeds),
    )


def most_at_once(seconds: float) -> int:
    """Say how many subjects can take turns so long and still have `MIN_ROUNDS` rounds, on a fast device."""
    return int(seconds / (MIN_ROUNDS * (SETTLE_S + TURNS_S[0])))


def phase_settings(seconds: float, subjects: int, rounds: int, seed: int) -> Settings | None:
    """Settings with which so many subjects take turns for at most about `seconds`, in about `rounds` rounds.

    None where that is too short. The warm-up, and the round that is under way when the time is over, are
    inside `seconds` as far as frames are short against a turn.
    """
    least, most = TURNS_S
    turn = min(most, max(least, seconds / ((rounds + 2) * subjects) - SETTLE_S))
    sustained = seconds - 2 * subjects * (turn + SETTLE_S)  # less the warm-up and the last round
    if sustained < 1.0:  # the least of sustained mode
        return None
    return dataclasses.replace(
        Settings(),
        sustained_secs=sustained,
        turn_secs=turn,
        settle_secs=SETTLE_S,
        warmup_secs=turn,
        cold_starts=0,
        seed=seed,
    )


def _default_entry(bundle: Bundle, entries: Sequence[ArtifactEntry]) -> ArtifactEntry:
    try:
        entry = bundle.artifact("auto")
    except ArtifactNotFoundError:
        return entries[0]
    return entry if entry in entries else entries[0]


def _spec(bundle: Bundle, entry: ArtifactEntry, threads: int, *, spinning: bool) -> Spec:
    return Spec(
        "classifier",
        entry.name,
        entry.precision,
        str(bundle.path),
        artifact=entry.name,
        threads=threads,
        spinning=spinning,
    )
