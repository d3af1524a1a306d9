"""What is written is read back: by pycocotools and csv, and by globox and supervision if there."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from detectron2.structures import Boxes, Instances
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import centernet_d2.modeling.point_tasks.pose  # noqa: F401 (registers pred_keypoints)
from centernet_d2.inference.files import PredictionWriter, predict_files
from centernet_d2.inference.formats import PREDICTION_FORMATS, register_prediction_format
from centernet_d2.inference.records import Recorder

NAMES = ["cell, red", 'the "big" one', "Blutplättchen 血小板 - #1: yes"]
BOXES = [[10.0, 5.0, 50.0, 45.0], [20.5, 30.25, 90.0, 59.0], [60.0, 2.0, 99.0, 20.0]]
SCORES = [0.875, 0.75, 0.5]


def detect(files, images, *, joints=None):
    results = []
    for image in images:
        found = Instances(image.shape[:2])
        found.pred_boxes, found.scores = Boxes(torch.tensor(BOXES)), torch.tensor(SCORES)
        found.pred_classes = torch.tensor([0, 1, 2])
        if joints is not None:
            found.pred_keypoints = torch.tensor(joints)
        results.append({"instances": found})
    return results


@pytest.fixture
def photos(tmp_path) -> list[str]:
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    files = [tmp_path / "photos" / name for name in ("a.jpg", "deep/b.jpg")]
    for file in files:
        cv2.imwrite(str(file), np.full((60, 100, 3), 90, np.uint8))
    return [str(file) for file in files]


@pytest.fixture
def write(photos, tmp_path):
    """Predict and write formats; return the output folder."""

    def run(*formats, predict=detect, settings=(), **choice) -> Path:
        recorder = Recorder(NAMES, **choice)
        writer = PredictionWriter(
            str(tmp_path / "out"),
            photos,
            recorder,
            settings=dict(settings),
            draw=None,
            overwrite=False,
            formats=formats,
        )
        predict_files(predict, photos, writer)
        return tmp_path / "out"

    return run


def test_coco_results_score_as_what_they_are(write):
    """All detections are right: pycocotools, with the truth made of them, says AP 1."""
    out = write("coco")
    coco = COCO(str(out / "coco_images.json"))
    results = json.loads((out / "coco_results.json").read_text())
    assert [row["name"] for row in coco.loadCats(coco.getCatIds())] == NAMES
    truth = [
        {**row, "id": number, "area": row["bbox"][2] * row["bbox"][3], "iscrowd": 0}
        for number, row in enumerate(results, 1)
    ]
    coco.dataset["annotations"] = truth
    coco.createIndex()
    scored = COCOeval(coco, coco.loadRes(str(out / "coco_results.json")), "bbox")
    scored.evaluate()
    scored.accumulate()
    scored.summarize()
    assert (scored.stats[0], len(results)) == (pytest.approx(1.0), 6)
    assert results[1]["bbox"] == [20.5, 30.25, 69.5, 28.75]


def test_coco_ids_of_a_given_file(write, tmp_path):
    content = {
        "images": [{"id": 70, "file_name": "deep/b.jpg"}, {"id": 9, "file_name": "a.jpg"}],
        "categories": [{"id": 10 + k, "name": name} for k, name in enumerate(NAMES)],
    }
    (given := tmp_path / "truth.json").write_text(json.dumps(content))
    out = write("coco", settings={"image_ids": str(given)})
    results = json.loads((out / "coco_results.json").read_text())
    ids = {(row["image_id"], row["category_id"]) for row in results}
    assert ids == {(image, 10 + k) for image in (9, 70) for k in range(3)}
    never = lambda files, images: pytest.fail("predicted before it was checked")  # noqa: E731
    for part, told in (("images", r"category '.*b\.jpg'"), ("categories", "category 'cell, red'")):
        (given := tmp_path / f"{part}.json").write_text(json.dumps({**content, part: []}))
        if part == "images":
            given.write_text(json.dumps({**content, part: content[part][1:]}))
        (out / "predictions.json").unlink(missing_ok=True)
        with pytest.raises(ValueError, match=told):
            write("coco", settings={"image_ids": str(given)}, predict=never)


@pytest.mark.parametrize("box_format", ["xyxy", "xywh"])
def test_csv_is_read_back(write, photos, box_format):
    with open(write("csv", box_format=box_format) / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class_name"] for row in rows] == NAMES * 2
    assert [row["file"] for row in rows] == [photos[0]] * 3 + [photos[1]] * 3
    sides = ("left", "top", "right", "bottom")
    assert [[float(row[side]) for side in sides] for row in rows] == BOXES * 2
    assert [float(row["score"]) for row in rows] == SCORES * 2


def test_yolo_is_read_back(write, photos):
    out = write("yolo")
    names = yaml.safe_load((out / "data.yaml").read_text(encoding="utf-8"))["names"]
    assert names == dict(enumerate(NAMES))
    line = (out / "labels" / "a.txt").read_text().splitlines()[0]
    assert line == "0 0.3 0.416667 0.4 0.666667 0.875"  # center and size by 100 x 60 pixels
    globox = pytest.importorskip("globox")
    folder = Path(photos[0]).parent
    found = globox.AnnotationSet.from_yolo_v5(out / "labels", image_folder=folder)
    boxes = sorted(found["a.jpg"].boxes, key=lambda box: -box.confidence)
    assert [(box.label, box.confidence) for box in boxes] == [*zip("012", SCORES, strict=True)]
    sides = [[box.xmin, box.ymin, box.xmax, box.ymax] for box in boxes]
    np.testing.assert_allclose(sides, BOXES, atol=1e-3)


def test_supervision_reads_yolo_and_labelme(write, photos):
    sv = pytest.importorskip("supervision")
    out, folder = write("yolo", "labelme"), os.path.dirname(photos[0])
    read = {
        "yolo": sv.DetectionDataset.from_yolo(folder, str(out / "labels"), str(out / "data.yaml")),
        "labelme": sv.DetectionDataset.from_labelme(folder, str(out / "labelme")),
    }
    for form, found in read.items():
        ((_, _, seen),) = [row for row in found if row[0].endswith("a.jpg")]
        names = [found.classes[index] for index in seen.class_id]
        assert dict(zip(names, seen.xyxy.tolist(), strict=True)) == {
            name: pytest.approx(box, abs=1e-3) for name, box in zip(NAMES, BOXES, strict=True)
        }, form


JOINTS = [[[10.5, 5.5, 0.875], [30.5, 20.5, 0.25]]] * 2 + [[[0.0, 0.0, 0.0]] * 2]


def test_joints_in_all_formats(write):
    """Of two classes with joints, and one without. 0.5 is the middle of the first pixel."""
    names = {"joint_names": ["head", "tail, long"]}
    predict = lambda files, images: detect(files, images, joints=JOINTS)  # noqa: E731
    out = write("yolo", "labelme", "coco", "csv", settings=names, predict=predict)
    lines = [line.split() for line in (out / "labels" / "a.txt").read_text().splitlines()]
    assert [len(line) for line in lines] == [5 + 2 * 3 + 1] * 3  # as Ultralytics saves poses
    values = [0.105, 5.5 / 60, 0.875, 0.305, 20.5 / 60, 0.25]
    assert [float(value) for value in lines[0][5:-1]] == pytest.approx(values, abs=1e-6)
    assert [float(value) for value in lines[2][5:-1]] == [0] * 6
    assert yaml.safe_load((out / "data.yaml").read_text())["kpt_shape"] == [2, 3]
    results = json.loads((out / "coco_results.json").read_text())
    assert results[0]["keypoints"] == [10, 5, 0.875, 30, 20, 0.25]
    assert "keypoints" not in results[2]
    shapes = json.loads((out / "labelme" / "a.json").read_text())["shapes"]
    points = [
        (s["label"], s["points"], s["group_id"]) for s in shapes if s["shape_type"] == "point"
    ]
    first = [("head", [[10.5, 5.5]], 1), ("tail, long", [[30.5, 20.5]], 1)]
    assert (points[:2], len(points)) == (first, 4)
    with open(out / "predictions.csv", newline="") as file:
        more = [json.loads(row["more"] or "{}") for row in csv.DictReader(file)]
    assert more[0] == {"joints": [[10, 5, 0.875], [30, 20, 0.25]]}


def test_labelme_names_its_picture_and_corrections_stay(write, photos):
    out = write("labelme")
    file = out / "labelme" / "deep" / "b.json"
    content = json.loads(file.read_text())
    assert (file.parent / content["imagePath"]).resolve() == Path(photos[1]).resolve()
    assert (content["imageHeight"], content["imageWidth"]) == (60, 100)
    assert (content["imageData"], content["flags"]) == (None, {})
    box = {"label": NAMES[1], "points": [[20.5, 30.25], [90, 59]], "shape_type": "rectangle"}
    assert content["shapes"][1].items() >= box.items()
    file.write_text("corrected by hand")
    (out / "labelme" / "a.json").unlink()
    again = lambda files, images: pytest.fail("predicted again")  # noqa: E731
    write("labelme", "yolo", predict=again)  # another format, made of what is there
    assert file.read_text() == "corrected by hand"
    assert json.loads((out / "labelme" / "a.json").read_text())["shapes"]
    assert (out / "labels" / "deep" / "b.txt").read_text().count("\n") == 3


def test_what_is_interrupted_is_written_in_all_formats(write, photos):
    def stops(files, images):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write("csv", "yolo", predict=stops)
    out = write("csv", "yolo")
    assert (out / "predictions.csv").read_text().count("\n") == 7


def test_two_pictures_of_one_label_file_are_refused(write, photos):
    cv2.imwrite(photos[0].replace(".jpg", ".png"), np.zeros((60, 100, 3), np.uint8))
    photos.append(photos[0].replace(".jpg", ".png"))
    with pytest.raises(ValueError, match=r"one name, 'labels.a\.txt': of '.*a\.jpg' and of '.*a"):
        write("yolo")


def test_a_format_of_ones_own(write, monkeypatch):
    with pytest.raises(ValueError, match="'csv' is registered already"):
        register_prediction_format("csv", lambda *given: iter(()))
    register_prediction_format("count", lambda found, *_: iter([("n.txt", str(len(found)), "")]))
    assert (write("count") / "n.txt").read_text() == "2"
    del PREDICTION_FORMATS["count"]
