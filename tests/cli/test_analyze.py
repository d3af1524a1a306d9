from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model

from centernet_d2 import setup
from centernet_d2.engine.setup import load_config

from .conftest import CORNER_OVERRIDES

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs" / "Shapes" / "triplet_tiny.yaml")


@pytest.fixture
def arguments(tiny_overrides, squares, tmp_path):
    """Arguments for an untrained detector that pairs all corners; one object is a crowd."""
    file = Path(squares.split(":")[1])
    dataset = json.loads(file.read_text())
    dataset["annotations"][0]["iscrowd"] = 1
    file.write_text(json.dumps(dataset))
    overrides = [*tiny_overrides, *CORNER_OVERRIDES, "MODEL.CORNERNET.EMBEDDING_THRESHOLD", "99.0"]
    torch.manual_seed(0)  # of a detector that scores nothing
    model = build_model(setup(load_config(CONFIG, overrides)))
    DetectionCheckpointer(model, str(tmp_path)).save("weights", class_names=["square"])
    output = ["--weights", str(tmp_path / "weights.pth"), "--output", str(tmp_path / "out")]
    return ["--config-file", CONFIG, *output, "--opts", *overrides]


def result(folder: Path, name: str) -> dict:
    (file,) = (folder / "out").glob(f"*/{name}.json")
    return json.loads(file.read_text())


def test_oracle_scores_each_substitution(verb, arguments, tmp_path):
    told = ["--substitute", "heatmaps", "--substitute", "heatmaps", "offsets", "centers"]
    assert verb("analyze").main(["oracle", *told, *arguments]) == 0
    rows = result(tmp_path, "oracle")["rows"]
    assert [row["ground truth"] for row in rows] == [
        "none",
        "heatmaps",
        "heatmaps + offsets + centers",
    ]
    assert rows[0]["AP"] < 10
    assert rows[2]["AP"] == pytest.approx(100)  # the crowd is not told and not missed
    # One file of detections per row.
    assert len(list((tmp_path / "out").glob("*/*/coco_instances_results.json"))) == 3
    (file,) = (tmp_path / "out").glob("*/heatmaps+offsets+centers/coco_instances_results.json")
    assert len(json.loads(file.read_text())) == 5  # objects but the crowd


def test_corner_quadrants_are_written(verb, arguments, tmp_path):
    assert verb("analyze").main(["corner-quadrants", "--radius", "100", *arguments]) == 0
    content = result(tmp_path, "corner-quadrants")
    assert content["radius"] == 100
    assert [row["corner"] for row in content["rows"]] == ["top_left", "bottom_right"]
    for row in content["rows"]:
        assert set(row) == {"corner", "all", "top_left", "bottom_right"}
        assert row["all"] > 0
    (top_left, bottom_right) = content["rows"]
    assert top_left["bottom_right"] is None  # (36, 30) lies above the middle
    assert bottom_right["top_left"] is not None


def test_datasets_are_needed(verb, arguments):
    with pytest.raises(ValueError, match=r"DATASETS\.TEST is empty"):
        verb("analyze").main(["corner-quadrants", *arguments, "DATASETS.TEST", "()"])


def test_collisions_of_files_are_counted_and_written(verb, squares, tmp_path, capsys):
    file = Path(squares.split(":")[1])
    content = json.loads(file.read_text())
    content["annotations"] += [{**content["annotations"][0], "id": 1000}]
    file.write_text(json.dumps(content))
    output = tmp_path / "out"
    assert verb("analyze").main(["collisions", "--dataset", squares, "--output", str(output)]) == 0
    found = json.loads((output / "collisions.json").read_text())
    assert found["objects"] == len(content["annotations"])
    assert (found["center_collisions"], found["iou_collisions"]) == (1, {"0.5": 1, "0.7": 1})
    assert found["anchors_forced"] == sum(found["anchors_forced_by_area"].values())
    assert "| square" in capsys.readouterr().out


@pytest.mark.parametrize("named", [[], ["--config-file", "Shapes/points_tiny"]])
def test_collisions_without_data_name_the_cure(verb, named):
    opts = ["--opts", "DATASETS.TEST", "()"] if named else []
    with pytest.raises(ValueError, match="Name the dataset: --dataset coco:"):
        verb("analyze").main(["collisions", *named, *opts])


def test_what_a_detector_cannot_be_told_is_said_before_it_is_evaluated(verb, arguments, tmp_path):
    with pytest.raises(ValueError, match="cannot be told size; it predicts heatmaps, offsets"):
        verb("analyze").main(["oracle", "--substitute", "size", *arguments])
    assert not (tmp_path / "out").exists()
