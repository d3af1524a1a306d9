"""Detections in the mapper's image frame -> the frame that the caller asked for.

detectron2's `detector_postprocess` changes the boxes that it is given, clips them, drops the rows
whose clipped box is empty from all fields, and scales no field that it does not know. This one
scales every image-plane field, on a copy, and clips and drops only when told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from detectron2.structures import Boxes, Instances
from torch import Tensor

Scale = tuple[float, float]
"""(x, y)"""


def _scale_boxes(boxes: Boxes, scale: Scale) -> Boxes:
    boxes = boxes.clone()
    boxes.scale(*scale)
    return boxes


def _scale_points(points: Tensor, scale: Scale) -> Tensor:
    # (K, ..., 2 or more): x, y and whatever follows them (a score, a visibility). `pred_keypoints`
    # count from the edge of the first pixel as detectron2's, so that a factor is all they need.
    points = points.clone()
    points[..., 0] *= scale[0]
    points[..., 1] *= scale[1]
    return points


IMAGE_PLANE_FIELDS: dict[str, Callable[[Any, Scale], Any]] = {
    "pred_boxes": _scale_boxes,
    "pred_centers": _scale_points,
    "pred_keypoints": _scale_points,
}
"""Field name -> function(value, scale) -> new value. Point tasks with further
fields add theirs."""


def best_detections(found: Instances, limit: int | None) -> Instances:
    """The `limit` best detections, ties with the last included; None: all.

    They keep their order, and a score of NaN stays visible.
    """
    if limit is None or len(found) <= limit:
        return found
    lowest = found.scores.topk(limit).values[-1]
    return found[~(found.scores < lowest)]


def to_output_frame(
    instances: Instances,
    height: int,
    width: int,
    *,
    clip_boxes: bool = False,
    drop_empty: bool = False,
) -> Instances:
    """Scale all image-plane fields to an image of (height, width).

    Args:
        instances: detections; not changed.
        height: of the output frame.
        width: of the output frame.
        clip_boxes: clip boxes to the output frame (published results: off).
        drop_empty: drop detections whose clipped box has no area; the boxes that stay are clipped
            only with `clip_boxes`.
    """
    scale = (width / instances.image_size[1], height / instances.image_size[0])
    result = Instances((height, width))
    for name, value in instances.get_fields().items():
        if name in IMAGE_PLANE_FIELDS:
            value = IMAGE_PLANE_FIELDS[name](value, scale)
        result.set(name, value)
    if not result.has("pred_boxes") or not (clip_boxes or drop_empty):
        return result
    clipped = result.pred_boxes.clone()
    clipped.clip((height, width))
    if clip_boxes:
        result.pred_boxes = clipped
    return result[clipped.nonempty()] if drop_empty else result
