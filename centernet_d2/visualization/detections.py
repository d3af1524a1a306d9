"""Pictures of boxes with class and score, and of joints, on images of any size.

Images are (H, W, 3) uint8, channels B, G, R. Boxes are XYXY in the image's pixels.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from detectron2.structures import Instances

from ..checked_values import check_value, share
from ..structures.skeleton import HALF_PIXEL
from . import canvas
from .canvas import BLACK, MISSED, WHITE, Color, as_array, class_color
from .skeletons import SkeletonDrawing, draw_skeletons

SURE_JOINT = 0.1  # score from which on a detected joint is drawn filled (published joint threshold)
MOST_CAPTIONS = 40  # in a comparison: of more boxes none is named


def draw_boxes(
    image: np.ndarray, boxes: np.ndarray, classes: Sequence[int | Color], captions: Sequence[str]
) -> np.ndarray:
    """Draw (N, 4) boxes with captions on a copy of the image, dark-rimmed, the last on top.

    Boxes may reach out of the image; colors are given or those of class indices, and what is missed
    is dashed; a caption "" is not drawn.
    """
    picture = np.ascontiguousarray(image).copy()
    corners = np.array(canvas.pixels(as_array(boxes)), dtype=int).reshape(-1, 2, 2)
    # Fit to the picture, but on a large one not larger than small boxes can bear.
    side = np.median(np.abs(corners[:, 1] - corners[:, 0])) if len(corners) else 0.0
    thickness = min(canvas.line_thickness(picture), max(3, round(side / 40)))
    scale = min(canvas.text_scale(picture), max(0.5, side / 180))
    colors = [each if isinstance(each, tuple) else class_color(int(each)) for each in classes]
    for ends, color in zip(corners.tolist(), colors, strict=True):
        if color == canvas.VERDICTS[MISSED]:
            canvas.draw_dashed_box(picture, ends, color, thickness)
            continue
        cv2.rectangle(picture, *ends, BLACK, thickness + 2)
        cv2.rectangle(picture, *ends, color, thickness)
    for place, color, caption in zip(corners[:, 0], colors, captions, strict=True):
        if caption:  # after all outlines, which would cross the text
            canvas.draw_caption(picture, caption, place, color, scale)
    return picture


def draw_detections(
    image: np.ndarray,
    instances: Instances,
    class_names: Sequence[str] = (),
    threshold: float = 0.3,
    *,
    keypoints: bool = False,
    drawing: SkeletonDrawing | None = None,
) -> np.ndarray:
    """Draw the detections that score `threshold` or more on a copy of the image, the best on top.

    Args:
        image: (H, W, 3) uint8 BGR.
        instances: `pred_boxes` in the image's pixels, `scores`, `pred_classes`, and perhaps
            `pred_keypoints` (K, J, 3) x, y, score; joints that score under `SURE_JOINT` are rings.
        class_names: names by class index; a class without one is drawn as "class 7".
        threshold: lowest score drawn (0.3: the published demo's value).
        keypoints: mark what a box was made from, as far as the detector says it: both corners
            (`corner_scores` (N, 2)) by squares, the center (`pred_centers` (N, 2)) by a disk.
        drawing: limbs of the joints; None: joints alone.
    """
    check_value("threshold", threshold, share)
    scores = instances.scores.detach().cpu().numpy()
    order = np.argsort(scores, kind="stable")
    order = order[scores[order] >= threshold]
    boxes = as_array(instances.pred_boxes.tensor)[order]
    classes = instances.pred_classes.cpu().numpy()[order]
    names = [canvas.class_name(class_names, index) for index in classes]
    captions = [f"{name} {score:.2f}" for name, score in zip(names, scores[order], strict=True)]
    if instances.has("track_ids"):
        tracks = as_array(instances.track_ids)[order].astype(int)
        pairs = zip(captions, tracks, strict=True)
        captions = [f"{text} #{track}" if track >= 0 else text for text, track in pairs]
    colors = canvas.row_colors(instances, classes, order)
    if instances.has("verdict") and len(order) > MOST_CAPTIONS:
        captions = [""] * len(order)
    picture = draw_boxes(image, boxes, colors, captions)
    if keypoints and instances.has("corner_scores"):
        for corners in (boxes[:, :2], boxes[:, 2:]):
            _mark_points(picture, corners, colors, square=True)
    if keypoints and instances.has("pred_centers"):
        _mark_points(picture, as_array(instances.pred_centers)[order], colors, square=False)
    if not instances.has("pred_keypoints"):
        return picture
    joints = as_array(instances.pred_keypoints)[order]
    # A joint of a pose scores more than 0; an object of a class without joints has rows of 0.
    sure = joints[..., 2] >= SURE_JOINT
    joints[..., :2] -= HALF_PIXEL
    joints[..., 2] = joints[..., 2] > 0
    return draw_skeletons(picture, joints, drawing, sure=sure)


def _mark_points(
    picture: np.ndarray, points: np.ndarray, colors: Sequence[Color], *, square: bool
) -> None:
    """Mark (N, 2) points by squares or disks, in place."""
    radius = canvas.line_thickness(picture) + 1
    for (x, y), color in zip(canvas.pixels(points), colors, strict=True):
        fills = (BLACK, WHITE, color)
        for size, fill in zip((radius + 1, radius, radius - 1), fills, strict=True):
            if square:
                low, high = (x - size, y - size), (x + size, y + size)
                cv2.rectangle(picture, low, high, fill, cv2.FILLED)
            else:
                cv2.circle(picture, (x, y), size, fill, cv2.FILLED)
