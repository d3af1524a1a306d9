"""Pictures of 3-D boxes: projected into the image, and beside it from above.

Images are (H, W, 3) uint8, channels B, G, R. Boxes lie in the camera frame (x right, y down, z
forward, metres); a projection is 3 x 4, to pixels of the image that is drawn on.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from detectron2.structures import Boxes, Instances

from ..checked_values import check_value, share
from ..structures.boxes3d import Boxes3D, rescaled_projection
from . import canvas
from .birds_eye import above_of, beside
from .canvas import GRAY, Color, as_array

NEAR = 0.1  # metres; what lies nearer to the image plane, or behind it, has no picture
# Edges between the corners of `Boxes3D.corners`: bottom, top, uprights. Corners 0, 1, 4 and 5 are
# the front, and its diagonals say so.
_EDGES = (
    *((0, 1), (1, 2), (2, 3), (3, 0)),
    *((4, 5), (5, 6), (6, 7), (7, 4)),
    *((0, 4), (1, 5), (2, 6), (3, 7)),
)
_FRONT_CROSS = ((0, 5), (1, 4))
RED: Color = (40, 30, 220)  # of truth from above, as published


def draw_boxes3d(
    image: np.ndarray,
    boxes: Boxes3D,
    projection: np.ndarray | torch.Tensor,
    colors: Sequence[Color],
) -> np.ndarray:
    """Draw the edges of N boxes on a copy of the image, the nearest on top, fronts crossed.

    Edges are cut where they come nearer than `NEAR` to the camera, so that a box beside it shows
    the part that the camera sees. Boxes without extent are not drawn.
    """
    picture = np.ascontiguousarray(image).copy()
    thickness = max(1, canvas.line_thickness(picture) // 2)
    matrix = as_array(projection)
    corners = as_array(boxes.corners())
    drawable = (as_array(boxes.dimensions) > 0).all(axis=1) & np.isfinite(corners).all(axis=(1, 2))
    order = np.argsort(-as_array(boxes.depth), kind="stable")
    for row in order[drawable[order]]:
        points = np.concatenate([corners[row], np.ones((8, 1))], axis=1) @ matrix.T
        lines = []
        for edge in (*_EDGES, *_FRONT_CROSS):
            ends = _cut_near(*points[list(edge)])
            if ends is not None:
                width = max(1, thickness - 1) if edge in _FRONT_CROSS else thickness
                lines.append((ends[:, :2] / ends[:, 2:], colors[row], width))
        canvas.draw_rimmed_lines(picture, lines)
    return picture


def _cut_near(first: np.ndarray, second: np.ndarray) -> np.ndarray | None:
    """Cut a line of homogeneous pixels at depth `NEAR`: (2, 3), or None if all of it is nearer."""
    depths = np.array([first[2], second[2]])
    if depths.max() < NEAR:
        return None
    ends = np.stack([first, second])
    if depths.min() < NEAR:
        share = (NEAR - depths[0]) / (depths[1] - depths[0])
        ends[int(depths.argmin())] = first + share * (second - first)
    return ends


def draw_objects3d(
    image: np.ndarray,
    instances: Instances,
    projection: np.ndarray | torch.Tensor,
    class_names: Sequence[str] = (),
) -> np.ndarray:
    """Draw ground truth in the image and, beside it, from above.

    `instances` has `gt_boxes` in the image's pixels, `gt_classes`, `gt_boxes3d`, and perhaps
    `gt_ignored`: ignored regions are gray 2-D boxes, objects without a 3-D box coloured ones.
    `projection` is (3, 4), of this image; a small image is enlarged, see `readable`.
    """
    instances = instances.to("cpu")
    image, projection, instances.gt_boxes = readable(image, projection, instances.gt_boxes)
    image = np.ascontiguousarray(image).copy()
    ignored = torch.zeros(len(instances), dtype=torch.bool)
    if instances.has("gt_ignored"):
        ignored = instances.gt_ignored
    flat = ignored | (instances.gt_boxes3d.depth <= 0)
    corners = canvas.pixels(as_array(instances.gt_boxes.tensor[flat]))
    classes = torch.where(ignored, -1, instances.gt_classes)[flat].tolist()
    for (left, top, right, bottom), index in zip(corners, classes, strict=True):
        color = GRAY if index < 0 else canvas.class_color(index)
        cv2.rectangle(image, (left, top), (right, bottom), color, 1)
    objects = instances[~ignored]
    objects = objects[objects.gt_boxes3d.depth.argsort()]  # captions of the nearest lie on top
    boxes, depths = objects.gt_boxes3d, objects.gt_boxes3d.depth.tolist()
    numbers = [f"{depth:.0f} m" if depth > 0 else "no 3-D box" for depth in depths]
    shown = (objects, objects.gt_classes.tolist(), class_names, numbers)
    picture, colors = _draw(image, projection, objects.gt_boxes, boxes, *shown)
    return beside(picture, above_of(picture, [(boxes, colors, True)], projection))


def detections3d_views(
    image: np.ndarray,
    instances: Instances,
    projection: np.ndarray | torch.Tensor,
    class_names: Sequence[str] = (),
    threshold: float = 0.3,
    *,
    truth: Boxes3D | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw detections that score `threshold` or more: the image and, equally high, from above.

    `instances` has `pred_boxes` in the image's pixels, `scores`, `pred_classes`, `pred_boxes3d`.
    `projection` is (3, 4), of this image; a small image is enlarged, see `readable`. `truth` is
    drawn from above in red, below the detections. (0.3: the published demo's value.)
    """
    check_value("threshold", threshold, share)
    found = instances.to("cpu")
    found = found[found.scores >= threshold]
    image, projection, boxes = readable(image, projection, found.pred_boxes)
    numbers = [f"{score:.2f}" for score in found.scores.tolist()]
    shown = (found, found.pred_classes.tolist(), class_names, numbers)
    picture, colors = _draw(image, projection, boxes, found.pred_boxes3d, *shown)
    groups: list[tuple[Boxes3D, Sequence[Color], bool]] = [(found.pred_boxes3d, colors, False)]
    if truth is not None:
        groups.insert(0, (truth.to("cpu"), [RED] * len(truth), True))
    return picture, above_of(picture, groups, projection)


