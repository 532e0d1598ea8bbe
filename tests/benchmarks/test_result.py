"""The result's JSON: everything is there, and nothing that is not ours is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ecovision_edge.errors import ContractError, EcovisionError, SchemaVersionError
from ecovision_edge_bench.measure.result import SCHEMA, Result
from ecovision_edge_bench.measure.schedule import Samples
from ecovision_edge_bench.page import write_page
from ecovision_edge_bench.page.table import (
    cold_rows,
    headline,
    latency_rows,
    size_rows,
    source_rows,
    to_markdown,
    verdict,
)

MakeResult = Callable[..., Result]


def test_a_result_survives_its_file(make_result: MakeResult) -> None:
    """Rows, samples, agreement, cold starts, notes: what is written is what is read."""
    result = make_result(rows=3)
    again = Result.loads(result.dumps(), "r.json")
    assert again.dumps() == result.dumps()
    assert [r.key for r in again.rows] == [r.key for r in result.rows]
    assert again.rows[0].cold == result.rows[0].cold
    assert again.rows[0].agreement == result.rows[0].agreement
    assert again.rows[0].samples.infer_ms == pytest.approx(result.rows[0].samples.infer_ms, abs=1e-5)


def test_the_json_is_keyed_and_has_raw_samples_beside_figures(make_result: MakeResult) -> None:
    """A reader finds a row by its key, and can compute every figure again."""
    result = make_result(rows=2, samples=200)
    value = json.loads(result.dumps())
    assert (value["schema"], value["schema_version"]) == (SCHEMA, 1)
    row = value["rows"][result.rows[1].key]
    assert len(row["samples"]["infer_ms"]) == row["stages_ms"]["infer"]["count"] == 200
    assert set(row["stages_ms"]) == {"prepare", "infer", "post", "total"}
    assert set(row["stages_ms"]["total"]) == {"count", "mean", "least", "p50", "p90", "p95"}
    assert {"value", "low95", "high95"} == set(row["ratio"])
    assert value["rows"][value["base"]]["ratio"] is None
    for key in ("machine", "state", "settings", "frames", "parity", "versions", "bundle", "valid", "reasons"):
        assert key in value


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(schema="something"),
        lambda d: d.update(schema_version="1"),
        lambda d: d.pop("rows"),
        lambda d: d.update(extra=1),
        lambda d: d["rows"].update(x=[]),
        lambda d: next(iter(d["rows"].values())).update(threads=-1),
        lambda d: next(iter(d["rows"].values()))["samples"]["infer_ms"].pop(),
        lambda d: next(iter(d["rows"].values()))["samples"].update(infer_ms=["a"]),
        lambda d: next(iter(d["rows"].values())).update(cold=[1]),
        lambda d: d.update(base=""),
        lambda d: d.update(state=None),
    ],
)
def test_what_is_no_result_is_refused(
    make_result: MakeResult, change: Callable[[dict[str, Any]], Any]
) -> None:
    """With the place and what was expected there."""
    value = json.loads(make_result(rows=2).dumps())
    change(value)
    with pytest.raises(ContractError):
        Result.loads(json.dumps(value).encode(), "r.json")


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b'{"schema": "ecovision-edge/bench"}'])
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    """Typed, whatever it is."""
    with pytest.raises(EcovisionError):
        Result.loads(data, "r.json")


def test_the_frontier_of_sizes_is_shown(make_result: MakeResult) -> None:
    """What each size takes here beside what it lost at the export; a result of one size has none."""
    result = make_result(rows=4)
    assert size_rows(result) == []
    base, other, small, failed = result.rows
    base.name, other.name = "int8-onnx", "fp32-onnx"
    small.name, small.size = "int8-onnx 192px", 192
    failed.name, failed.size, failed.samples = "int8-onnx 160px", 160, Samples()
    result.bundle = {
        "name": "x",
        "sizes": {
            "160": {"size": 160, "accuracy": 0.89, "loss": 0.7, "sha256": "0"},
            "192": {"size": 192, "accuracy": 0.898, "loss": -0.1, "sha256": "0"},
            "224": {"size": 224, "accuracy": 0.897, "loss": 0.0, "sha256": None},
            "x": None,
        },
    }
    again = Result.loads(result.dumps(), "r.json")
    head, *rows = size_rows(again)
    assert head[0] == "size"
    assert [(row[0], row[1], *row[-2:]) for row in rows] == [
        ("192", small.key, "89.8 %", "-0.1 points"),
        ("224", base.key, "89.7 %", "0.0 points"),
    ]
    assert "| 192 | " in to_markdown(again)
    assert any("accuracy of a size" in line for line in verdict(again))


def test_a_newer_schema_is_refused_by_its_number(make_result: MakeResult) -> None:
    """Rather than misread."""
    value = {**json.loads(make_result(rows=1).dumps()), "schema_version": 2}
    with pytest.raises(
        SchemaVersionError, match=r"expected 1 or older, found 2; this ecovision-edge is too old"
    ):
        Result.loads(json.dumps(value).encode(), "r.json")


def test_a_percentile_is_printed_only_where_samples_support_it(make_result: MakeResult) -> None:
    """p90 of 64 samples and more, p99 of 662."""
    few, many = latency_rows(make_result(rows=2, samples=63)), latency_rows(make_result(rows=2, samples=700))
    assert not {"p90", "p99"} & set(few[0])
    assert {"p90", "p99"} <= set(many[0])


def test_every_row_is_in_every_table(make_result: MakeResult) -> None:
    """Terminal and Markdown; all lines of a table have its number of cells."""
    result = make_result(rows=4)
    for rows in (latency_rows(result), cold_rows(result)):
        assert {len(r) for r in rows} == {len(rows[0])}
        assert [r[0] for r in rows[1:]] == [r.key for r in result.rows]
    text = to_markdown(result)
    assert all(f"| {row.key} |" in text for row in result.rows)
    assert headline(result) in text


def test_what_preparing_costs_by_source_is_kept_and_shown(make_result: MakeResult) -> None:
    """Of rows that know JPEG; a file from before it was measured is read, and has no such table."""
    result = make_result(rows=2)
    assert source_rows(result) == []
    result.rows[1].sources = {"raw": [1.0, 3.0, 2.0], "jpeg": [9.0], "reduced": [4.5]}
    again = Result.loads(result.dumps(), "r.json")
    assert again.rows[1].sources == result.rows[1].sources
    head, row = source_rows(again)
    assert head == ["prepare, of", "a raw frame", "a JPEG, whole", "a JPEG, reduced"]
    assert row == [result.rows[1].key, "2.00 ms", "9.00 ms", "4.50 ms"]
    assert "| a JPEG, reduced |" in to_markdown(again)
    assert b"prepare by source, ms" in write_page(again).encode()
    value = json.loads(result.dumps())
    for old in value["rows"].values():
        del old["prepare_by_source_ms"]
    assert source_rows(Result.loads(json.dumps(value).encode(), "r.json")) == []


def test_a_failed_row_is_shown_as_failed(make_result: MakeResult) -> None:
    """With its reason below the table, and the whole is INVALID."""
    result = make_result(rows=2)
    row = result.rows[1]
    row.samples = type(row.samples)(error="its process | died")
    row.reasons = ["its process | died"]
    assert latency_rows(result)[2][-1] == "failed"
    lines = verdict(result)
    assert lines[0] == "INVALID"
    assert any(row.key in line and "died" in line for line in lines)
    assert "process \\| died" in to_markdown(result)


def test_valid_needs_every_row_and_the_run(make_result: MakeResult) -> None:
    """One reason anywhere is enough."""
    result = make_result(rows=2)
    for r in result.rows:
        r.reasons = []
    result.reasons = []
    assert verdict(result)[0] == "VALID"
    result.reasons = ["governor: expected performance, found ondemand"]
    assert verdict(result)[0] == "INVALID"
