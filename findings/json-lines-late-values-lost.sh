#!/usr/bin/env bash
# JSON Lines read by Polars or DuckDB: a number that has its first decimals late in the file comes back as 0, and a
# field that comes late is left out; no error, no warning.
#
# Ground: 30,000 events of a device, one JSON object a line. In the 25,001st a share is 0.25 where it was 1 before, or a
# field "fault" is there for the first time. Read with no option set, by path or as a list of dicts.
# Guess before running: the reader widens the type, or raises for the line that does not fit, as a strict reader of
# tables does; a field that comes late is null before.
# Seen (pyarrow 26.0.1, polars-lts-cpu 1.33.1, duckdb 2.0.1):
#   0.25 after whole numbers: polars.read_ndjson, scan_ndjson and from_dicts, and DuckDB's read_json give 0;
#     pyarrow.json.read_json and Table.from_pylist give 0.25
#   "fault": Polars has no such column, from_dicts neither; DuckDB has none, and counts 30,000 rows, but raises when
#     all columns are fetched; pyarrow.json.read_json has it, Table.from_pylist looks at the first dict alone
#   the same rows from pyarrow.dataset (format "json"), in a file of 7 MB: no such column, where read_json has it
#   null in the first 25,000 lines, text then: polars.read_ndjson and pyarrow.dataset raise, DuckDB gives NULL for the
#     text, pyarrow.json.read_json the text
#   with infer_schema_length=None or schema_overrides (Polars), sample_size=-1 or columns (DuckDB): right
# Polars takes the types of the first 100 lines, DuckDB of the first 20,480, pyarrow's dataset of the first block. The
# rare events are the ones that matter, and a mean over shares drops without a trace.
# What to do: write shares with their decimals always (1.0, as Python's json does for a float), name a schema when
# reading, or have the reader look at the whole file.
#
# usage: bash findings/json-lines-late-values-lost.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pyarrow==26.0.1 polars-lts-cpu==1.33.1 duckdb==2.0.1
venv/bin/python - <<'PYTHON'
import json
import sys
from importlib.metadata import version

import duckdb
import polars
import pyarrow
import pyarrow.dataset
import pyarrow.json

print(*(f"{name} {version(name)}" for name in ("pyarrow", "polars-lts-cpu", "duckdb")))
LATE, COUNT = 25_000, 30_000


def written(name, first, late):
    """Write the events; give them."""
    events = [{"id": number, **(late if number == LATE else first)} for number in range(COUNT)]
    with open(name, "w") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)
    return events


shares = written("shares.jsonl", {"share": 1}, {"share": 0.25})
ASKED = f"SELECT share FROM read_json('shares.jsonl'%s) WHERE id = {LATE}"
share = {
    "polars.read_ndjson": polars.read_ndjson("shares.jsonl")["share"][LATE],
    "polars.scan_ndjson": polars.scan_ndjson("shares.jsonl").collect()["share"][LATE],
    "polars.from_dicts": polars.from_dicts(shares)["share"][LATE],
    "duckdb read_json": duckdb.sql(ASKED % "").fetchall()[0][0],
    "pyarrow.json.read_json": pyarrow.json.read_json("shares.jsonl")["share"][LATE].as_py(),
    "pyarrow.Table.from_pylist": pyarrow.Table.from_pylist(shares)["share"][LATE].as_py(),
    "polars.read_ndjson, whole file": polars.read_ndjson("shares.jsonl", infer_schema_length=None)["share"][LATE],
    "duckdb read_json, whole file": duckdb.sql(ASKED % ", sample_size=-1").fetchall()[0][0],
    "polars.read_ndjson, type given": polars.read_ndjson(
        "shares.jsonl", schema_overrides={"share": polars.Float64})["share"][LATE],
    "duckdb read_json, type given": duckdb.sql(
        ASKED % ", columns={id: 'BIGINT', share: 'DOUBLE'}").fetchall()[0][0],
}
for reader, value in share.items():
    print(f"{reader}: the share 0.25 is {value}")

faults = written("faults.jsonl", {"pad": "x" * 200}, {"pad": "", "fault": "jammed"})
EVENTS = "read_json('faults.jsonl'%s)"
columns = {
    "polars.read_ndjson": polars.read_ndjson("faults.jsonl").columns,
    "polars.from_dicts": polars.from_dicts(faults).columns,
    "duckdb read_json": duckdb.sql(f"FROM {EVENTS % ''}").columns,
    "pyarrow.dataset": pyarrow.dataset.dataset("faults.jsonl", format="json").to_table().column_names,
    "pyarrow.Table.from_pylist": pyarrow.Table.from_pylist(faults).column_names,
    "pyarrow.json.read_json": pyarrow.json.read_json("faults.jsonl").column_names,
    "polars.read_ndjson, whole file": polars.read_ndjson("faults.jsonl", infer_schema_length=None).columns,
    "duckdb read_json, whole file": duckdb.sql(f"FROM {EVENTS % ', sample_size=-1'}").columns,
}
for reader, names in columns.items():
    print(f"{reader}: columns {names}")
counted = duckdb.sql(f"SELECT count(*) FROM {EVENTS % ''}").fetchall()[0][0]
try:
    duckdb.sql(f"FROM {EVENTS % ''}").fetchall()
    raised = False
except duckdb.InvalidInputException as error:
    raised = True
    print(f"duckdb, all rows: {str(error)[:110]}...; count(*) gives {counted}")

written("nulls.jsonl", {"pad": "x" * 200, "reason": None}, {"pad": "", "reason": "jammed"})
NULLS = {
    "polars.read_ndjson": lambda: polars.read_ndjson("nulls.jsonl")["reason"][LATE],
    "pyarrow.dataset": lambda: pyarrow.dataset.dataset("nulls.jsonl", format="json").to_table()["reason"][LATE],
    "duckdb read_json": lambda: duckdb.sql(f"SELECT reason FROM read_json('nulls.jsonl') WHERE id = {LATE}").fetchall(),
    "pyarrow.json.read_json": lambda: pyarrow.json.read_json("nulls.jsonl")["reason"][LATE],
}
refused, lost = [], []
for reader, read in NULLS.items():
    try:
        print(f"{reader}, null before: {(value := read())}")
        lost += [reader] * ("jammed" not in str(value))
    except (polars.exceptions.ComputeError, pyarrow.ArrowInvalid) as error:
        refused.append(reader)
        print(f"{reader}, null before: {type(error).__name__}: {str(error)[:80]}")

so = list(share.values()) == [0] * 4 + [0.25] * 6
so &= ["fault" in names for names in columns.values()] == [False] * 5 + [True] * 3 and raised and counted == COUNT
so &= refused == ["polars.read_ndjson", "pyarrow.dataset"] and lost == ["duckdb read_json"]
print("still so: what comes late is lost" if so else "changed")
sys.exit(not so)
PYTHON
