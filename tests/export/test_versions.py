"""Facts about the version that an export gives a bundle where nobody gave one."""

from __future__ import annotations

from datetime import date, datetime, timezone

import pytest

from ecovision_edge.errors import OptionError
from ecovision_edge_export.options import ExportOptions
from ecovision_edge_export.publish.assemble import export_day


def test_the_day_is_that_of_utc_or_of_the_source() -> None:
    """A build that sets SOURCE_DATE_EPOCH gives the same bytes on any day."""
    assert export_day({"SOURCE_DATE_EPOCH": "1700000000"}) == date(2023, 11, 14)
    before = datetime.now(timezone.utc).date()
    assert before <= export_day({}) <= datetime.now(timezone.utc).date()


@pytest.mark.parametrize("wrong", ["", "today", "-1", "1e9", "9" * 40])
def test_a_day_of_the_source_that_is_none_is_passed_over(wrong: str) -> None:
    """Whatever the environment holds."""
    assert export_day({"SOURCE_DATE_EPOCH": wrong}) >= date(2026, 1, 1)


def test_a_version_is_checked_before_anything_else() -> None:
    """What can be one, and what was found."""
    assert ExportOptions("reference", version="2.1").version == "2.1"
    with pytest.raises(OptionError, match=r"--bundle-version: expected 1 to 64 letters.*found"):
        ExportOptions("reference", version="2 1")
