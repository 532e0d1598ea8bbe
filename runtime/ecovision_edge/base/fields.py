"""Strict reading of JSON that came from a file: every value is checked, every error names its place."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import TypeAlias

from ecovision_edge.base.names import quoted
from ecovision_edge.errors import ContractError, SchemaVersionError

__all__ = ["Fields", "JsonValue", "canonical_json", "parse_json"]

JsonValue: TypeAlias = "str | int | float | bool | list[JsonValue] | dict[str, JsonValue] | None"


def _reject_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large")
    return value


def _no_duplicates(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    result: dict[str, JsonValue] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"the key {key!r} stands twice")
        result[key] = value
    return result


def parse_json(data: bytes, where: str, *, fix: str = "export the bundle again") -> Fields:
    """Parse a JSON object, strictly: UTF-8, finite numbers, no lone surrogate, no key twice.

    A byte order mark before it is passed over, as some editors put one there. `fix` is what the error says to
    do about it.

    Raises:
        ContractError: not such an object.
    """
    try:
        value = json.loads(
            data.decode("utf-8-sig"),
            parse_float=_finite,
            parse_constant=_reject_constant,
            object_pairs_hook=_no_duplicates,
        )
        json.dumps(value, ensure_ascii=False).encode()  # refuses lone surrogates, which nothing can print
    except (ValueError, RecursionError) as e:  # also UnicodeDecodeError, and integers of thousands of digits
        raise ContractError(f"{where} is not valid JSON", found=str(e)[:60], fix=fix) from e
    return Fields.of(value, where)


def canonical_json(value: JsonValue) -> bytes:
    """Write JSON, the same bytes for the same value: UTF-8, keys as given, indent 2, a newline at the end."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


class Fields:
    """One JSON object being read; `done()` at the end refuses keys that nobody asked for."""

    def __init__(self, data: dict[str, JsonValue], where: str) -> None:
        self._data = data
        self._where = where
        self._seen: set[str] = set()

    @classmethod
    def of(cls, value: JsonValue, where: str) -> Fields:
        """Wrap `value`, which must be an object."""
        if not isinstance(value, dict):
            raise ContractError(where, expected="an object", found=quoted(value))
        return cls(value, where)

    def at(self, key: str) -> str:
        """Return where `key` stands, for messages."""
        return f"{self._where}.{key}"

    def wrong(self, key: str, expected: str) -> ContractError:
        """Return the error for a value of `key` that is not as expected."""
        return ContractError(self.at(key), expected=expected, found=quoted(self._data.get(key)))

    def has(self, key: str) -> bool:
        """Return whether `key` is there and not null."""
        self._seen.add(key)
        return self._data.get(key) is not None

    def value(self, key: str) -> JsonValue:
        """Return any value; a missing key is an error."""
        self._seen.add(key)
        if key not in self._data:
            raise ContractError(self._where, expected=f"a key {key!r}", found="none")
        return self._data[key]

    def text(self, key: str, *, most: int = 1000, pattern: str | None = None, what: str = "text") -> str:
        """Return printable text of 1 to `most` characters that matches the whole of `pattern`."""
        value = self.value(key)
        if not isinstance(value, str) or not 0 < len(value) <= most or not value.isprintable():
            raise self.wrong(key, f"{what}, 1 to {most} printable characters")
        if pattern is not None and re.fullmatch(pattern, value) is None:
            raise self.wrong(key, what)
        return value

    def text_or_none(self, key: str, *, most: int = 1000) -> str | None:
        """Return the text, or None where it is null or missing."""
        return self.text(key, most=most) if self.has(key) else None

    def choice(self, key: str, choices: Sequence[str]) -> str:
        """Return one of `choices`."""
        value = self.value(key)
        if not isinstance(value, str) or value not in choices:
            raise self.wrong(key, f"one of {', '.join(choices)}")
        return value

    def flag(self, key: str) -> bool:
        """Return true or false."""
        value = self.value(key)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def integer(self, key: str, low: int, high: int) -> int:
        """Return an integer in [low, high]."""
        value = self.value(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.wrong(key, f"an integer from {low} to {high}")
        return value

    def schema_version(self, newest: int) -> int:
        """Return the integer `schema_version`, 1 to `newest`.

        Raises:
            SchemaVersionError: it is newer.
            ContractError: it is no version at all.
        """
        version = self.integer("schema_version", 1, 2**31)
        if version > newest:
            from ecovision_edge.base.installation import upgrade_fix

            raise SchemaVersionError(
                self.at("schema_version"),
                expected=f"{newest} or older",
                found=version,
                fix=upgrade_fix(),
            )
        return version

    def number(self, key: str, low: float, high: float) -> float:
        """Return a finite number in [low, high]."""
        value = _number(self.value(key))
        if value is None or not low <= value <= high:
            raise self.wrong(key, f"a number from {low:g} to {high:g}")
        return value

    def numbers(self, key: str, count: int, low: float, high: float) -> tuple[float, ...]:
        """Return `count` finite numbers in [low, high]."""
        value = self.value(key)
        if not isinstance(value, list) or len(value) != count:
            raise self.wrong(key, f"a list of {count} numbers")
        numbers = [n for v in value if (n := _number(v)) is not None and low <= n <= high]
        if len(numbers) != count:
            raise self.wrong(key, f"{count} numbers from {low:g} to {high:g}")
        return tuple(numbers)

    def items(self, key: str, *, most: int) -> list[JsonValue]:
        """Return a list of at most `most` values."""
        value = self.value(key)
        if not isinstance(value, list) or len(value) > most:
            raise self.wrong(key, f"a list of at most {most}")
        return value

    def sub(self, key: str) -> Fields:
        """Return an object inside this one."""
        return Fields.of(self.value(key), self.at(key))

    def free(self, key: str) -> dict[str, JsonValue]:
        """Return an object whose keys are nobody's business here."""
        value = self.value(key)
        if not isinstance(value, dict):
            raise self.wrong(key, "an object")
        return value

    def done(self) -> None:
        """Refuse the keys that nothing has read."""
        unknown = sorted(set(self._data) - self._seen)
        if unknown:
            raise ContractError(
                self._where,
                expected=f"only the keys {', '.join(sorted(self._seen))}",
                found=", ".join(quoted(key) for key in unknown[:5]),
            )


def _number(value: JsonValue) -> float | None:
    """Return a finite number as a float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer too large for a float
        return None
    return number if math.isfinite(number) else None
