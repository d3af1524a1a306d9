"""Pictures of whatever objects an image has, in the plane or in space.

Images are (H, W, 3) uint8, channels B, G, R. Boxes are XYXY in the image's pixels; `gt_keypoints`
are pixel indices (0 is the middle of the first pixel), `pred_keypoints` have 0.5 there, as
detectron2's. `drawing` says which limbs joints have; None: joints alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.structures import Boxes, Instances, Keypoints

from ..checked_values import check_value, share
from ..structures.output_fields import OUTPUT_FIELDS, scale_boxes, scale_points
from ..structures.skeleton import HALF_PIXEL
from .birds_eye import beside
from .boxes3d import detections3d_views, draw_objects3d
from .canvas import GRAY, as_array, class_name, row_colors, side_by_side
from .detections import draw_boxes, draw_detections
from .skeletons import SkeletonDrawing, draw_skeletons


def draw_result(
    image: np.ndarray,
    result: Mapping[str, Any],
    class_names: Sequence[str] = (),
    threshold: float = 0.3,
    **how: Any,
) -> np.ndarray:
    """Draw boxes and joints, or 3-D boxes in the image and, beside it, from above.

    `result` holds "instances" in the image's pixels, and with 3-D boxes its "projection" (3, 4);
    what registered output fields draw lies below. `how` are arguments of `draw_detections`.
    """
    check_value("threshold", threshold, share)
    instances, projection = result["instances"], result.get("projection")
    image, shown = image.copy(), instances[instances.scores >= threshold]
    for name in instances.get_fields():
        if name in OUTPUT_FIELDS and (draw := OUTPUT_FIELDS[name].draw):
            draw(image, shown)
    if projection is not None and instances.has("pred_boxes3d"):
        return beside(*detections3d_views(image, instances, projection, class_names, threshold))
    return draw_detections(image, instances, class_names, threshold, **how)


def draw_truth(
    image: np.ndarray,
    truth: Instances,
    class_names: Sequence[str] = (),
    *,
    projection: np.ndarray | torch.Tensor | None = None,
    drawing: SkeletonDrawing | None = None,
) -> np.ndarray:
    """Draw ground truth on a copy of the image, with a projection as `draw_objects3d`.

    `truth` has `gt_boxes`, `gt_classes`, and perhaps `gt_keypoints`, whose covered joints are
    rings.
    """
    if projection is not None and truth.has("gt_boxes3d"):
        return draw_objects3d(image, truth, projection, class_names)
    colors = row_colors(truth, truth.gt_classes)
    names = [class_name(class_names, index) for index in truth.gt_classes.tolist()]
    captions = [name * (c != GRAY) for name, c in zip(names, colors, strict=True)]
    picture = draw_boxes(image, truth.gt_boxes.tensor, colors, captions)
    if not truth.has("gt_keypoints"):
        return picture
    joints = as_array(truth.gt_keypoints.tensor)
    return draw_skeletons(picture, joints, drawing, sure=joints[..., 2] == 2)


def under_titles(panels: Mapping[str, np.ndarray]) -> np.ndarray:
    """Put pictures beside each other, wide ones one above the other, each under its title."""
    height, width = next(iter(panels.values())).shape[:2]
    if width < 1.6 * height:
        return side_by_side([*panels.values()], [*panels])
    rows = [side_by_side([picture], [title]) for title, picture in panels.items()]
    wide = max(row.shape[1] for row in rows)
    rows = [np.pad(r, ((0, 0), (0, wide - r.shape[1]), (0, 0)), constant_values=255) for r in rows]
    return np.concatenate(rows)


def enlarged(instances: Instances, factor: float) -> Instances:
    """Return what belongs on an image of `factor` times the size; the given object stays."""
    instances = instances.to("cpu")  # a new object: fields are replaced
    fields = instances.get_fields()
    for name in {"gt_boxes", "pred_boxes", "pred_centers", "pred_keypoints"} & fields.keys():
        scale = scale_boxes if isinstance(fields[name], Boxes) else scale_points
        instances.set(name, scale(fields[name], (factor, factor)))
    if "gt_keypoints" in fields:
        joints = instances.gt_keypoints.tensor.clone()
        joints[..., :2] = (joints[..., :2] + HALF_PIXEL) * factor - HALF_PIXEL
        instances.gt_keypoints = Keypoints(joints)
    return instances
