"""Random ground truth and detections for the tests of this folder."""

from __future__ import annotations

import contextlib
import copy
import io
import json

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, BoxMode, Instances
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

CATEGORY_IDS = (3, 7, 12, 40)  # with gaps, as COCO's
CLASS_NAMES = ("disk", "ring", "square", "traffic light")


def random_dataset(seed: int, images: int = 12) -> dict:
    """COCO ground truth with crowds, all three sizes and images without objects."""
    rng = np.random.default_rng(seed)
    annotations = []
    for image_id in range(101, 101 + images):
        for _ in range(rng.integers(0, 8)):
            x, y = rng.uniform(0, 300, 2)
            width, height = np.exp(rng.uniform(np.log(8), np.log(250), 2))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(rng.choice(CATEGORY_IDS)),
                    "bbox": [float(v) for v in (x, y, width, height)],
                    "area": float(width * height * rng.uniform(0.5, 1)),
                    "iscrowd": int(rng.random() < 0.1),
                }
            )
    return {
        "images": [
            {"id": i, "height": 480, "width": 640, "file_name": f"{i}.jpg"}
            for i in range(101, 101 + images)
        ],
        "categories": [
            {"id": i, "name": n} for i, n in zip(CATEGORY_IDS, CLASS_NAMES, strict=True)
        ],
        "annotations": annotations,
    }


def random_detections(dataset: dict, seed: int, jitter: float = 0.1) -> dict[int, Instances]:
    """Jittered copies of the objects, some of another class, and false alarms; scores with ties."""
    rng = np.random.default_rng(seed + 1)
    detections = {}
    for image in dataset["images"]:
        boxes, classes = [], []
        for annotation in dataset["annotations"]:
            if annotation["image_id"] != image["id"]:
                continue
            for _ in range(rng.integers(0, 3)):
                x, y, w, h = annotation["bbox"]
                dx, dy, dw, dh = rng.normal(0, jitter, 4)
                w2, h2 = w * np.exp(dw), h * np.exp(dh)
                boxes.append((x + dx * w, y + dy * h, x + dx * w + w2, y + dy * h + h2))
                index = CATEGORY_IDS.index(annotation["category_id"])
                classes.append(index if rng.random() < 0.9 else rng.integers(4))
        for _ in range(rng.integers(0, 3)):
            x, y, w, h = rng.uniform(10, 200, 4)
            boxes.append((x, y, x + w, y + h))
            classes.append(rng.integers(4))
        scores = np.round(rng.random(len(boxes)), 1)  # one decimal: many ties
        detections[image["id"]] = make_instances(boxes, scores, classes)
    return detections


def make_instances(boxes, scores, classes) -> Instances:
    instances = Instances((480, 640))
    instances.pred_boxes = Boxes(torch.tensor(np.array(boxes), dtype=torch.float32).reshape(-1, 4))
    instances.scores = torch.tensor(np.array(scores), dtype=torch.float32).reshape(-1)
    instances.pred_classes = torch.tensor(np.array(classes), dtype=torch.int64).reshape(-1)
    return instances


def register(
    name: str, json_file, dataset: dict, names=CLASS_NAMES, ids=CATEGORY_IDS, **metadata
) -> None:
    """Write the dataset and register its name as detectron2's COCO datasets are."""
    json_file.write_text(json.dumps(dataset))
    DatasetCatalog.register(name, lambda: [])
    MetadataCatalog.get(name).set(
        json_file=str(json_file),
        evaluator_type="coco",
        thing_classes=list(names),
        thing_dataset_id_to_contiguous_id={c: i for i, c in enumerate(ids)},
        **metadata,
    )


def to_records(dataset: dict, ids) -> list[dict]:
    """detectron2's records of a dataset, whose areas become those of the boxes, as theirs are."""
    records = {
        image["id"]: {"image_id": image["id"], "height": 480, "width": 640, "annotations": []}
        for image in dataset["images"]
    }
    for a in dataset["annotations"]:
        a["area"] = a["bbox"][2] * a["bbox"][3]
        entry = {"bbox": a["bbox"], "bbox_mode": BoxMode.XYWH_ABS, "iscrowd": a["iscrowd"]}
        entry["category_id"] = ids.index(a["category_id"])
        if "keypoints" in a:
            joints = np.reshape(a["keypoints"], (-1, 3)) + np.array([0.5, 0.5, 0])
            entry["keypoints"] = joints.ravel().tolist()
        records[a["image_id"]]["annotations"].append(entry)
    return list(records.values())


def run(evaluator, detections, images=None):
    """Scores of detections by image id, of some images or all."""
    evaluator.reset()
    for image_id in images or detections:
        evaluator.process([{"image_id": image_id}], [{"instances": detections[image_id]}])
    return evaluator.evaluate()


def to_rows(detections: dict[int, Instances], ids=CATEGORY_IDS) -> list[dict]:
    """COCO results, by an arithmetic of their own."""
    rows = []
    for image_id, instances in detections.items():
        for k in range(len(instances)):
            left, top, right, bottom = (float(v) for v in instances.pred_boxes.tensor[k])
            rows.append(
                {
                    "image_id": image_id,
                    "category_id": ids[int(instances.pred_classes[k])],
                    "bbox": [left, top, right - left, bottom - top],
                    "score": float(instances.scores[k]),
                }
            )
    return rows


def oracle(*args, **parameters) -> np.ndarray:
    """pycocotools' 12 or 10 numbers; the first is the mean over thresholds."""
    return oracle_evaluation(*args, **parameters).stats


def oracle_evaluation(
    dataset: dict, rows: list[dict], iou_thresholds=None, iou_type="bbox", **parameters
) -> COCOeval:
    """pycocotools' evaluation, by its own loadRes."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(dataset)
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(copy.deepcopy(rows)), iou_type)
        if iou_thresholds is not None:
            evaluation.params.iouThrs = np.array(iou_thresholds)
        for name, value in parameters.items():
            setattr(evaluation.params, name, value)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation
