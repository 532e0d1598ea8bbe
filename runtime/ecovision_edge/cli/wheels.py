"""`ecovision-edge wheels`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["wheels"]


def wheels(
    board: Annotated[str, typer.Option(help="pi5, pi4, pi3, orin or x86.")],
    out: Annotated[Path, typer.Option(help="A new folder, to be copied to the board.")],
    extra: Annotated[
        list[str] | None, typer.Option(help="Of this project, such as web or mqtt; may be given again.")
    ] = None,
    python: Annotated[
        str | None, typer.Option(help="Version of the board's Python; default: of its usual system.")
    ] = None,
    wheel: Annotated[
        Path | None, typer.Option(help="This project's wheel; default: built from where this one came from.")
    ] = None,
) -> int:
    """Collect all wheels that a board needs, so that it installs without a network.

    pip chooses and fetches them as on the board, from the index that it is set up for. The last line printed
    is the board's command: run it there, beside the copied folder.

    Examples:

      ecovision-edge wheels --board pi5 --out build/wheels --extra web --extra mqtt

      ecovision-edge wheels --board pi4 --python 3.11 --out build/wheels
    """
    from ecovision_edge.wheels.boards import Board
    from ecovision_edge.wheels.collecting import collect_wheels

    found = Board.named(board)
    target = found.target(python)
    collected = collect_wheels(target, out, extra or (), wheel)
    print(
        f"{len(collected.wheels)} wheels, {collected.size / 1e6:.0f} MB, in {out} for a {found.title} with "
        f"Python {target.python} ({target.system})"
    )
    print(f"on the board, beside the folder:\n{collected.install_line()}")
    return 0
