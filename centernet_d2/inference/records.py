"""Detections as plain rows of a JSON file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detectron2.structures import Instances

from ..structures.skeleton import HALF_PIXEL

BOX_FORMATS = {
    "xyxy": "XYXY: left, top, right, bottom in pixels of the upright image",
    "xywh": "XYWH: left, top, width, height in pixels of the upright image",
}


def detection_records(
    instances: Instances, class_names: Sequence[str], box_format: str
) -> list[dict[str, Any]]:
    """Class, score and box of each detection, and its joints and 3-D box where it has them.

    Args:
        instances: on the CPU, in pixels of the image.
        class_names: names by class index; a class without one becomes "class 7".
        box_format: a key of `BOX_FORMATS`.
    """
    boxes = instances.pred_boxes.tensor.clone().double()
    if box_format == "xywh":
        boxes[:, 2:] -= boxes[:, :2]
    columns = (boxes, instances.scores, instances.pred_classes)
    more = (_joints(instances), _boxes3d(instances))
    return [
        {
            "class_name": class_names[k] if k < len(class_names) else f"class {k}",
            "class_index": k,
            "score": round(score, 6),
            "box": [round(value, 3) for value in box],
            **joints,
            **box3d,
        }
        for box, score, k, joints, box3d in zip(*(c.tolist() for c in columns), *more, strict=True)
    ]


def _joints(instances: Instances) -> list[dict[str, Any]]:
    """[x, y, score] of each joint, 0 is the first pixel's middle; nothing for a class without."""
    if not instances.has("pred_keypoints"):
        return [{}] * len(instances)
    half_pixel = instances.pred_keypoints.new_tensor([HALF_PIXEL, HALF_PIXEL, 0])
    figures = (instances.pred_keypoints - half_pixel).tolist()
    found = instances.pred_keypoints.flatten(1).any(dim=1).tolist()  # zeros: a class without joints
    return [
        {"joints": [[round(value, 3) for value in joint] for joint in figure]} if known else {}
        for figure, known in zip(figures, found, strict=True)
    ]


def _boxes3d(instances: Instances) -> list[dict[str, Any]]:
    """Location (middle of the bottom), dimensions (height, width, length), angles; camera frame."""
    if not instances.has("pred_boxes3d"):
        return [{}] * len(instances)
    rows = [[round(value, 4) for value in row] for row in instances.pred_boxes3d.tensor.tolist()]
    names = ("location", "dimensions", "rotation_y", "alpha")
    values = [(row[:3], row[3:6], row[6], row[7]) for row in rows]
    return [{"box3d": dict(zip(names, value, strict=True))} for value in values]
