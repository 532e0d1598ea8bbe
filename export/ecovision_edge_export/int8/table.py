"""The table of ranges that an int8 model is made by: read, written, and the graph prepared as it says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ecovision_edge.base.fields import Fields, JsonValue, parse_json
from ecovision_edge.errors import ContractError
from ecovision_edge_export.graph.graphs import Graph
from ecovision_edge_export.int8.recipe import Recipe
from ecovision_edge_export.rewrites.equalization import equalize
from ecovision_edge_export.rewrites.excitation import fold_excitations

__all__ = ["REFERENCE_CALIBRATION", "CalibrationTable", "Evidence", "Range", "prepare"]

REFERENCE_CALIBRATION = Path(__file__).parents[1] / "models" / "reference.calibration.json"
"""Ranges recorded with the reference weights, so that they can be exported where there are no photographs."""

MAX_CHANNELS = 10_000  # of a tensor, in a recorded table

Evidence = Literal["photographs", "generated", "recorded", "trained"]
Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class CalibrationTable:
    """Range `(low, high)` of each float tensor of the prepared graph (see `prepare`), by name.

    `images` is how many it was measured on, `digest` the sha256 over their names and contents, `recipe` how
    the ranges were found and what else the search chose, `tried` the search's rows as the manifest has them,
    `scales` those of the channels (see `equalization`), `silent` the excitations that are constant (see
    `excitation`), `means` of the channels of each tensor, where biases are to be corrected (see `bias`),
    `room` how many times as large as need be the scale of each row of some weights is (see `headroom`).
    """

    ranges: Mapping[str, Range]
    images: int
    digest: str
    evidence: Evidence
    recipe: Recipe = field(default_factory=Recipe)
    tried: tuple[JsonValue, ...] = ()
    scales: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    silent: tuple[str, ...] = ()
    means: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    room: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def trained(self) -> bool:
        """Whether the weights were trained for these ranges."""
        return self.evidence == "trained"

    @property
    def method(self) -> str:
        """How the ranges were found, in a word."""
        return "trained" if self.trained else self.recipe.ranges

    def dumps(self) -> bytes:
        """Return JSON, the same bytes for the same table."""
        ranges: dict[str, JsonValue] = {k: [lo, hi] for k, (lo, hi) in sorted(self.ranges.items())}
        return _compact(
            {
                "images": self.images,
                "digest": self.digest,
                "recipe": self.recipe.to_json(),
                "tried": [*self.tried],
                "ranges": ranges,
                "scales": {k: [*v] for k, v in sorted(self.scales.items())},
                "silent": [*self.silent],
                "means": {k: [*v] for k, v in sorted(self.means.items())},
                "room": {k: [*v] for k, v in sorted(self.room.items())},
            }
        )

    @classmethod
    def loads(cls, data: bytes, where: str) -> CalibrationTable:
        """Read what `dumps` wrote.

        Raises:
            ContractError: malformed.
        """
        f = parse_json(data, where)
        ranges = f.sub("ranges")
        table = cls(
            ranges={k: _pair(ranges.numbers(k, 2, -1e30, 1e30)) for k in f.free("ranges")},
            images=f.integer("images", 1, 10**9),
            digest=f.text("digest", pattern="[0-9a-f]{64}", what="64 hexadecimal digits"),
            evidence="recorded",
            recipe=Recipe.from_fields(f.sub("recipe")),
            tried=tuple(f.items("tried", most=1000)),
            scales=_vectors(f, "scales", 1e-6, 1e6),
            silent=tuple(str(name) for name in f.items("silent", most=1000)),
            means=_vectors(f, "means", -1e30, 1e30),
            room=_vectors(f, "room", 1, 2),
        )
        f.done()
        return table


def prepare(g: Graph, table: CalibrationTable) -> None:
    """Make an fp32 graph the one that the table's ranges are of: excitations folded, channels equalized.

    Raises:
        ContractError: the table is of another graph.
    """
    try:
        fold_excitations(g, table.silent)
        equalize(g, table.scales)
    except (KeyError, ValueError) as e:
        raise ContractError(
            "calibration table",
            expected="that of this graph",
            found=str(e),
            fix="give --calib photographs, so that it is measured again",
        ) from e


def _compact(value: dict[str, JsonValue]) -> bytes:
    """JSON with a line for each key of the first two levels: thousands of numbers are no text to read."""
    lines = []
    for key, item in value.items():
        if isinstance(item, dict):
            inner = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in item.items())
            lines.append(f"{json.dumps(key)}: {{\n{inner}\n }}")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(item)}")
    return ("{\n " + ",\n ".join(lines) + "\n}\n").encode()


def _vectors(f: Fields, key: str, low: float, high: float) -> dict[str, tuple[float, ...]]:
    values = f.sub(key)
    return {
        name: values.numbers(name, len(values.items(name, most=MAX_CHANNELS)), low, high)
        for name in f.free(key)
    }


def _pair(values: tuple[float, ...]) -> tuple[float, float]:
    low, high = values
    return low, high
