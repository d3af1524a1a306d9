"""Detections as plain rows of a JSON file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detectron2.structures import Instances

from ..structures.output_fields import OUTPUT_FIELDS, OutputField

BOX_FORMATS = {
    "xyxy": "XYXY: left, top, right, bottom in pixels of the upright image",
    "xywh": "XYWH: left, top, width, height in pixels of the upright image",
}


def detection_records(
    instances: Instances, class_names: Sequence[str], box_format: str
) -> list[dict[str, Any]]:
    """Class, score and box (`BOX_FORMATS`) of detections on the CPU, and what further fields write.

    A class without a name becomes "class 7".
    """
    boxes = instances.pred_boxes.tensor.clone().double()
    if box_format == "xywh":
        boxes[:, 2:] -= boxes[:, :2]
    further: list[dict[str, Any]] = [{} for _ in range(len(instances))]
    for name in instances.get_fields():
        if record := OUTPUT_FIELDS.get(name, OutputField()).record:
            for row, more in zip(further, record(instances), strict=True):
                row.update(more)
    scores, classes = instances.scores.tolist(), instances.pred_classes.tolist()
    rows = zip(boxes.tolist(), scores, classes, further, strict=True)
    return [
        {
            "class_name": class_names[k] if k < len(class_names) else f"class {k}",
            "class_index": k,
            "score": round(score, 6),
            "box": [round(value, 3) for value in box],
            **more,
        }
        for box, score, k, more in rows
    ]
