"""A score as versioned JSON."""

from __future__ import annotations

from collections.abc import Mapping

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.version import __version__
from ecovision_edge_bench.score.match import Decision, ItemScore, MatchOptions, Score, Verdict
from ecovision_edge_bench.score.text import time_figures

__all__ = ["SCHEMA", "SCHEMA_VERSION", "document"]

SCHEMA = "ecovision-edge/score"
SCHEMA_VERSION = 1


def document(
    score: Score, title: str, matching: MatchOptions, made: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    """Return everything that was counted, with each item; `made` says by what the events were made."""
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "ecovision_edge": __version__,
        "title": title,
        "by": dict(made),
        "grace_s": matching.grace,
        "debounce_s": matching.debounce,
        "seconds": score.seconds,
        "items": len(score.items),
        "found": score.found,
        "missed": score.missed,
        "doubled": score.doubled,
        "false": len(score.false),
        "merged": score.merged,
        "verdicts": {verdict.name.lower(): score.count(verdict) for verdict in Verdict},
        "mean_cost": score.mean_cost,
        "seconds_from_arrival": {
            **time_figures([s for one in score.items if (s := one.since_arrival_s) is not None])
        },
        "seconds_from_rest": {
            **time_figures([s for one in score.items if (s := one.since_rest_s) is not None])
        },
        "each_item": [_item(one) for one in score.items],
        "each_false": [{**_event(one.decision), "while": one.during} for one in score.false],
    }


def _item(one: ItemScore) -> dict[str, JsonValue]:
    return {
        **one.item.to_json(),
        "bin": one.bin,
        "verdict": None if one.verdict is None else one.verdict.name.lower(),
        "cost": one.cost,
        "merged": one.merged,
        "events": [_event(event) for event in one.events],
    }


def _event(event: Decision) -> dict[str, JsonValue]:
    return {"at_s": event.at_s, "label": event.label, "bin": event.bin, "reason": event.reason}
