"""What a quantization-aware training leaves in the checkpoint's metadata, for an export to find.

The ranges are those that the weights were trained for; any others would be worse. They are of one network
input: where an export wants another, they do not fit, and it measures its own.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from ecovision_edge.base.fields import JsonValue, parse_json
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.errors import CheckpointError, ContractError
from ecovision_edge_export.int8.table import CalibrationTable

__all__ = ["METADATA_KEY", "TrainedRanges"]

METADATA_KEY = "quantization"
"""Of a safetensors file; `Checkpoint.quantization` is its text."""

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class TrainedRanges:
    """Ranges and recipe of a quantization-aware training.

    Args:
        table: Ranges, channels' scales, rows with room, and the recipe; its evidence is `trained`.
        input: What they are of: see `describe_input`.
    """

    table: CalibrationTable
    input: dict[str, JsonValue]

    @classmethod
    def of(cls, table: CalibrationTable, contract: Contract) -> TrainedRanges:
        """Take the ranges of a table that was trained with, for the contract's network input."""
        table = dataclasses.replace(table, evidence="trained", tried=(), means={})
        return cls(table, describe_input(contract))

    def misfit(self, contract: Contract) -> str | None:
        """Say why they do not fit the contract's network input; None where they do."""
        wanted = describe_input(contract)
        differ = [
            f"{key} {wanted[key]}, not {self.input.get(key)}"
            for key in wanted
            if wanted[key] != self.input.get(key)
        ]
        return "; ".join(differ) or None

    def dumps(self) -> str:
        """Return JSON on one line."""
        table: JsonValue = json.loads(self.table.dumps())
        return json.dumps({"schema": SCHEMA, "input": self.input, "table": table}, separators=(",", ":"))

    @classmethod
    def loads(cls, text: str, where: str) -> TrainedRanges:
        """Read what `dumps` wrote.

        Raises:
            CheckpointError: malformed, or of a newer version.
        """
        try:
            f = parse_json(text.encode(), where)
            f.integer("schema", SCHEMA, SCHEMA)
            table = CalibrationTable.loads(json.dumps(f.value("table")).encode(), where)
            of = f.sub("input")
            found: dict[str, JsonValue] = {
                "size": [*of.numbers("size", 2, 1, 10_000)],
                "layout": of.text("layout"),
                "color": of.text("color"),
                "mean": [*of.numbers("mean", 3, -1e6, 1e6)],
                "std": [*of.numbers("std", 3, 1e-6, 1e6)],
            }
            of.done()
            f.done()
        except ContractError as e:
            raise CheckpointError(str(e)) from e
        return cls(dataclasses.replace(table, evidence="trained"), found)


def describe_input(contract: Contract) -> dict[str, JsonValue]:
    """Return what ranges depend on: how large the network input is, and how it is normalized."""
    spec, normalization = contract.input, contract.normalization
    return {
        "size": [float(spec.height), float(spec.width)],
        "layout": f"{spec.layout} {spec.dtype}",
        "color": spec.color,
        "mean": [float(v) for v in normalization.mean],
        "std": [float(v) for v in normalization.std],
    }
