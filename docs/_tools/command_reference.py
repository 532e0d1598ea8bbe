"""The reference of the commands, as Markdown, made from the command line itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from ecovision_edge.cli.app import app

_ORDER = "Examples:"
_HEAD = """# Commands

Made from the command line itself when these pages are built; `ecovision-edge COMMAND --help` says the same.

"""


def write_reference(path: Path) -> None:
    """Write the page, unless it is there already just so."""
    write_if_new(path, _HEAD + "\n".join(_sections()))


def write_if_new(path: Path, text: str) -> None:
    """Write the page, unless it is there already just so: Sphinx builds again what is newer."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def _sections() -> Iterator[str]:
    root: Any = typer.main.get_command(app)
    with root.make_context("ecovision-edge", ["classify"], resilient_parsing=True) as context:
        yield from _section(root, context, "ecovision-edge")
        for name in root.list_commands(context):
            yield from _command(root.get_command(context, name), context, name, "##")


def _command(command: Any, parent: Any, name: str, level: str) -> Iterator[str]:
    with type(parent)(command, info_name=name, parent=parent) as context:
        yield f"{level} {context.command_path.partition(' ')[2]}\n"
        yield from _section(command, context, context.command_path)
        for child in getattr(command, "commands", {}):
            yield from _command(command.commands[child], context, child, level + "#")


def _section(command: Any, context: Any, path: str) -> Iterator[str]:
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"```text\n{path} {usage}\n```\n"
    before, _, examples = (command.help or "").partition(_ORDER)
    yield from (f"{escaped(' '.join(paragraph.split()))}\n" for paragraph in before.strip().split("\n\n"))
    lines = [" ".join(example.split()) for example in examples.strip().split("\n\n") if example.strip()]
    if lines:
        yield "```sh\n" + "\n".join(lines) + "\n```\n"
    rows = [record for param in command.get_params(context) if (record := param.get_help_record(context))]
    if rows:
        yield "| option | meaning |\n|---|---|"
        yield from (
            f"| `{name.replace('|', chr(92) + '|')}` | {escaped(meaning)} |" for name, meaning in rows
        )
        yield ""


def escaped(text: str) -> str:
    """Plain text as Markdown, in a table too; what stands in backquotes stays code."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    parts[::2] = [re.sub(r"([\\|<>*_\[\]{}#])", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)
