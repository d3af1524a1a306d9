"""`check-data` on damaged pictures of cells: each kind found, counted, and repaired."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from data.damaged_cells import EXPECTED, damage, save, write_cells
from PIL import Image

from centernet_d2.data.checks.findings import SEVERITIES
from centernet_d2.data.image_files import find_faults

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


def test_voc_files_are_read_past_their_faults(verb, test_data, tmp_path, capsys):
    folder = tmp_path / "voc"
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    names = [f"BloodImage_{number:05d}" for number in range(5)]
    (folder / "ImageSets" / "Main" / "all.txt").write_text("\n".join(names))
    (folder / "classes.txt").write_text("RBC\nWBC\nPlatelets\n")
    for name in names:
        for part, ending in (("Annotations", "xml"), ("JPEGImages", "jpg")):
            file = f"{part}/{name}.{ending}"
            (folder / file).write_bytes((test_data / "bccd" / file).read_bytes())
    texts = {name: (folder / "Annotations" / f"{name}.xml").read_text() for name in names}
    (folder / "Annotations" / f"{names[0]}.xml").write_text(texts[names[0]][:400])
    swapped = texts[names[1]].replace("xmin", "X").replace("xmax", "xmin").replace("X", "xmax")
    (folder / "Annotations" / f"{names[1]}.xml").write_text(swapped)
    share = re.sub(r"(<x\w+>)\d+", r"\g<1>0.25", texts[names[2]], count=1)
    share = re.sub(r"(<y\w+>)\d+", r"\g<1>0.25", share, count=1)
    share = re.sub(r"(<xmax>)\d+", r"\g<1>0.5", share, count=1)
    share = re.sub(r"(<ymax>)\d+", r"\g<1>0.5", share, count=1)
    (folder / "Annotations" / f"{names[2]}.xml").write_text(share)
    _, found = look(verb, tmp_path, f"voc:{folder}:all", "--fix", tmp_path / "fixed")
    counts = {each["kind"]: each["count"] for each in found["findings"]}
    assert counts["value"] == 1
    assert counts["swapped"] == swapped.count("<object>")
    assert counts["normalised"] == 1
    with open(tmp_path / "fixed" / "repairs.csv", newline="") as stream:
        lost = [row["repair"] for row in csv.DictReader(stream) if not row["file"]]
    assert [
        f"not read: '{folder}/Annotations/{names[0]}.xml' is no valid XML" in r for r in lost
    ] == [1]
    content = json.loads((tmp_path / "fixed" / "annotations.json").read_text())
    assert len(content["images"]) == 4
    assert [160, 120, 160, 120] in [entry["bbox"] for entry in content["annotations"]]


def test_a_training_finds_damage_before_its_first_step_and_trains_on_the_copy(
    verb, tmp_path, cells, tiny_overrides
):
    kinds = []
    for level in ("exist", "ends"):
        records = json.loads((tmp_path / "cells.json").read_text())["images"]
        files = [{**r, "file_name": str(tmp_path / "cells" / r["file_name"])} for r in records]
        kinds.append(list(find_faults(files, level).unusable))
    assert kinds == [[], [1, 2, 3, 4, 6, 7]]  # 4 has both its ends
    look(verb, tmp_path, cells, "--fix", tmp_path / "fixed")
    spec = f"coco:{tmp_path}/fixed/annotations.json:{tmp_path}/fixed/images"
    options = [*tiny_overrides, "DATASETS.TRAIN", f"('{spec}',)", "DATASETS.TEST", "()"]
    options += ["TEST.RESOLUTION", "fixed", "TEST.FIXED_SIZE", "[64, 64]"]
    options += ["SOLVER.MAX_ITER", "2", "OUTPUT_DIR", str(tmp_path / "run")]
    assert verb("train").main(["--config-file", "Shapes/points_tiny", *options]) == 0
