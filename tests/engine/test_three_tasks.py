"""Boxes, joints and boxes in space of one COCO file, learned and predicted by one model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog

from centernet_d2 import Predictor, Trainer, setup
from centernet_d2.data.checks import DatasetError
from centernet_d2.data.datasets import columns
from centernet_d2.data.fields.base import GroundTruthField
from centernet_d2.data.images import read_image
from centernet_d2.data.mapper import DetectionMapper

from .small_world import small_config, write_dataset

PROJECTION = [[60.0, 0.0, 24.0, 0.0], [0.0, 60.0, 20.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
TASKS = (
    *("MODEL.POINTS_CENTERNET.TASKS", ["box2d", "pose", "box3d"]),
    *("INPUT.FLIP_PROBABILITY", 0.0, "TEST.EVAL_PERIOD", 0),
)
FIELDS = ("pred_boxes", "pred_keypoints", "pred_boxes3d")


@pytest.fixture
def spec(tmp_path) -> str:
    """A COCO file whose annotations have joints and a box in space, and whose images a camera."""
    spec = write_dataset(tmp_path / "data")
    file = Path(spec.split(":")[1])
    content = json.loads(file.read_text())
    for image in content["images"]:
        image["projection"] = PROJECTION
    for annotation in content["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation["keypoints"] = [x + 1, y + 1, 2, x + w - 2, y + h - 2, 2]
        annotation |= {"location": [0.1, 0.5, 9.0], "dimensions": [1.5, 1.6, 4.0]}
        annotation["rotation_y"] = 0.3
    for category in content["categories"]:
        category |= {"keypoints": ["left_top", "right_bottom"], "skeleton": [[1, 2]]}
    file.write_text(json.dumps(content))
    return spec


def test_three_tasks_train_evaluate_and_predict_from_one_file(spec, tmp_path):
    cfg = small_config(spec, tmp_path / "run", *TASKS, "SOLVER.MAX_ITER", 3)
    trainer = Trainer(cfg)
    trainer.resume_or_load(False)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    results = trainer.train()
    assert set(results) == {"bbox", "keypoints"}
    losses = trainer.storage.histories()
    for name in ("size", "joint_displacement", "joint_heatmap", "joint_offset", "orientation"):
        assert losses[f"loss_{name}"].latest() > 0
    moved = [name for name, value in trainer.model.state_dict().items() if "head" in name]
    assert all(not torch.equal(before[name], trainer.model.state_dict()[name]) for name in moved)

    cfg = setup(cfg.clone())
    cfg.defrost()
    cfg.MODEL.WEIGHTS = str(tmp_path / "run" / "model_final.pth")
    image = read_image(str(tmp_path / "data" / "pictures" / "0001.png"))
    found = Predictor(cfg)(image, projection=PROJECTION)
    assert all(found["instances"].has(name) for name in FIELDS)
    assert found["instances"].pred_keypoints.shape[1:] == (2, 3)
    assert found["projection"].tolist() == PROJECTION


def test_what_one_task_misses_is_named_with_the_others_there(spec, tmp_path):
    file = Path(spec.split(":")[1])
    content = json.loads(file.read_text())
    del content["images"][0]["projection"]
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"0001\.png': its record has no 'projection'"):
        Trainer(small_config(spec, tmp_path / "run", *TASKS))  # before a step


def test_set_up_lets_columns_survive_whoever_loads_first(spec, tmp_path):
    columns.ANNOTATION_COLUMNS.clear()
    columns.IMAGE_COLUMNS.clear()
    cfg = setup(small_config(spec, tmp_path / "run", *TASKS))
    record = DatasetCatalog.get(cfg.DATASETS.TEST[0])[0]
    assert record["projection"] == PROJECTION
    assert record["annotations"][0]["location"] == [0.1, 0.5, 9.0]


def test_a_missing_column_names_image_column_and_cure(spec, tmp_path):
    class Aspect(GroundTruthField):
        annotation_columns = ("aspect",)

        def rows(self, annotations, image):
            return {"gt_aspect": torch.tensor([entry["aspect"] for entry in annotations])}

    cfg = setup(small_config(spec, tmp_path / "run"))
    mapper = DetectionMapper(is_train=True, fields=[Aspect()])
    with pytest.raises(DatasetError, match=r"0001\.png': .* no 'aspect', which Aspect reads"):
        mapper(DatasetCatalog.get(cfg.DATASETS.TRAIN[0])[0])


def test_without_boxes_it_is_said_before_training(spec, tmp_path, monkeypatch):
    monkeypatch.setattr("centernet_d2.modeling.point_tasks.box2d.Box2D.output_fields", ())
    with pytest.raises(ValueError, match=r"no boxes, which evaluator_type 'coco'.*Add 'box2d'"):
        Trainer(small_config(spec, tmp_path / "run"))
