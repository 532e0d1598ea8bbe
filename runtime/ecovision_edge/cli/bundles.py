"""`ecovision-edge bundles`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecovision_edge.cli.options import StoreFolder
from ecovision_edge.cli.output import printable, write_json

if TYPE_CHECKING:
    from ecovision_edge.base.fields import JsonValue
    from ecovision_edge.updates.store import BundleStore, Entry

__all__ = ["activate", "bundles", "list_bundles", "pin", "prune", "rollback", "unpin"]

bundles = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@bundles.callback()
def _bundles() -> None:
    """List the bundles that `ecovision-edge update` has brought; activate one, or go back.

    Examples:

      ecovision-edge bundles list

      ecovision-edge bundles rollback --reason 'calls all glass metal'

      ecovision-edge bundles pin 1a2b3c
    """


_Which = Annotated[str, typer.Argument(help="A bundle's id, or its first digits, four at least.")]


@bundles.command("list")
def list_bundles(
    store: StoreFolder = None,
    json: Annotated[Path | None, typer.Option(help="Write everything here; - is stdout.")] = None,
) -> int:
    """Show which bundles are here, which one runs, and what was refused and why.

    Examples:

      ecovision-edge bundles list

      ecovision-edge bundles list --json -
    """
    opened = _open(store)
    entries, state = opened.entries(), opened.state()
    if json is not None:
        last = None if state.checked is None else state.checked.to_json()
        rows: list[JsonValue] = [_json(entry) for entry in entries]
        write_json({"current": opened.current(), "checked": last, "bundles": rows}, json)
    if str(json) != "-":
        for entry in entries:
            print(printable(_line(entry)))
        if opened.current() is None:
            print("the bundle of the installation runs")
        if state.checked is not None:
            print(printable(f"last check: {state.checked.to_json()['at']}, {state.checked.outcome}"))
    return 0


@bundles.command()
def activate(
    bundle: _Which,
    store: StoreFolder = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Even if it was refused, which is forgotten.")
    ] = False,
) -> int:
    """Make a bundle that is here the one to run.

    Examples:

      ecovision-edge bundles activate 1a2b3c
    """
    opened = _open(store)
    opened.activate(opened.find(bundle), anyway=anyway)
    return _tell_current(opened)


@bundles.command()
def rollback(
    store: StoreFolder = None,
    reason: Annotated[str, typer.Option(help="Why: it is kept beside the refused bundle.")] = "by hand",
) -> int:
    """Go back to the bundle before, and do not take the current one again.

    Examples:

      ecovision-edge bundles rollback --reason 'calls all glass metal'
    """
    opened = _open(store)
    opened.rollback(reason)
    return _tell_current(opened)


@bundles.command()
def pin(bundle: _Which, store: StoreFolder = None) -> int:
    """Make a bundle the one to run, and keep it so whatever is released.

    Examples:

      ecovision-edge bundles pin 1a2b3c
    """
    opened = _open(store)
    opened.pin(opened.find(bundle))
    return _tell_current(opened)


@bundles.command()
def unpin(store: StoreFolder = None) -> int:
    """Let releases decide again.

    Examples:

      ecovision-edge bundles unpin
    """
    opened = _open(store)
    opened.unpin()
    return _tell_current(opened)


@bundles.command()
def prune(
    store: StoreFolder = None,
    keep: Annotated[int, typer.Option(min=0, help="How many of those that were active last stay.")] = 2,
) -> int:
    """Remove bundles; the current one, the one before and a pinned one stay in any case.

    Examples:

      ecovision-edge bundles prune --keep 3
    """
    gone = _open(store).prune(keep)
    print(f"removed {len(gone)}" + "".join(f"\n{bundle}" for bundle in gone))
    return 0


def _open(store: Path | None) -> BundleStore:
    from ecovision_edge.updates.store import BundleStore, default_store

    return BundleStore(store or default_store())


def _tell_current(store: BundleStore) -> int:
    current = next((entry for entry in store.entries() if entry.current), None)
    print("the bundle of the installation runs" if current is None else printable(_line(current)))
    return 0


def _line(entry: Entry) -> str:
    from ecovision_edge.updates.state import as_date

    marks = [
        mark
        for mark, holds in (
            ("current", entry.current),
            ("the one before", entry.previous),
            ("pinned", entry.pinned),
            (
                f"on probation until {as_date(entry.probation or 0)} at the earliest",
                entry.probation is not None,
            ),
            ("not here", entry.path is None),
            (f"refused: {entry.refused}", entry.refused is not None),
        )
        if holds
    ]
    size = f"{entry.bytes / 1e6:.1f} MB" if entry.path is not None else "-"
    named = f"{entry.name or '?'} {entry.version}".rstrip()
    mark = "*" if entry.current else " "
    return f"{mark} {entry.bundle[:12]}  {named}  {size}  {', '.join(marks)}".rstrip()


def _json(entry: Entry) -> dict[str, JsonValue]:
    from ecovision_edge.updates.state import as_date

    return {
        "bundle": entry.bundle,
        "name": entry.name or None,
        "version": entry.version or None,
        "path": None if entry.path is None else str(entry.path),
        "bytes": entry.bytes,
        "current": entry.current,
        "previous": entry.previous,
        "pinned": entry.pinned,
        "probation": None if entry.probation is None else as_date(entry.probation),
        "refused": entry.refused,
    }
