"""Options of a command as one object: a frozen dataclass, whose fields the command line shows one by one."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from ecovision_edge.decision.settings import Setting, settings_of
from ecovision_edge.errors import OptionError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["takes_options"]

_Group = TypeVar("_Group", bound="DataclassInstance")


def takes_options(kind: type[_Group]) -> Callable[[Callable[[_Group], int]], Callable[..., int]]:
    """Make a command of a function of one object that holds all its options.

    Each field of `kind` is an option: as its `typer.Option` says, or its `Setting`, by which its value is
    read. A field whose type is a dataclass stands for the fields of that one, and so on. One without a
    default has to be given.

    Args:
        kind: The dataclass; its order is that of the options.

    Returns:
        What makes of such a function one of flat parameters, as the parser of arguments reads it. That one
        raises OptionError for a value that a setting or a dataclass refuses.
    """
    parameters = list(_parameters(kind))

    def decorate(command: Callable[[_Group], int]) -> Callable[..., int]:
        @functools.wraps(command)
        def flat(**given: Any) -> int:
            return command(_made(kind, given))

        flat.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        flat.__annotations__ = {p.name: p.annotation for p in parameters}
        return flat

    return decorate


def _parameters(kind: type[DataclassInstance]) -> Iterator[inspect.Parameter]:
    hints, settings = get_type_hints(kind, include_extras=True), settings_of(kind)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            yield from _parameters(hint)
        else:
            hint = _option(settings[field.name]) if field.name in settings else hint
            required = field.default is dataclasses.MISSING
            yield inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if required else field.default,
                annotation=hint,
            )


def _option(setting: Setting) -> Any:
    kind = str if setting.range is None or setting.in_seconds else float
    return Annotated[kind | None, typer.Option(help=setting.help)]


def _made(kind: type[_Group], given: dict[str, Any]) -> _Group:
    hints, settings = get_type_hints(kind), settings_of(kind)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        hint, name = hints[field.name], field.name
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            values[name] = _made(hint, given)
        elif name in settings and given[name] is not None:
            values[name] = _read(settings[name], given[name])
        else:
            values[name] = given[name]
    return kind(**values)


def _read(setting: Setting, given: object) -> float | str:
    value = setting.read(given)
    if value is None:
        raise OptionError(setting.option, expected=setting.expected, found=given)
    return value
