"""`check-data`: what data holds, and every fault of it that a training would stop at."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from centernet_d2.cli.parsers.check_data import LEVELS
from centernet_d2.data import image_files
from centernet_d2.data.statistics import describe, spread


@pytest.fixture
def look(verb, tmp_path):
    """Run the verb; returns its exit status and what it writes as JSON."""
    file = tmp_path / "found.json"

    def run(*arguments):
        status = verb("check-data").main(["--json", str(file), *arguments])
        return status, json.loads(file.read_text())

    return run


def edit(squares, change) -> None:
    file = Path(squares.split(":")[1])
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_levels_are_those_of_the_package():
    assert LEVELS == image_files.LEVELS


def test_whole_data_is_told_as_a_table(look, squares, capsys):
    status, found = look(squares)
    assert (status, found["faults"], found["warnings"]) == (0, [], [])
    assert found["datasets"][squares] == {
        "images": 4,
        "image width": [64, 64, 64],
        "image height": [64, 64, 64],
        "images without objects": 0,
        "objects": 6,
        "object size": [20, 20, 24],
        "small, medium, large objects": [6, 0, 0],
        "classes": {"square": 6},
    }
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert f"(1) {squares}" in lines
    assert "object size 20 / 20 / 24" in lines
    assert "- square 6" in lines
    assert lines[-1] == "0 errors, 0 warnings, 2 notes"


@pytest.mark.slow
def test_with_a_config_objects_are_measured_in_the_network(look, squares, tiny_overrides):
    options = [
        *tiny_overrides,
        *("INPUT.CENTER_CROP.SCALES", "[0.5]", "INPUT.FLIP_PROBABILITY", "0"),
    ]
    options += ["TEST.RESOLUTION", "fixed", "TEST.FIXED_SIZE", "[128, 128]"]
    status, found = look("--config-file", "Shapes/points_tiny", "--opts", *options)
    assert status == 0
    (facts,) = found["datasets"].values()
    assert facts["object size for the network, testing"] == [40, 40, 48]
    assert facts["object size for the network, training"][2] == 48


def test_all_image_faults_are_counted(look, squares, capsys):
    folder = Path(squares.split(":")[2])
    (folder / "1.png").unlink()
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:60])
    (folder / "3.png").write_text("no image")
    status, found = look(squares, "nowhere")
    missing, truncated, unreadable, unknown = found["faults"]
    assert status == 1
    assert f"1 of 4 image files do not exist: '{folder / '1.png'}'" in missing
    assert f"1 of 4 image files cannot be used, as cut off or damaged: '{folder}/2" in truncated
    assert f"1 of 4 image files cannot be used, as they cannot be read: '{folder}/3" in unreadable
    assert "'nowhere' is not registered" in unknown
    assert "\n4 errors, 0 warnings, " in capsys.readouterr().out
    status, found = look(squares, "--images", "none")
    assert (status, found["faults"]) == (0, [])


def test_what_a_training_goes_on_with_is_a_warning(look, squares):
    edit(squares, lambda content: content["annotations"][0].update(bbox=[3, 3, 0, 5]))
    status, found = look(squares)
    assert status == 0
    assert "dropped 1 of 6 boxes of zero width or height" in found["warnings"][0]
    assert found["datasets"][squares]["objects"] == 5


def test_data_that_cannot_be_meant_is_a_fault(look, squares):
    edit(squares, lambda content: content["annotations"][0].update(bbox=[3, 3, -4, 5]))
    status, found = look(squares)
    (fault,) = found["faults"]
    assert (status, found["datasets"][squares]["objects"]) == (1, 5)
    assert "1 of 6 boxes have a negative width or height" in fault


def test_data_without_objects_is_a_fault_and_described(look, squares):
    edit(squares, lambda content: content["annotations"].clear())
    status, found = look(squares)
    assert status == 1
    assert "the 4 images of" in found["faults"][0]
    assert found["datasets"][squares]["images without objects"] == 4
    assert found["datasets"][squares]["object size"] == []


def test_nothing_to_look_at_is_said(verb):
    with pytest.raises(ValueError, match="Nothing to check: name datasets"):
        verb("check-data").main([])
    with pytest.raises(ValueError, match=r"'DATASETS.TRAIN' is a config key.*write --opts before"):
        verb("check-data").main(["DATASETS.TRAIN", "shapes_val"])


def test_crowd_ignored_and_joints_are_counted_apart():
    box = {"bbox": [10, 10, 110, 50], "bbox_mode": 0, "category_id": 1}
    entries = [
        {**box, "keypoints": [5, 5, 2, 6, 6, 1, 0, 0, 0, 8, 8, 2]},
        {**box, "keypoints": [0, 0, 0] * 4, "difficult": 1},
        {**box, "iscrowd": 1},
        {**box, "iscrowd": 1, "ignored": 1},
    ]
    records = [{"annotations": entries, "width": 200, "height": 100}, {"annotations": []}]
    assert describe(records, ["a", "b"]) == {
        "images": 2,
        "image width": [200, 200, 200],
        "image height": [100, 100, 100],
        "images without objects": 1,
        "objects": 2,
        "ignored objects": 1,
        "crowd objects": 2,
        "difficult objects": 1,
        "object size": [63.2, 63.2, 63.2],
        "small, medium, large objects": [0, 2, 0],
        "objects with joints": 1,
        "share of joints visible, hidden, not labelled": [0.5, 0.25, 0.25],
        "classes": {"a": 0, "b": 2},
    }
    assert spread([]) == []


def test_other_classes_are_a_fault(look, squares, tmp_path):
    copy = tmp_path / "copy.json"
    copy.write_text(Path(squares.split(":")[1]).read_text().replace('"square"', '"box"'))
    status, found = look(squares, f"coco:{copy}:{squares.split(':')[2]}")
    (fault,) = found["faults"]
    assert (status, len(found["datasets"])) == (1, 2)
    assert "class 0 is 'square' in the first and 'box' in the second" in fault


def test_a_whole_export_is_checked_with_leaks_between_its_splits(look, tmp_path, capsys):
    """And each dataset's copy lists what its own reader left out."""
    for split, lines in (
        ("train", "0 .5 .5 .5 .5\n0 .5\n5 .5 .5 .5 .5"),
        ("valid", "0 .5 .5 .2 .2"),
    ):
        for part in ("images", "labels"):
            (tmp_path / "export" / split / part).mkdir(parents=True)
        random = np.random.default_rng(ord(split[0]))
        noise = random.integers(0, 255, (2, 32, 32, 3), dtype=np.uint8)
        for number, pixels in enumerate(noise if split == "valid" else [*noise, noise[0]]):
            stem = f"{split}{number}"
            Image.fromarray(pixels).save(tmp_path / "export" / split / "images" / f"{stem}.png")
            (tmp_path / "export" / split / "labels" / f"{stem}.txt").write_text(lines)
    leaked = tmp_path / "export" / "valid" / "images" / "valid0.png"
    shutil.copy(leaked, tmp_path / "export" / "train" / "images" / "train9.png")
    text = "train: ../train/images\nval: ../valid/images\nnames: [cell]\n"
    (tmp_path / "export" / "data.yaml").write_text(text)
    export = str(tmp_path / "export")
    status, found = look(export, "--fix", str(tmp_path / "fixed"))
    assert status == 1
    assert [*found["datasets"]] == [f"yolo:{export}:train", f"yolo:{export}:val"]
    kinds = {each["kind"]: each for each in found["findings"]}
    assert (kinds["leak"]["count"], kinds["leak"]["dataset"]) == (1, f"yolo:{export}:train")
    assert kinds["value"]["dataset"] == f"yolo:{export}:train"
    assert len(kinds["value"]["left_out"]) == kinds["value"]["count"] == 6
    lists = [*(tmp_path / "fixed").glob("*/repairs.csv")]
    lost = {file.parent.name.split("_")[1]: file.read_text().count("not read: ") for file in lists}
    assert lost == {"train": 6, "val": 0}


def test_pictures_of_12_bits_in_16_are_said(look, tmp_path):
    (tmp_path / "deep" / "images").mkdir(parents=True)
    (tmp_path / "deep" / "boxes.csv").write_text("a.png,2,2,9,9,cell\n")
    values = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32) * 4
    Image.fromarray(values).save(tmp_path / "deep" / "images" / "a.png")
    _, found = look(f"csv:{tmp_path}/deep/boxes.csv:{tmp_path}/deep/images")
    told = "16-bit pictures without a value above 4095 are taken for 12-bit ones."
    assert told in [each["what"] for each in found["findings"] if each["kind"] == "reading"]
