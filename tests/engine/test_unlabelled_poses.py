"""Poses in images without annotations, such as COCO's test-dev: the file for the server."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import torch
from catalogs import unregistered  # noqa: F401
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model

from centernet_d2.analysis.results_files import Dataset, read_results
from centernet_d2.data.datasets.builtin import PERSONS_TEST, register_builtin
from centernet_d2.engine.checkpointer import Checkpointer
from centernet_d2.engine.class_names import classes_to_look_for
from centernet_d2.engine.evaluate import evaluate_only
from centernet_d2.engine.setup import setup
from centernet_d2.evaluation.coco import RESULTS_FILE
from centernet_d2.modeling.registration import output_skeleton
from centernet_d2.structures.skeleton import COCO_JOINTS

from .small_world import write_dataset

POSE = ("MODEL.POINTS_CENTERNET.TASKS", ["box2d", "pose"])


@pytest.fixture
def test_dev(tmp_path, monkeypatch):
    """Its JSON, with two of its categories, where the registered name looks; the spec of both."""
    spec = write_dataset(tmp_path / "coco", images=3, classes=("bicycle", "person"))
    content = json.loads((tmp_path / "coco" / "boxes.json").read_text())
    content["categories"] = [{"id": 1, "name": "person"}, {"id": 2, "name": "bicycle"}]
    del content["annotations"]
    file = tmp_path / "coco" / "annotations" / "image_info_test-dev2017.json"
    file.parent.mkdir()
    file.write_text(json.dumps(content))
    images = tmp_path / "coco" / "test2017"
    images.symlink_to(spec.rpartition(":")[2])
    for catalog in (DatasetCatalog, MetadataCatalog):
        monkeypatch.delitem(catalog.data, PERSONS_TEST)
    register_builtin(str(tmp_path))
    return f"coco:{file}:{images}"


@pytest.fixture
def results(config, test_dev, tmp_path):
    """A function: how data are named, the file that a detector of persons writes for them."""
    joints = ("MODEL.POINTS_CENTERNET.POSE.NUM_JOINTS", 17, "MODEL.HEATMAP.NUM_CLASSES", 1)
    tests = ("DATASETS.TRAIN", (), "DATASETS.TEST", ("keypoints_coco_2017_val",))
    cfg = setup(config(*POSE, *tests, *joints))
    Checkpointer(
        build_model(cfg),
        str(tmp_path),
        class_names=["person"],
        skeleton=output_skeleton(cfg),
    ).save("persons")

    def evaluate(name: str) -> list[dict]:
        weights = ("MODEL.WEIGHTS", str(tmp_path / "persons.pth"), *joints)
        cfg = config(*POSE, "DATASETS.TEST", (name,), *weights)
        assert evaluate_only(cfg) == {"bbox": {}, "keypoints": {}}
        return json.loads((tmp_path / "run" / "inference" / RESULTS_FILE).read_text())

    return evaluate


def test_joints_of_all_images_are_written_however_the_data_are_named(results, test_dev):
    rows = results(test_dev)
    kinds = Counter((row["image_id"], row["category_id"], len(row["keypoints"])) for row in rows)
    assert set(kinds) == {(image, 1, 51) for image in (1, 2, 3)}
    assert min(kinds.values()) > 10
    assert all(0 <= row["score"] <= 1 for row in rows)
    assert results(PERSONS_TEST) == rows


def test_a_file_that_names_no_joints_gets_those_of_the_weights(results, test_dev, tmp_path):
    """That these know the joints is no change of the file."""
    content = json.loads((tmp_path / "coco" / "boxes.json").read_text())
    own = {"images": content["images"], "categories": [{"id": 1, "name": "person"}]}
    (tmp_path / "own.json").write_text(json.dumps(own))
    assert {
        len(r["keypoints"])
        for r in results(f"coco:{tmp_path}/own.json:{test_dev.rpartition(':')[2]}")
    } == {51}


def test_the_registered_name_has_cocos_person(test_dev):
    metadata = MetadataCatalog.get(PERSONS_TEST)
    assert metadata.thing_classes == ["person"]
    assert tuple(metadata.keypoint_names) == COCO_JOINTS
    assert [record["image_id"] for record in DatasetCatalog.get(PERSONS_TEST)] == [1, 2, 3]


def test_joints_of_weights_stay_with_their_config(config, test_dev, tmp_path):
    """Data that name none are lent those of the weights, and not those of the weights before."""
    options = (*POSE, "DATASETS.TRAIN", (), "DATASETS.TEST", (test_dev,), "MODEL.WEIGHTS")
    cfgs, joints = [], {"a": ("nose", "tail"), "b": ("left_ear", "right_ear", "tip")}
    for name, own in joints.items():
        content = {"model": {}, "class_names": ["person", "bicycle"], "joint_names": list(own)}
        torch.save(content | {"joint_flip_map": []}, tmp_path / f"{name}.pth")
        cfgs.append(setup(config(*options, str(tmp_path / f"{name}.pth"))))
    assert [cfg.MODEL.POINTS_CENTERNET.POSE.NUM_JOINTS for cfg in cfgs] == [2, 3]
    assert output_skeleton(setup(cfgs[0])).names == joints["a"]


def row(joints: int = 51, **other) -> dict:
    keypoints = {"keypoints": [1.0] * joints} if joints else {}
    return {"image_id": 1, "category_id": 1, "bbox": [1, 2, 8, 9], "score": 0.5} | keypoints | other


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([row(), row(0)], "1 of 2 detections of classes with joints have no 'keypoints'"),
        ([row(0)], "1 of 1 detections of classes with joints have no 'keypoints'"),
        ([row(), row(34)], "34 numbers where 51 belong: x, y and score of each of 17 joints"),
        ([row(33)], "33 numbers where 51 belong"),
        ([row(category_id=0)], r"class that the dataset does not have, such as [0]"),
        ([{k: v for k, v in row().items() if k != "score"}], "KeyError: 'score'"),
    ],
)
def test_what_a_file_for_the_server_lacks_is_said(rows, told, test_dev, tmp_path, caplog):
    (tmp_path / "results.json").write_text(json.dumps(rows))
    try:
        read_results(str(tmp_path / "results.json"), Dataset(PERSONS_TEST))
        said = caplog.text
    except ValueError as error:
        said = str(error)
    assert told in said


def test_without_data_nothing_is_looked_for(config):
    """A Predictor's config names no data."""
    assert classes_to_look_for(config("MODEL.WEIGHTS", "bccd", "DATASETS.TEST", ())) == []
