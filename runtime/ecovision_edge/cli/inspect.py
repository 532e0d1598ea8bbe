"""`ecovision-edge inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ecovision_edge.base.files import is_folder
from ecovision_edge.cli.output import printable, write_json

if TYPE_CHECKING:
    from ecovision_edge.base.fields import JsonValue

__all__ = ["inspect"]


def inspect(
    path: Annotated[
        Path | None, typer.Argument(help="A bundle, an .onnx or a .tflite file; default: the reference.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write everything here; - is stdout.")] = None,
) -> int:
    """Show what a bundle or a model file says of itself: contract, artifacts, parity, provenance.

    Examples:

      ecovision-edge inspect

      ecovision-edge inspect build/reference/model.int8.onnx --json -
    """
    from ecovision_edge.bundle.folder import Bundle, embedded_bundle_path
    from ecovision_edge.classifier import Classifier

    target = path or embedded_bundle_path()
    if is_folder(target):
        bundle = Bundle.open(target)
        manifest = bundle.manifest
        value = cast(
            "dict[str, JsonValue]",
            {
                **bundle.identity.to_json(),
                "contract": manifest.contract.to_json(),
                "artifacts": {a.name: a.to_json() for a in manifest.artifacts},
                "default_here": bundle.artifact().name,
                **({"sizes": {str(s.side): s.to_json() for s in manifest.sizes}} if manifest.sizes else {}),
                "provenance": dict(manifest.provenance),
            },
        )
    else:
        classifier = Classifier.load(target)
        value = {
            "name": target.name,
            "contract": classifier.contract.to_json(),
            "engine": classifier.backend.engine,
        }
    if json is not None:
        write_json(value, json)
    if str(json) != "-":
        for line in _lines(value, ""):
            print(printable(line))
    return 0


def _lines(value: JsonValue, indent: str) -> list[str]:
    """Write nested values as indented lines, lists of plain values on one."""
    assert isinstance(value, dict)
    lines = []
    for key, item in value.items():
        if isinstance(item, dict):
            lines += [f"{indent}{key}", *_lines(item, f"{indent}  ")]
        elif isinstance(item, list) and any(isinstance(one, dict) for one in item):
            lines.append(f"{indent}{key}: {len(item)} rows (--json FILE has them)")
        elif isinstance(item, list):
            lines.append(f"{indent}{key}: {', '.join(map(str, item))}")
        else:
            lines.append(f"{indent}{key}: {'-' if item is None else item}")
    return lines
