"""What a checkpoint says of its training, as Markdown. It comes from a file: nothing in it is trusted."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.markdown import plain, table

__all__ = ["training_lines"]

# A checkpoint may say what it likes, and as much of it.
MOST_ROWS = 1100  # of a table; there are at most 1,000 classes
MOST_DEPTH = 6
MOST_ITEMS = 40  # of a list in a cell
MOST_TABLES = 4
MOST_COLUMNS = 12

Facts = Mapping[str, JsonValue]
Name = tuple[str, ...]


def training_lines(training: Facts) -> list[str]:
    """Tables of all that the checkpoint says of its training, in its own order.

    One row per fact; lists of like records, as that of the classes, are tables of their own behind it.
    """
    facts: list[list[str]] = []
    tables: list[str] = []
    for name, value in _leaves(training, ()):
        records = _records(value)
        title = plain(" ".join(name), 120)
        if records is None and len(facts) <= MOST_ROWS:  # one more, which says that there are more
            facts.append([title, plain(_text(value), 1000)])
        elif records is None:
            continue
        elif len(tables) < MOST_TABLES:
            tables += ["", f"{title}:".capitalize(), "", *table(_cut(list(_record_rows(records))))]
    return ["As the checkpoint says it:", "", *table(_cut([["what", "value"], *facts])), *tables]


def _leaves(value: JsonValue | Facts, name: Name) -> Iterator[tuple[Name, JsonValue | Facts]]:
    """Yield each fact with the keys that lead to it; counts by name, and lists, are one fact."""
    if isinstance(value, Mapping) and not _is_counts(value) and len(name) < MOST_DEPTH:
        for key, inner in value.items():
            yield from _leaves(inner, (*name, str(key).replace("_", " ")))
    else:
        yield name, value


def _is_counts(value: Facts) -> bool:
    return not value or all(type(v) is int for v in value.values())


def _records(value: JsonValue | Facts) -> Sequence[Facts] | None:
    """Return the value as a table's rows, where it is a list of records with the same few keys."""
    if not isinstance(value, list) or not value:
        return None
    rows = [v for v in value if isinstance(v, Mapping)]
    keys = set(rows[0]) if rows else set()
    same = len(rows) == len(value) and all(set(row) == keys for row in rows)
    return rows if same and 0 < len(keys) <= MOST_COLUMNS else None


def _record_rows(records: Sequence[Facts]) -> Iterator[list[str]]:
    keys = list(records[0])
    yield [plain(str(key).replace("_", " "), 60) for key in keys]
    for record in records[: MOST_ROWS + 1]:
        yield [plain(_text(record[key])) for key in keys]


def _cut(rows: list[list[str]]) -> list[list[str]]:
    if len(rows) <= MOST_ROWS + 1:
        return rows
    return [*rows[: MOST_ROWS + 1], ["and more that is not shown", *[""] * (len(rows[0]) - 1)]]


def _text(value: JsonValue | Facts, depth: int = 0) -> str:
    if isinstance(value, (Mapping, list)) and depth == MOST_DEPTH:
        return "..."
    if isinstance(value, Mapping):
        some = itertools.islice(value.items(), MOST_ITEMS)
        return _list([f"{key} {_text(inner, depth + 1)}" for key, inner in some], len(value))
    if isinstance(value, list):
        return _list([_text(inner, depth + 1) for inner in value[:MOST_ITEMS]], len(value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else "-" if value is None else json.dumps(value)


def _list(items: Sequence[str], count: int) -> str:
    more = f", and {count - len(items)} more" if count > len(items) else ""
    return ", ".join(items) + more
