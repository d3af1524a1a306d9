"""Random persons with joints, and detections of them, for the tests of this folder."""

from __future__ import annotations

import functools

import numpy as np
import torch
from detectron2.structures import Instances

from .random_coco import make_instances
from .random_coco import oracle as coco_oracle
from .random_coco import register as register_boxes
from .random_coco import to_rows as box_rows

NAMES = ("head", "left_hand", "right_hand", "left_foot", "right_foot")
SIGMAS = (0.05, 0.08, 0.08, 0.1, 0.1)
CATEGORY_IDS = (3, 7)  # "ball" has no joints, "person" has
CLASS_NAMES = ("ball", "person")
PERSON = 7


def random_persons(seed: int, images: int = 12) -> dict:
    """Persons (some without labelled joints, some crowds) and balls, all COCO sizes."""
    rng = np.random.default_rng(seed)
    annotations = []
    for image_id in range(101, 101 + images):
        for _ in range(rng.integers(0, 7)):
            x, y = rng.uniform(0, 300, 2)
            width, height = np.exp(rng.uniform(np.log(20), np.log(250), 2))
            annotation = {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": int(rng.choice(CATEGORY_IDS, p=(0.2, 0.8))),
                "bbox": [float(v) for v in (x, y, width, height)],
                "area": float(width * height * rng.uniform(0.4, 0.7)),
                "iscrowd": int(rng.random() < 0.08),
            }
            if annotation["category_id"] == PERSON:
                joints = _joints(annotation, rng)
                annotation["keypoints"] = joints.ravel().tolist()
                annotation["num_keypoints"] = int((joints[:, 2] > 0).sum())
            annotations.append(annotation)
    return {
        "images": [
            {"id": i, "height": 480, "width": 640, "file_name": f"{i}.jpg"}
            for i in range(101, 101 + images)
        ],
        "categories": [
            {"id": 3, "name": "ball"},
            {"id": PERSON, "name": "person", "keypoints": list(NAMES)},
        ],
        "annotations": annotations,
    }


def _joints(annotation: dict, rng: np.random.Generator) -> np.ndarray:
    x, y, width, height = annotation["bbox"]
    flags = rng.choice(3, size=len(NAMES), p=(0.2, 0.2, 0.6))
    if rng.random() < 0.15 or annotation["iscrowd"]:
        flags[:] = 0
    places = rng.uniform(0, 1, (len(NAMES), 2)) * (width, height) + (x, y)
    return np.where(flags[:, None] > 0, np.column_stack([np.round(places), flags]), 0.0)


def random_poses(dataset: dict, seed: int) -> dict[int, Instances]:
    """Jittered copies of the objects and false alarms; joints half a pixel off, as detectron2's."""
    rng = np.random.default_rng(seed + 1)
    detections = {}
    for image in dataset["images"]:
        boxes, classes, joints = [], [], []
        for annotation in dataset["annotations"]:
            if annotation["image_id"] != image["id"]:
                continue
            for _ in range(rng.integers(0, 3)):
                x, y, w, h = annotation["bbox"]
                boxes.append((x, y, x + w * rng.uniform(0.9, 1.1), y + h * rng.uniform(0.9, 1.1)))
                classes.append(CATEGORY_IDS.index(annotation["category_id"]))
                truth = annotation.get("keypoints") or [0.0] * 3 * len(NAMES)
                found = np.reshape(truth, (-1, 3))[:, :2].copy()
                found += rng.normal(0, 0.06, found.shape) * np.sqrt(w * h)
                joints.append(np.column_stack([found, rng.random(len(NAMES))]))
        for _ in range(rng.integers(0, 3)):
            x, y, w, h = rng.uniform(10, 200, 4)
            boxes.append((x, y, x + w, y + h))
            classes.append(rng.integers(2))
            joints.append(rng.uniform(0, 300, (len(NAMES), 3)))
        scores = np.round(rng.random(len(boxes)), 2)
        instances = make_instances(boxes, scores, classes)
        points = torch.tensor(np.array(joints).reshape(-1, len(NAMES), 3))
        points[..., :2] += 0.5
        instances.pred_keypoints = points
        detections[image["id"]] = instances
    return detections


register = functools.partial(
    register_boxes,
    names=CLASS_NAMES,
    ids=CATEGORY_IDS,
    keypoint_names=list(NAMES),
    keypoint_flip_map=[("left_hand", "right_hand"), ("left_foot", "right_foot")],
    keypoint_oks_sigmas=list(SIGMAS),
)


def to_rows(detections: dict[int, Instances]) -> list[dict]:
    """COCO results of the persons, by an arithmetic of their own."""
    joints = [joints.tolist() for each in detections.values() for joints in each.pred_keypoints]
    return [
        {**row, "keypoints": [number for x, y, s in points for number in (x - 0.5, y - 0.5, s)]}
        for row, points in zip(box_rows(detections, CATEGORY_IDS), joints, strict=True)
        if row["category_id"] == PERSON
    ]


def oracle(dataset: dict, rows: list[dict], sigmas=SIGMAS) -> np.ndarray:
    """pycocotools' 10 numbers of the persons."""
    options = {"catIds": [PERSON], "kpt_oks_sigmas": np.array(sigmas)}
    return coco_oracle(dataset, rows, iou_type="keypoints", **options)
