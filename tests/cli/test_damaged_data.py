"""`check-data` on damaged pictures of cells: each kind found, counted, and repaired."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from data.damaged_cells import EXPECTED, damage, save, write_cells
from PIL import Image

from centernet_d2.data.checks.findings import SEVERITIES

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
    page = tmp_path / "page.html"
    status, found = look(verb, tmp_path, cells, "--html", page)
    counts = {}
    for each in found["findings"]:
        counts[each["kind"]] = counts.get(each["kind"], 0) + each["count"]
    assert (status, counts) == (1, EXPECTED)
    truncated = next(each for each in found["findings"] if each["kind"] == "truncated")
    assert "OpenCV reads it" in truncated["examples"][0]["value"]
    shown = [SEVERITIES.index(each["severity"]) for each in found["findings"]]
    assert shown == sorted(shown)
    text = page.read_text()
    assert text.count("data:image/jpeg;base64,") == 23
    assert "http" not in text
    assert all(f"<td>{kind}" in text for kind in EXPECTED)


def test_the_corrected_copy_is_clean_and_the_users_files_stay(verb, tmp_path, cells, capsys):
    before = {file: file.read_bytes() for file in (tmp_path / "cells").iterdir()}
    assert look(verb, tmp_path, cells, "--fix", tmp_path / "fixed")[0] == 1
    assert before == {file: file.read_bytes() for file in (tmp_path / "cells").iterdir()}
    spec = capsys.readouterr().out.splitlines()[-1].removeprefix("centernet-d2 check-data ")
    status, found = look(verb, tmp_path, spec)
    left = {each["kind"] for each in found["findings"]}
    notes = {"near-copy", "tiny", "whole-image", "two-classes", "empty", "colliding"}
    assert (status, left - notes) == (
        0,
        {"no-objects", "like-names", "crowded", "cut-off", "under-two-cells"},
    )
    with open(tmp_path / "fixed" / "repairs.csv", newline="") as stream:
        repairs = [(Path(row["file"]).stem[-2:], row["repair"]) for row in csv.DictReader(stream)]
    assert ("14", "swapped: bbox [379.0, 211.0, -143.0, 142.0]") in repairs
    content = json.loads((tmp_path / "fixed" / "annotations.json").read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    boxes = [(names[e["image_id"]], e["bbox"]) for e in content["annotations"]]
    assert ("BloodImage_00014.jpg", [236, 211, 143, 142]) in boxes
    assert ("BloodImage_00018.jpg", [160, 240, 80, 60]) in boxes  # was given in shares
    assert ("BloodImage_00021.jpg", [600, 30, 40, 20]) in boxes
    assert len(names) == 35  # without three that are no pictures, and two copies
    with pytest.raises(ValueError, match="exists and is not empty"):
        look(verb, tmp_path, cells, "--fix", tmp_path / "fixed")


def test_leaks_are_found_and_taken_out_of_training(verb, test_data, tmp_path, capsys):
    train = write_cells(test_data / "bccd", tmp_path / "train", 6)
    test = write_cells(test_data / "bccd", tmp_path / "test", 5, start=5)
    (tmp_path / "train" / "BloodImage_00001.jpg").rename(
        tmp_path / "train" / "BloodImage_00008 (1).jpg"
    )
    train["images"][1]["file_name"] = "BloodImage_00008 (1).jpg"
    Image.open(tmp_path / "test" / "BloodImage_00007.jpg").save(
        tmp_path / "train" / "BloodImage_00002.jpg", quality=40
    )
    specs = save(train, tmp_path / "train"), save(test, tmp_path / "test")
    _, found = look(verb, tmp_path, *specs, "--fix", tmp_path / "fixed")
    leaks = {each["kind"]: each for each in found["findings"] if specs[1] in each["what"]}
    assert {kind: each["count"] for kind, each in leaks.items()} == {
        "leak": 1,
        "near-leak": 1,
        "name": 1,
    }
    assert "BloodImage_00005" in leaks["leak"]["examples"][0]["file"]
    assert all(each["dataset"] == specs[0] for each in leaks.values())
    commands = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("centernet-d2")
    ]
    written = [Path(line.split(":")[1]) for line in commands]
    assert [len(json.loads(file.read_text())["images"]) for file in written] == [5, 5]
