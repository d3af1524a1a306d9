"""Findings: how they read, and that the page of them names all kinds."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from centernet_d2.data.checks import RowsError
from centernet_d2.data.checks import findings as module
from centernet_d2.data.checks.findings import KINDS, Example, Finding, reading_on, without_refused

PAGE = Path(__file__).resolve().parents[3] / "docs" / "check_data.md"


def test_the_page_has_all_kinds_with_their_severities():
    rows = re.findall(r"^\| (`.*?`) \| (\w+)", PAGE.read_text(), re.MULTILINE)
    told = {kind: severity for kinds, severity in rows for kind in re.findall("`(.*?)`", kinds)}
    assert {kind: told.get(kind) for kind in KINDS} == {kind: row[0] for kind, row in KINDS.items()}


def test_a_finding_is_one_line():
    places = [Example("a.jpg", k, "bbox [1]") for k in range(7)]
    (found,) = Finding.of("tiny", places, 9)
    assert (found.severity, found.count, len(found.examples)) == ("note", 7, 5)
    assert str(found).startswith(
        "7 of 9 boxes have a side under 2 pixels: 'a.jpg' object 0 bbox [1];"
    )
    assert str(found).endswith("object 4 bbox [1]; .... Remove slips of the mouse.")
    assert Finding.of("tiny", [], 9) == []


def test_rows_that_are_refused_are_left_out_and_noted_one_kind_after_the_other():
    rows = [{"a": k} for k in range(4)]

    def read():
        for wrong in (1, 3):
            if bad := [row for row in rows if row["a"] == wrong]:
                raise RowsError(f"{wrong} is wrong", bad)
        return [row["a"] for row in rows]

    with pytest.raises(RowsError, match="1 is wrong"):
        without_refused(read, rows)
    with reading_on() as found:
        assert without_refused(read, rows) == [0, 2]
    assert [str(each) for each in found] == ["1 is wrong", "3 is wrong"]
    assert not module.reads_on()


def test_an_error_that_leaves_no_row_out_is_raised_all_the_same():
    def read():
        raise RowsError("all of it", [{}])

    with reading_on() as found, pytest.raises(RowsError, match="all of it"):
        without_refused(read, [np.nan])
    assert found == []
