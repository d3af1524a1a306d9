"""`check-data` on damaged pictures of cells: each kind found, counted, and repaired."""

from __future__ import annotations

import csv
import json

import pytest
from data.damaged_cells import EXPECTED, damage, save, write_cells

pytestmark = pytest.mark.data


@pytest.fixture
def cells(test_data, tmp_path):
    content = write_cells(test_data / "bccd", tmp_path / "cells")
    damage(content, tmp_path / "cells")
    return save(content, tmp_path / "cells")


def look(verb, tmp_path, *arguments):
    file = tmp_path / "found.json"
    status = verb("check-data").main(["--json", str(file), *map(str, arguments)])
    return status, json.loads(file.read_text())


def test_every_kind_is_found_and_counted(verb, tmp_path, cells, capsys):
    status, found = look(verb, tmp_path, cells)
    counts = {}
    for each in found["findings"]:
        counts[each["kind"]] = counts.get(each["kind"], 0) + each["count"]
    print(
        {
            k: (counts.get(k), EXPECTED.get(k))
            for k in {**counts, **EXPECTED}
            if counts.get(k) != EXPECTED.get(k)
        }
    )
    assert counts == EXPECTED


def test_the_corrected_copy_is_clean(verb, tmp_path, cells, capsys):
    before = {file: file.read_bytes() for file in (tmp_path / "cells").iterdir()}
    status, found = look(verb, tmp_path, cells, "--fix", tmp_path / "fixed")
    assert status == 1
    assert before == {file: file.read_bytes() for file in (tmp_path / "cells").iterdir()}
    command = capsys.readouterr().out.splitlines()[-1]
    spec = command.removeprefix("Now: centernet-d2 check-data ")
    status, found = look(verb, tmp_path, spec)
    print(found["findings"])
    print((tmp_path / "fixed" / "repairs.csv").read_text())
    assert status == 0
    assert 0
