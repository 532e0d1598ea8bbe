"""Two results side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from ecovision_edge.cli import main
from ecovision_edge.errors import OptionError
from ecovision_edge_bench.measure.compare import (
    NotComparableError,
    check_comparable,
    compare_results,
    parse_share,
)
from ecovision_edge_bench.measure.result import Result

MakeResult = Callable[..., Result]


def slower(result: Result, key: str, factor: float) -> Result:
    """A copy in which one row's network takes `factor` times as long."""
    again = Result.loads(result.dumps(), "copy")
    row = again.row(key)
    assert row is not None
    row.samples.infer_ms = [x * factor for x in row.samples.infer_ms]
    return again


def test_a_result_does_not_differ_from_itself(make_result: MakeResult) -> None:
    """No regression, whatever the noise."""
    result = make_result(rows=3)
    for change in compare_results(result, result):
        assert change.ratio.value == 1
        assert not change.ratio.differs
        assert not change.regression
        assert change.same_model


def test_a_row_that_got_slower_is_a_regression(make_result: MakeResult) -> None:
    """That one and no other; not where that much was allowed; and the other way round it is faster."""
    before = make_result(rows=3)
    key = before.rows[1].key
    after = slower(before, key, 1.5)
    assert [c.key for c in compare_results(before, after) if c.regression] == [key]
    assert not any(c.regression for c in compare_results(before, after, fail_over=0.6))
    assert not any(c.regression for c in compare_results(after, before))


def test_a_slower_day_is_taken_out_by_relative(make_result: MakeResult) -> None:
    """Everything takes twice as long, the base too: no ratio has changed."""
    before = make_result(rows=3)
    after = Result.loads(before.dumps(), "copy")
    for row in after.rows:
        for stage in ("prepare_ms", "infer_ms", "post_ms"):
            setattr(row.samples, stage, [2 * x for x in getattr(row.samples, stage)])
    assert all(c.regression for c in compare_results(before, after))
    relative = compare_results(before, after, relative=True)
    assert before.base not in {c.key for c in relative}
    assert not any(c.regression for c in relative)


def test_a_row_that_turned_wrong_is_a_regression(make_result: MakeResult) -> None:
    """However fast it is."""
    before = make_result(rows=2)
    after = Result.loads(before.dumps(), "copy")
    row = after.rows[1]
    assert row.agreement is not None
    row.agreement = dataclasses.replace(row.agreement, judged=100, agreed=50)
    before.rows[1].agreement = dataclasses.replace(row.agreement, agreed=100)
    (change,) = [c for c in compare_results(before, after) if c.regression]
    assert change.turned_wrong


@pytest.mark.parametrize(
    ("part", "key", "value", "word"),
    [
        ("machine", "cpu", "another", "machine cpu"),
        ("machine", "usable_cores", 64, "machine usable_cores"),
        ("frames", "width", 1280, "frame width"),
        ("settings", "fps", 15.0, "fps"),
        ("settings", "sustained_secs", 60.0, "sustained"),
    ],
)
def test_unlike_conditions_are_refused_by_name(
    make_result: MakeResult, part: str, key: str, value: object, word: str
) -> None:
    """Unless the user wants it anyway."""
    before, after = make_result(rows=2), make_result(rows=2)
    setattr(after, part, {**getattr(after, part), key: value})
    with pytest.raises(NotComparableError, match=word):
        compare_results(before, after)
    assert len(check_comparable(before, after)) == 1
    assert len(compare_results(before, after, anyway=True)) == 2


def test_nothing_in_common_is_refused(make_result: MakeResult) -> None:
    """Both lists of rows are in the message."""
    before, after = make_result(rows=1), make_result(rows=1)
    after.rows[0].key = "other 1t"
    with pytest.raises(NotComparableError, match="other 1t"):
        compare_results(before, after)


def test_shares_are_read() -> None:
    """Per cent or a fraction."""
    assert parse_share("5%") == parse_share("0.05") == 0.05
    for text in ("five", "-1%", ""):
        with pytest.raises(OptionError, match=r"5% or 0\.05"):
            parse_share(text)


def test_the_command_fails_on_a_regression_and_only_then(
    make_result: MakeResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 0, 1, and 2 for what is not comparable; one line each time it is 2."""
    before = make_result(rows=2)
    other = make_result(rows=2)
    other.machine = {**other.machine, "cpu": "another"}
    for name, result in (
        ("a", before),
        ("b", slower(before, before.rows[1].key, 2.0)),
        ("c", other),
    ):
        (tmp_path / name).write_bytes(result.dumps())
    a, b, c = (str(tmp_path / name) for name in "abc")
    assert main(["bench", "compare", a, a]) == 0
    assert main(["bench", "compare", a, b, "--fail-over", "5%"]) == 1
    assert "slower" in capsys.readouterr().out
    assert main(["bench", "compare", a, c]) == 2
    assert main(["bench", "compare", a, str(tmp_path / "none")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert main(["bench", "compare", a, b, "--json", str(tmp_path / "out.json")]) == 1
    assert before.rows[1].key in (tmp_path / "out.json").read_text()
