"""What is known of weights beside what was measured: licence, what they were made from, training, limits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ecovision_edge.base.fields import JsonValue, canonical_json
from ecovision_edge.base.markdown import plain
from ecovision_edge.bundle.contract import WeightsSource
from ecovision_edge_export.card.training import training_lines
from ecovision_edge_export.card.turned import Turns

__all__ = ["Facts", "known_facts"]

MOST_RECORD_BYTES = 2**20  # a manifest has 4 MiB for everything
_DOCUMENTED = Path(__file__).parents[1] / "models" / "reference.facts.json"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the weights; what is not known is None or empty, and never guessed.

    Args:
        license: As the hub abbreviates it, `mit`.
        base_model: A repository of the hub that the weights are, or were trained from.
        base_relation: What was made of it, in the hub's words.
        tags: More words to find the model by.
        training: Data and recipe, lines of Markdown.
        limits: Sentences, Markdown, one each.
        record: Of the training, as the checkpoint has it, for the manifest.
        turns: Whether it was for things in any orientation, or upright ones.
    """

    license: str | None = None
    base_model: str | None = None
    base_relation: str | None = None
    tags: tuple[str, ...] = ()
    training: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    record: Mapping[str, JsonValue] | None = None
    turns: Turns | None = None


def known_facts(source: WeightsSource, training: Mapping[str, JsonValue] | None = None) -> Facts:
    """Say what this package documents of these weights, what their file says, and where they came from.

    Args:
        source: Of the contract. The documented weights are known by their sha256, whatever they are called.
        training: What `ecovision-edge train` wrote into the checkpoint.
    """
    documented = json.loads(_DOCUMENTED.read_text("utf-8"))
    if source.sha256 in documented["sha256"]:
        return Facts(
            license=documented["license"],
            tags=tuple(documented["tags"]),
            training=tuple(f"- {item}" for item in documented["training"]),
            limits=tuple(documented["limits"]),
            turns=_turns(documented),
        )
    base = _repository(source.source)
    if training:
        init = training.get("init")
        origin = init.get("source") if isinstance(init, dict) else init
        begun = _repository(origin) if isinstance(origin, str) else None
        return Facts(
            base_model=base or begun,
            base_relation="finetune" if begun and not base else None,
            training=tuple(training_lines(training)),
            record=training if len(canonical_json({**training})) <= MOST_RECORD_BYTES else None,
            turns=_turns(training),
        )
    if base is not None:
        at = f" at {plain(source.revision)}" if source.revision else ""
        return Facts(
            base_model=base,
            training=(f"Not known here. The weights are from `{base}` on the hub{at}, which may say.",),
        )
    return Facts()


def _turns(facts: Mapping[str, JsonValue]) -> Turns | None:
    """Return what they say of orientation; None for nothing, and for anything else."""
    value = facts.get("turns")
    return "any" if value == "any" else "upright" if value == "upright" else None


def _repository(address: str) -> str | None:
    """OWNER/NAME of an address that `hub.parse` takes."""
    from ecovision_edge.errors import CheckpointError
    from ecovision_edge_export.weights import hub

    try:
        return hub.parse(address).repo
    except CheckpointError:
        return None
