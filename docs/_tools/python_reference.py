"""The reference of the Python API, as Markdown, made from signatures and docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from command_reference import escaped, write_if_new

PUBLIC = {
    "": "Classifier, bundle, contract",
    ".camera": "Frames from a camera",
    ".loop": "Camera and classifier together",
    ".smart_bin": "A whole bin",
    ".decision": "The decision",
    ".rules": "Rules",
    ".events": "Events and states",
    ".sinks": "Sinks",
    ".triggers": "Triggers",
    ".recording": "Recordings",
    ".web": "The live page",
    ".calibration": "Calibration",
    ".errors": "Errors",
}
"""The modules for users of the runtime, and their headings."""

_SECTION = re.compile(r"(Args|Returns|Raises|Yields|Attributes|Example|Examples):\n")
_ENTRY = re.compile(r"(\*{0,2}\w[\w.,* ]*?)(?: \([^)]*\))?: (.*)", re.DOTALL)
_HEAD = """# Python API

Made from the docstrings when these pages are built. Start with [examples](python.md).

"""


def write_reference(path: Path) -> None:
    """Write the page, unless it is there already just so."""
    write_if_new(path, _HEAD + "\n".join(_pages()))


def _pages() -> Iterator[str]:
    seen: set[int] = set()
    for suffix, title in PUBLIC.items():
        module = import_module(f"ecovision_edge{suffix}")
        yield f"## {title}: `{module.__name__}`\n"
        yield from _docstring(module)
        for name in module.__all__:
            value = getattr(module, name)
            if callable(value) and inspect.getdoc(value) and id(value) not in seen:
                seen.add(id(value))
                if suffix != ".errors":  # whose tree is in the module's docstring
                    yield from _name(name, value)


def _name(name: str, value: object) -> Iterator[str]:
    yield f"### `{name}`\n"
    if inspect.isclass(value) or inspect.isfunction(value):
        yield from _signature(name, value)
    yield from _docstring(value)
    members = vars(value) if inspect.isclass(value) else {}
    shown = {name: member for name, member in members.items() if name[0] != "_" and _documented(member)}
    if shown:
        yield "**Methods and properties**\n"
    for key, member in shown.items():
        inner = _inner(member)
        text = key if isinstance(inner, property) else f"{key}{_arguments(inner)}"
        first = (inspect.getdoc(inner) or "").split("\n\n")[0]
        yield f"- `{text}`: {escaped(first)}"
    if shown:
        yield ""


def _inner(member: object) -> object:
    return member.__func__ if isinstance(member, (classmethod, staticmethod)) else member


def _documented(member: object) -> bool:
    inner = _inner(member)
    return (inspect.isfunction(inner) or isinstance(inner, property)) and bool(inspect.getdoc(inner))


def _signature(name: str, value: object) -> Iterator[str]:
    text = f"{name}{_arguments(value)}"
    if text.endswith("(*args, **kwargs)"):  # a Protocol, which nobody makes
        return
    yield f"```text\n{text if len(text) <= 100 else name + _arguments(value, broken=True)}\n```\n"


class _Words:
    """An annotation as the source has it, without quotes."""

    def __init__(self, text: object) -> None:
        self._text = str(text)

    def __repr__(self) -> str:
        return self._text


def _arguments(value: object, *, broken: bool = False) -> str:
    """`(a: int, *, b: str = "c") -> bool`, with a line for each argument if it is to be broken."""
    assert callable(value)
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return "(...)"
    parts: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not any(part.startswith("*") for part in parts):
            parts.append("*")
        annotation = parameter.annotation
        bare = annotation is parameter.empty
        parts.append(str(parameter if bare else parameter.replace(annotation=_Words(annotation))))
    result = signature.return_annotation
    after = "" if result in (signature.empty, None, "None") else f" -> {result}"
    inside = ",\n    ".join(parts) if broken else ", ".join(parts)
    return f"(\n    {inside}\n){after}" if broken else f"({inside}){after}"


def _docstring(value: object) -> Iterator[str]:
    for paragraph in re.split(r"\n\n+", inspect.getdoc(value) or ""):
        section = _SECTION.match(paragraph)
        if section is not None:
            yield f"**{section[1]}**\n"
            yield from _entries(inspect.cleandoc(paragraph[section.end() :]))
        elif paragraph.startswith("    ") or "====" in paragraph:
            yield f"```{'pycon' if '>>>' in paragraph else 'text'}\n{inspect.cleandoc(paragraph)}\n```\n"
        elif paragraph.startswith(("- ", "1. ")):
            yield "\n".join(map(_list_line, paragraph.split("\n"))) + "\n"
        elif paragraph:
            yield f"{escaped(re.sub('::$', ':', paragraph))}\n"


def _list_line(line: str) -> str:
    mark = re.sub(r"^(\s*(?:- |\d\. )?).*", r"\1", line)
    return mark + escaped(line.removeprefix(mark))


def _entries(text: str) -> Iterator[str]:
    """The entries of a section, each of which may go on in indented lines."""
    for entry in re.split(r"\n(?=\*{0,2}\w[\w.,* ]*(?: \([^)]*\))?: )", text):
        found = _ENTRY.fullmatch(entry)
        yield f"- `{found[1]}`: {escaped(found[2])}" if found else f"- {escaped(entry)}"
    yield ""
