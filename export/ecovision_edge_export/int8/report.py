"""What an int8 artifact says of how it was made: a line on the terminal, and its part of the manifest."""

from __future__ import annotations

from collections.abc import Sequence

from ecovision_edge.base.fields import JsonValue
from ecovision_edge_export.int8.costs import MODEL_ERROR
from ecovision_edge_export.int8.sharing import Shared
from ecovision_edge_export.int8.table import CalibrationTable

__all__ = ["describe", "noun_of", "recipe_json"]


def describe(table: CalibrationTable, shared: Shared) -> str:
    """Return the recipe in a line."""
    recipe = table.recipe
    roomy = sum(r > 1 for rows in table.room.values() for r in rows)
    return (
        f"QDQ {'s8s8' if recipe.signed else 'u8s8'} {shared}, ranges {table.method}, blocks "
        f"{recipe.fp32_text} in fp32, {roomy} rows of weights with room"
    )


def recipe_json(table: CalibrationTable, shared: Shared, layers: Sequence[JsonValue]) -> dict[str, JsonValue]:
    """Return what the manifest says of the artifact: recipe, the search's rows, the report of the layers."""
    recipe = table.recipe
    return {
        "format": "QDQ",
        **shared.to_json(),
        "activations": f"{'int8' if recipe.signed else 'uint8'} per tensor",
        "weights": "int8 per channel" if recipe.per_channel else "int8 per tensor",
        "ranges": table.method,
        "equalized": len(table.scales),
        "folded_excitations": [*table.silent],
        "biases_corrected": recipe.bias_corrected,
        "clipping_safe": recipe.headroom or recipe.signed,
        "fp32_blocks": recipe.fp32_text,
        "chosen_because": _why(table),
        "tried": [*table.tried],
        "layers": [*layers],
    }


def noun_of(evidence: str) -> str:
    """Return what was seen, in words."""
    return "photographs" if evidence == "photographs" else "synthetic frames"


def _why(table: CalibrationTable) -> str:
    if table.trained and not table.tried:
        return (
            "by the ranges of a quantization-aware training, the cheapest as modelled that the parity gate "
            "let through"
        )
    if table.tried:
        return (
            "the cheapest within the agreement asked for; of those whose cost is the same, within "
            f"{100 * MODEL_ERROR:g} %, the best SQNR; and the parity gate let it through"
        )
    if table.evidence == "recorded":
        return "recorded with the reference"
    return (
        "no search: too few photographs to search by, or --fp32-blocks; of the recipes for that, the first "
        "that the parity gate let through"
    )
