"""A shipped config on real photos: train, evaluate and predict, as a user does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from detectron2.engine import default_argument_parser

from centernet_d2.engine.run import run

pytestmark = [pytest.mark.data, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs" / "COCO-Detection" / "points_resnet18_dcn_140e.yaml")
IMAGES = 3


def first_images(json_file, target) -> list[str]:
    """Write the first images of a COCO JSON, with their annotations; return the file names."""
    content = json.loads(json_file.read_text())
    content["images"] = content["images"][:IMAGES]
    ids = {image["id"] for image in content["images"]}
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in ids]
    assert content["annotations"]
    target.write_text(json.dumps(content))
    return [image["file_name"] for image in content["images"]]


def test_train_evaluate_and_predict(test_data, tmp_path, verb):
    folder = test_data / "coco_mini"
    names = first_images(folder / "annotations" / "instances_val2017.json", tmp_path / "val.json")
    train = f"coco:{folder}/annotations/instances_train2017.json:{folder}/train2017"
    options = [
        *("DATASETS.TRAIN", train, "DATASETS.TEST", f"coco:{tmp_path}/val.json:{folder}/val2017"),
        *("MODEL.DEVICE", "cpu", "INPUT.TRAIN_SIZE", "[128, 128]", "DATALOADER.NUM_WORKERS", "0"),
        *("SOLVER.MAX_ITER", "2", "SOLVER.IMS_PER_BATCH", "2", "OUTPUT_DIR", str(tmp_path / "run")),
        *("TEST.RESOLUTION", "fixed", "TEST.FIXED_SIZE", "[256, 256]", "MODEL.WEIGHTS", ""),
    ]
    arguments = ["--config-file", CONFIG, *options]
    results = run(default_argument_parser().parse_args(arguments))
    assert 0 <= results["bbox"]["AP"] <= 100
    weights = tmp_path / "run" / "model_final.pth"
    saved = torch.load(weights, weights_only=True)
    assert saved["iteration"] == 1
    assert len(saved["class_names"]) == 80

    arguments = ["--config-file", str(tmp_path / "run" / "config.yaml"), "--weights", str(weights)]
    arguments += ["--input", *(str(folder / "val2017" / name) for name in names)]
    arguments += ["--output", str(tmp_path / "out"), "--score-threshold", "0", "--no-clip"]
    assert verb("predict").main(arguments) == 0
    content = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert len(content["images"]) == IMAGES
    assert content["class_names"] == saved["class_names"]
    for record in content["images"]:
        assert len(record["detections"]) == 100  # TOP_K, without a threshold
        assert (tmp_path / "out" / record["picture"]).is_file()
