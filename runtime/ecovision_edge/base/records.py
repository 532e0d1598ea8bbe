"""`dataclass(frozen=True, slots=True)` for what every start loads: the same, in a quarter of the time.

The standard decorator compiles six methods for each class, and makes it twice: half a millisecond, more than
the rest of an average module here. Of these only `__init__` has to be fast and to know the fields' names; the
others are closures. To `dataclasses`, `copy`, `pickle`, `match` and type checkers it is a dataclass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

__all__ = ["dataclass"]

T = TypeVar("T")

if TYPE_CHECKING:  # type checkers know this one
    from dataclasses import dataclass
else:

    def dataclass(*, frozen: bool, slots: bool) -> Callable[[type[T]], type[T]]:
        """Make a frozen dataclass with slots, of a class whose bases are no dataclasses.

        Raises:
            TypeError: another kind of dataclass is asked for, or another kind of field (keyword-only, say).
        """
        if not (frozen and slots):
            raise TypeError("only dataclass(frozen=True, slots=True) is made here")
        return _make


def _make(cls: type[T]) -> type[T]:
    if any(map(dataclasses.is_dataclass, cls.__mro__[1:])):
        raise TypeError(f"{cls.__qualname__}: a dataclass of a dataclass is not made here")
    plain = dataclasses.dataclass(init=False, repr=False, eq=False)(cls)
    fields = dataclasses.fields(plain)  # type: ignore[arg-type]
    if any(field.kw_only or not field.init for field in fields):
        raise TypeError(f"{cls.__qualname__}: a field that is not given by its place is not made here")
    names = tuple(field.name for field in fields)
    body = {name: value for name, value in cls.__dict__.items() if name not in (*names, *_OF_INSTANCES)}
    if body.get("__hash__") is None:  # what Python puts beside an __eq__ of the class's own
        body.pop("__hash__", None)
    whole = {**_methods(fields), **body, **_frozen(names), "__slots__": names}
    made: Any = type(cls)(cls.__name__, cls.__bases__, whole)  # type: ignore[misc]  # of a type, a type
    made.__qualname__ = cls.__qualname__
    made.__init__ = _initializer(made, fields)
    parameters = made.__dataclass_params__
    parameters.init = parameters.repr = parameters.eq = parameters.frozen = True
    if hasattr(parameters, "slots"):  # since Python 3.12
        parameters.slots = True
    return made  # type: ignore[no-any-return]


_OF_INSTANCES = ("__dict__", "__weakref__")


def _initializer(cls: type, fields: tuple[dataclasses.Field[Any], ...]) -> Callable[..., None]:
    """Compile `__init__`, which is called for each frame: as fast as the standard one."""
    given: dict[str, object] = {"_set": object.__setattr__, "_none": _NONE}
    parameters, lines = [], []
    for field in fields:
        name = value = field.name
        if field.default is not dataclasses.MISSING:
            given[f"_{name}"] = field.default
            parameters.append(f"{name}=_{name}")
        elif field.default_factory is not dataclasses.MISSING:
            given[f"_{name}"] = field.default_factory
            parameters.append(f"{name}=_none")
            value = f"_{name}() if {name} is _none else {name}"
        else:
            parameters.append(name)
        lines.append(f" _set(self, {name!r}, {value})")
    if hasattr(cls, "__post_init__"):
        lines.append(" self.__post_init__()")
    exec(f"def __init__(self, {', '.join(parameters)}):\n" + "\n".join(lines or [" pass"]), given)  # noqa: S102
    made: Any = given["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    made.__annotations__ = {**{field.name: field.type for field in fields}, "return": None}
    return made  # type: ignore[no-any-return]


class _None:
    """In place of a value that a factory makes."""

    def __repr__(self) -> str:
        return "<factory>"


_NONE = _None()


def _methods(fields: tuple[dataclasses.Field[Any], ...]) -> dict[str, object]:
    """Return what a class may define for itself."""
    shown = [field.name for field in fields if field.repr]
    compared = _getter([field.name for field in fields if field.compare])
    hashed = _getter([f.name for f in fields if (f.compare if f.hash is None else f.hash)])

    def show(self: object) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{type(self).__qualname__}({values})"

    def equals(self: object, other: object) -> bool:
        return compared(self) == compared(other) if type(other) is type(self) else NotImplemented

    def digest(self: object) -> int:
        return hash(hashed(self))

    return {"__repr__": show, "__eq__": equals, "__hash__": digest}


def _getter(names: list[str]) -> Callable[[object], tuple[object, ...]]:
    """Return what takes the values of these attributes of an object."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda record: tuple(getattr(record, name) for name in names)


def _frozen(names: tuple[str, ...]) -> dict[str, object]:
    """Return what keeps an object as it was made, and what copies it all the same."""

    def assign(self: object, name: str, value: object) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def delete(self: object, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    def state(self: object) -> list[object]:
        return [getattr(self, name) for name in names]

    def restore(self: object, state: list[object]) -> None:
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    return {"__setattr__": assign, "__delattr__": delete, "__getstate__": state, "__setstate__": restore}
