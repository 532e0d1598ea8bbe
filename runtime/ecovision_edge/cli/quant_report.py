"""`ecovision-edge quant-report`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecovision_edge.cli.output import check_target, printable, write_json

if TYPE_CHECKING:
    from ecovision_edge.base.fields import JsonValue

    Row = Mapping[str, JsonValue]

__all__ = ["quant_report", "report_lines", "tried_lines"]

_FACTS = (
    "target",
    "serves",
    "format",
    "activations",
    "weights",
    "ranges",
    "equalized",
    "biases_corrected",
    "folded_excitations",
    "clipping_safe",
    "fp32_blocks",
)
_LEAST_NOISE = "exact"


def quant_report(
    bundle: Annotated[
        Path | None, typer.Argument(help="A bundle's folder; default: the embedded reference.")
    ] = None,
    artifact: Annotated[str, typer.Option(help="Which int8 artifact of the bundle.")] = "int8",
    json: Annotated[Path | None, typer.Option(help="Write the recipe here; - is stdout.")] = None,
) -> int:
    """Show how an int8 model was made: what was tried, what was chosen, and each layer's noise.

    The export measured it, and the manifest keeps it; nothing is run.

    Examples:

      ecovision-edge quant-report

      ecovision-edge quant-report build/reference --json -
    """
    from ecovision_edge.bundle.folder import Bundle, embedded_bundle_path
    from ecovision_edge.errors import ArtifactNotFoundError

    if json is not None:
        check_target(json, "--json")
    opened = Bundle.open(bundle or embedded_bundle_path())
    entry = opened.artifact(artifact)
    if entry.precision != "int8":
        raise ArtifactNotFoundError(
            "only int8 artifacts are quantized", expected="an int8 artifact", found=entry.name
        )
    if json is not None:
        write_json({"artifact": entry.name, "recipe": dict(entry.recipe)}, json)
    if str(json) != "-":
        print(printable(f"{opened.manifest.name}, {entry.name}"))
        for line in report_lines(entry.recipe):
            print(printable(line))
    return 0


def report_lines(recipe: Mapping[str, JsonValue]) -> list[str]:
    """Write the report as lines of text. What is missing in the recipe of a manifest is left out."""
    lines = [f"{name.replace('_', ' ')}: {_text(recipe[name])}" for name in _FACTS if name in recipe]
    tried, layers = tried_lines(recipe), _rows(recipe.get("layers"))
    if tried:
        lines += ["", *tried]
    if layers:
        lines += ["", "layers; SQNR of what each makes, with the noise of those before it:"]
        lines += _table(
            layers,
            {
                "layer": lambda row: _text(row.get("layer")),
                "kind": lambda row: _text(row.get("kind")),
                "precision": lambda row: _text(row.get("precision")),
                "range": lambda row: _span(row.get("range")),
                "SQNR dB": lambda row: (
                    _LEAST_NOISE if row.get("sqnr_db", 0) is None else _text(row.get("sqnr_db"))
                ),
                "rows with room": lambda row: _text(row.get("roomy_rows") or ""),
            },
            left=3,
        )
    if not tried and not layers:
        lines.append("no search and no layers are recorded; export it again to have them")
    return lines


def tried_lines(recipe: Mapping[str, JsonValue]) -> list[str]:
    """Return what the search tried, what was chosen and why; empty where no search is recorded."""
    tried = _rows(recipe.get("tried"))
    if not tried:
        return []
    table = _table(
        tried,
        {
            "stage": lambda row: _text(row.get("stage")),
            "what": lambda row: _text(row.get("what")),
            "SQNR dB": lambda row: _text(row.get("sqnr_db")),
            "agreement": lambda row: _percent(row.get("agreement")),
            "expected": lambda row: _percent(row.get("expected_agreement")),
            "cost": lambda row: _text(row.get("modelled_cost")),
        },
        left=2,
    )
    why = f": {_text(recipe['chosen_because'])}" if "chosen_because" in recipe else ""
    return [
        "tried, on photographs that set no range; the cost is modelled, as a share of fp32's:",
        *table,
        f"chosen: blocks {_text(recipe.get('fp32_blocks'))} in fp32{why}",
    ]


def _rows(value: JsonValue) -> list[dict[str, JsonValue]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _text(value: JsonValue) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


def _percent(value: JsonValue) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        return "-"
    return f"{100 * value:.2f} %"


def _span(value: JsonValue) -> str:
    if not isinstance(value, list) or len(value) != 2:
        return ""
    return f"{value[0]} to {value[1]}"


def _table(rows: Sequence[Row], columns: Mapping[str, Callable[[Row], str]], left: int) -> list[str]:
    """Write a head and one line per row: the first `left` columns flush left, the others flush right."""
    cells = [[*columns], *([show(row) for show in columns.values()] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
