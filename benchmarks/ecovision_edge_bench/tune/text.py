"""What `tune` prints: the table, the choice, and what would change its mind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ecovision_edge.base.device import read_machine
from ecovision_edge_bench.tune.choice import Candidate
from ecovision_edge_bench.tune.result import Request, Tuned

__all__ = ["align", "headline", "minds", "table_rows", "verdict_lines"]


def headline(request: Request, tuned: Tuned) -> str:
    """Return what was measured on what, one line."""
    m = read_machine()
    where = f"{m.board}, {m.cpu.model}" if m.board else m.cpu.model
    reference = f"agreement with {tuned.reference} on {tuned.images} {request.images.evidence}"
    return (
        f"{request.bundle.manifest.name} on {where} ({m.cpu.arch}, {m.usable_cores} cores), "
        f"frames {request.source.width}x{request.source.height}, "
        f"{'no artifact answers as it should' if tuned.reference is None else reference}, "
        f"{tuned.seconds:.0f} s of {request.budget_s:g}"
    )


def table_rows(tuned: Tuned) -> list[list[str]]:
    """Tabulate a head, then one row per configuration."""
    base = "base" if tuned.base is None else tuned.base.key
    rows = [["", "median", f"/ {base} [95 %]", "agreement", ""]]
    for c in tuned.candidates:
        median, a = c.median_ms, c.agreement
        ratio = "1" if c is tuned.base and c.kept else "-" if c.ratio is None else str(c.ratio)
        rows.append(
            [
                c.key,
                "-" if median is None else f"{median:.2f} ms",
                ratio,
                "-" if a is None or not a.judged else f"{a.agreed} of {a.judged}",
                _word(c, tuned),
            ]
        )
    return rows


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns side by side: the first and the last to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    last = len(widths) - 1
    return [
        "  ".join(
            cell.ljust(width) if i in {0, last} else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def verdict_lines(tuned: Tuned, saved: Path | None, *, dry: bool) -> list[str]:
    """Return what is taken, why, and where it was written."""
    choice = tuned.choice
    if choice.candidate is None:
        return [f"nothing chosen: {choice.why}"]
    if not choice.decided:
        return [f"undecided: {choice.why}; no profile saved: {choice.fix}"]
    lines = [f"choice: {choice.candidate.key} ({choice.why})"]
    if saved is not None:
        lines.append(f"saved: {saved}")
    elif dry:
        lines.append("nothing saved: --dry-run")
    return lines


def minds(request: Request, tuned: Tuned) -> list[str]:
    """Return what would change the choice, one line each."""
    lines = [
        "the profile no longer holds with another CPU or board, number of cores, bundle, or version of "
        "ecovision-edge, onnxruntime, ai-edge-litert, OpenCV or numpy: then it is ignored, and says so"
    ]
    lines += [
        f"{name} is left out, its engine cannot run here; {line}" for name, line in request.plan.skipped
    ]
    if request.plan.fp16 is not None:
        lines.append(f"fp16 was not tried: {request.plan.fp16}")
    lines += [
        f"size {size} is not tried: it loses {loss:.1f} points, more than --max-loss"
        for size, loss in request.plan.lossy.items()
    ]
    late = [c.key for c in tuned.candidates if c.out_of_time]
    if late:
        lines.append(f"no time was left for {', '.join(late)}: give more than --budget {request.budget_s:g}s")
    if request.images.evidence != "photographs":
        lines.append(
            "agreement is measured on synthetic frames, weak evidence: give photographs with --images"
        )
    lines += [f"the figures are in doubt: {reason}" for reason in tuned.doubts]
    if tuned.unread is not None:
        lines.append(tuned.unread)
    return lines


def _word(candidate: Candidate, tuned: Tuned) -> str:
    if candidate.fault is not None:
        return candidate.fault if candidate.out_of_time else f"out: {candidate.fault}"
    words = ["chosen"] if tuned.choice.decided and candidate is tuned.choice.candidate else ["kept"]
    if candidate is tuned.base:
        words.append("the base")
    elif candidate.final:
        words.append("in the final")
    if (
        candidate.agreement is not None
        and candidate.spec.artifact == tuned.reference
        and not candidate.spec.fp16
    ):
        words.append("agreement is with itself")
    return ", ".join(words) if candidate.kept else "not measured"
