"""A comparison as JSON, versioned."""

from __future__ import annotations

from collections.abc import Sequence

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.names import printable
from ecovision_edge.base.version import __version__
from ecovision_edge.comparison.answers import FrameComparison
from ecovision_edge.comparison.latency import Latency
from ecovision_edge.comparison.outcomes import Counts, Failure, LabelledComparison
from ecovision_edge.comparison.report import ComparisonReport, Side

__all__ = ["SCHEMA", "SCHEMA_VERSION", "document"]

SCHEMA = "ecovision-edge/compare"
SCHEMA_VERSION = 1


def document(report: ComparisonReport) -> dict[str, JsonValue]:
    """Return all of it; shares are 0 to 1, times milliseconds, intervals low and high at 95 %.

    Names of files are printable: what is not is escaped, as on a terminal.
    """
    verdict = report.verdict
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "ecovision_edge": __version__,
        "old": _side(report.old),
        "new": _side(report.new),
        "labels": {
            "same": report.labels.same,
            "reordered": report.labels.reordered,
            "removed": [*report.labels.removed],
            "added": [*report.labels.added],
            "case_changed": [[old, new] for old, new in report.labels.renamed],
        },
        "contract": [
            {"field": d.field, "label": d.label, "old": d.old, "new": d.new} for d in report.contract
        ],
        "photographs": None if report.labelled is None else _labelled(report.labelled),
        "frames": None if report.frames is None else _frames(report.frames),
        "latency": None if report.latency is None else _latency(report.latency),
        "max_worse": report.margin,
        "ok": None if verdict is None else verdict.ok,
        "reason": None if verdict is None else verdict.reason,
    }


def _side(side: Side) -> JsonValue:
    return {
        "bundle": None if side.identity is None else side.identity.to_json(),
        "artifact": printable(side.artifact),
        "engine": side.engine,
        "threads": side.threads,
        "bytes": side.bytes,
    }


def _labelled(labelled: LabelledComparison) -> JsonValue:
    changed = [outcome for outcome in labelled.outcomes if outcome.old != outcome.new]
    return {
        "total": _counts(labelled.total),
        "added": _counts(labelled.added),
        "old_decided": {"count": labelled.old_decided.count, "wrong": labelled.old_decided.wrong},
        "new_decided": {"count": labelled.new_decided.count, "wrong": labelled.new_decided.wrong},
        "classes": {name: _counts(counts) for name, counts in labelled.classes.items()},
        "failures": _failures(labelled.failures),
        "changed": [
            {"name": printable(o.name), "truth": o.truth, "old": o.old, "new": o.new} for o in changed
        ],
    }


def _counts(counts: Counts) -> JsonValue:
    return {
        "photographs": counts.photographs,
        "old_right": counts.old_right,
        "old_wilson_95": [*counts.old_interval],
        "new_right": counts.new_right,
        "new_wilson_95": [*counts.new_interval],
        "right_now_wrong": counts.worse,
        "wrong_now_right": counts.better,
        "drop": counts.drop,
        "drop_tango_95": [*counts.drop_interval],
        "mcnemar_p": counts.p,
        "mcnemar_p_worse": counts.p_worse,
    }


def _frames(frames: FrameComparison) -> JsonValue:
    return {
        "compared": frames.compared,
        "agreed": frames.agreed,
        "agreement_wilson_95": [*frames.interval],
        "skipped": frames.skipped,
        "failures": _failures(frames.failures),
        "disagreements": [
            {
                "name": printable(d.path.name),
                "old": d.old,
                "old_score": d.old_score,
                "new": d.new,
                "new_score": d.new_score,
                "box": None if d.region is None else d.region.to_json(),
            }
            for d in frames.disagreements
        ],
    }


def _latency(latency: Latency) -> JsonValue:
    return {
        "rounds": latency.rounds,
        "old_ms": latency.old_ms,
        "new_ms": latency.new_ms,
        "ratio": latency.ratio,
        "ratio_95": [latency.low, latency.high],
    }


def _failures(failures: Sequence[Failure]) -> list[JsonValue]:
    return [{"name": printable(f.name), "reason": printable(f.reason)} for f in failures]
