"""Pictures of whatever objects an image has, in the plane or in space.

Images are (H, W, 3) uint8, channels B, G, R. `drawing` says which limbs joints have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.structures import Instances

from ..checked_values import check_value, share
from ..structures.output_fields import OUTPUT_FIELDS
from .boxes3d import draw_detections3d, draw_objects3d
from .detections import draw_comparison, draw_detections, draw_objects
from .skeletons import SkeletonDrawing


def draw_result(
    image: np.ndarray,
    result: Mapping[str, Any],
    class_names: Sequence[str] = (),
    threshold: float = 0.3,
    *,
    keypoints: bool = False,
    drawing: SkeletonDrawing | None = None,
) -> np.ndarray:
    """Draw boxes and joints, or 3-D boxes in the image and, beside it, from above.

    `result` holds "instances" in the image's pixels, and with 3-D boxes its "projection" (3, 4);
    what registered output fields draw lies below. See `draw_detections` for the other arguments.
    """
    check_value("threshold", threshold, share)
    instances, projection = result["instances"], result.get("projection")
    image = _with_further_fields(image, instances[instances.scores >= threshold])
    if projection is None or not instances.has("pred_boxes3d"):
        return draw_detections(
            image, instances, class_names, threshold, keypoints=keypoints, drawing=drawing
        )
    return draw_detections3d(image, instances, projection, class_names, threshold)


def draw_truth(
    image: np.ndarray,
    truth: Instances,
    class_names: Sequence[str] = (),
    *,
    projection: np.ndarray | torch.Tensor | None = None,
    drawing: SkeletonDrawing | None = None,
) -> np.ndarray:
    """Draw ground truth, as `draw_objects3d` where there is a projection, or `draw_objects`."""
    if projection is None or not truth.has("gt_boxes3d"):
        return draw_objects(image, truth, class_names, drawing)
    return draw_objects3d(image, truth, projection, class_names)


def draw_against_truth(
    image: np.ndarray,
    truth: Instances,
    result: Mapping[str, Any],
    class_names: Sequence[str] = (),
    *,
    drawing: SkeletonDrawing | None = None,
) -> np.ndarray:
    """Draw truth and detections side by side, or 3-D boxes with the truth from above."""
    instances, projection = result["instances"], result.get("projection")
    if projection is None or not truth.has("gt_boxes3d"):
        return draw_comparison(image, truth, instances, class_names, drawing=drawing)
    boxes = truth.gt_boxes3d
    if truth.has("gt_ignored"):
        boxes = boxes[~truth.gt_ignored]
    return draw_detections3d(image, instances, projection, class_names, truth=boxes)


def _with_further_fields(image: np.ndarray, instances: Instances) -> np.ndarray:
    """The image with what the registered output fields draw, under boxes and captions."""
    image = image.copy()
    for name in instances.get_fields():
        if name in OUTPUT_FIELDS and (draw := OUTPUT_FIELDS[name].draw):
            draw(image, instances)
    return image