def readable(
    image: np.ndarray, projection: np.ndarray | torch.Tensor, boxes: Boxes
) -> tuple[np.ndarray, np.ndarray, Boxes]:
    """Enlarge a small image to about 360 rows, with its (3, 4) projection and its 2-D boxes."""
    matrix = torch.from_numpy(as_array(projection))
    factor = max(1, round(360 / image.shape[0]))
    if factor == 1:
        return image, matrix.numpy(), boxes
    # A pixel becomes a square of pixels, whose middle is not its first one.
    shift = (factor - 1) / 2
    image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    affine = torch.tensor([[factor, 0, shift], [0, factor, shift]], dtype=torch.float64)
    return image, rescaled_projection(matrix, affine).numpy(), Boxes(boxes.tensor * factor + shift)


def _draw(
    image: np.ndarray,
    projection: np.ndarray,
    boxes: Boxes,
    boxes3d: Boxes3D,
    rows: Instances,
    classes: Sequence[int],
    class_names: Sequence[str],
    numbers: Sequence[str],
) -> tuple[np.ndarray, list[Color]]:
    """Draw 3-D boxes, and captions above the 2-D ones, the first on top; return the colors too."""
    colors = canvas.row_colors(rows, classes)
    picture = draw_boxes3d(image, boxes3d, projection, colors)
    scale = max(0.35, 0.45 * canvas.text_scale(picture))
    for row, (left, top, _, _) in reversed(list(enumerate(as_array(boxes.tensor)))):
        caption = f"{canvas.class_name(class_names, classes[row])} {numbers[row]}"
        canvas.draw_caption(picture, caption, (left, top), colors[row], scale)
    return picture, colors
