"""Rules: which bin takes what, and what it costs to be wrong; from a TOML or JSON file."""

from __future__ import annotations

from ecovision_edge.rules.sorting import RULES_SCHEMA_VERSION, Rules, RulesKind

__all__ = ["RULES_SCHEMA_VERSION", "Rules", "RulesKind"]
