"""Pictures of boxes with class and score, and of joints, on images of any size; no window opens.

Images are (H, W, 3) uint8, channels B, G, R. Boxes are XYXY in the image's pixels. `gt_keypoints`
are pixel indices (0 is the middle of the first pixel), `pred_keypoints` have 0.5 there, as
detectron2's.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np
from detectron2.structures import Boxes, Instances, Keypoints

from ..structures.skeleton import HALF_PIXEL
from .skeletons import SkeletonDrawing, draw_skeletons

FONT = cv2.FONT_HERSHEY_SIMPLEX
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
SURE_JOINT = 0.1  # score from which on a detected joint is drawn filled (published joint threshold)


def class_color(index: int) -> tuple[int, int, int]:
    """Return the color (B, G, R) of a class; neighbours differ clearly, no two are equal.

    Hues go round in steps of the golden ratio, with three levels of saturation and brightness.
    """
    hue = (index * 0.618034) % 1.0
    saturation, brightness = ((0.95, 1.0), (0.6, 1.0), (0.95, 0.75))[index % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, brightness)
    return round(255 * blue), round(255 * green), round(255 * red)


def draw_boxes(
    image: np.ndarray, boxes: np.ndarray, classes: Sequence[int], captions: Sequence[str]
) -> np.ndarray:
    """Draw boxes with captions on a copy of the image, the last box on top.

    Each outline has a dark rim, so that it shows on any background; thickness and text follow the
    image's size.

    Args:
        image: (H, W, 3) uint8.
        boxes: (N, 4); they may reach out of the image.
        classes: N class indices, for the colors.
        captions: N texts; "" draws none.
    """
    picture = np.ascontiguousarray(image).copy()
    thickness = line_thickness(picture)
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    # Far outside, cv2's integer coordinates would overflow.
    corners = np.clip(np.round(boxes), -30000, 30000).astype(int).tolist()
    colors = [class_color(int(index)) for index in classes]
    for (left, top, right, bottom), color in zip(corners, colors, strict=True):
        cv2.rectangle(picture, (left, top), (right, bottom), BLACK, thickness + 2)
        cv2.rectangle(picture, (left, top), (right, bottom), color, thickness)
    for (left, top, _, _), color, caption in zip(corners, colors, captions, strict=True):
        if caption:  # after all outlines, which would cross the text
            _draw_caption(picture, caption, left, top, color)
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
            `pred_keypoints` (K, J, 3) x, y, score.
        class_names: names by class index; a class without one is drawn as "class 7".
        threshold: lowest score drawn (0.3: the published demo's value).
        keypoints: mark what a box was made from, as far as the detector says it: both corners
            (`corner_scores` (N, 2)) by squares, the center (`pred_centers` (N, 2)) by a disk.
        drawing: limbs of the joints; None: joints alone. Joints that score under `SURE_JOINT` are
            rings.
    """
    scores = instances.scores.detach().cpu().numpy()
    order = np.argsort(scores, kind="stable")
    order = order[scores[order] >= threshold]
    boxes = instances.pred_boxes.tensor.detach().cpu().numpy()[order]
    classes = instances.pred_classes.cpu().numpy()[order]
    captions = [
        f"{class_name(class_names, k)} {score:.2f}"
        for k, score in zip(classes, scores[order], strict=True)
    ]
    picture = draw_boxes(image, boxes, classes, captions)
    if keypoints:
        centers = None
        if instances.has("pred_centers"):
            centers = instances.pred_centers.detach().cpu().numpy()[order]
        _mark_keypoints(
            picture, classes, boxes if instances.has("corner_scores") else None, centers
        )
    if not instances.has("pred_keypoints"):
        return picture
    joints = instances.pred_keypoints.detach().cpu().numpy()[order].astype(np.float64)
    # A joint of a pose scores more than 0; an object of a class without joints has rows of 0.
    sure = joints[..., 2] >= SURE_JOINT
    joints[..., :2] -= HALF_PIXEL
    joints[..., 2] = joints[..., 2] > 0
    return _draw_joints(picture, joints, drawing, sure)


def draw_objects(
    image: np.ndarray,
    instances: Instances,
    class_names: Sequence[str] = (),
    drawing: SkeletonDrawing | None = None,
) -> np.ndarray:
    """Draw ground truth on a copy of the image.

    Args:
        image: (H, W, 3) uint8 BGR.
        instances: `gt_boxes` in the image's pixels, `gt_classes`, and perhaps `gt_keypoints`;
            covered joints are rings.
        class_names: names by class index.
        drawing: limbs of the joints; None: joints alone.
    """
    classes = instances.gt_classes.cpu().numpy()
    captions = [class_name(class_names, k) for k in classes]
    picture = draw_boxes(image, instances.gt_boxes.tensor.cpu().numpy(), classes, captions)
    if not instances.has("gt_keypoints"):
        return picture
    joints = instances.gt_keypoints.tensor.cpu().numpy()
    return _draw_joints(picture, joints, drawing, joints[..., 2] == 2)


def _draw_joints(
    picture: np.ndarray, joints: np.ndarray, drawing: SkeletonDrawing | None, sure: np.ndarray
) -> np.ndarray:
    return draw_skeletons(
        picture,
        joints,
        drawing or SkeletonDrawing(),
        sure=sure,
        thickness=max(1, line_thickness(picture) - 1),
    )


def draw_comparison(
    image: np.ndarray,
    truth: Instances,
    detections: Instances,
    class_names: Sequence[str] = (),
    threshold: float = 0.3,
    *,
    keypoints: bool = False,
    smallest_side: int = 360,
    drawing: SkeletonDrawing | None = None,
) -> np.ndarray:
    """Draw ground truth and detections of one image beside each other.

    Args:
        image: (H, W, 3) uint8 BGR.
        truth: as for `draw_objects`.
        detections: as for `draw_detections`.
        class_names: names by class index.
        threshold: lowest score drawn.
        keypoints: as for `draw_detections`.
        smallest_side: small images are enlarged by a whole factor to about this many pixels.
        drawing: limbs of the joints.
    """
    factor = max(1, round(smallest_side / min(image.shape[:2])))
    if factor > 1:
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        truth, detections = _enlarged(truth, factor), _enlarged(detections, factor)
    return side_by_side(
        [
            draw_objects(image, truth, class_names, drawing),
            draw_detections(
                image, detections, class_names, threshold, keypoints=keypoints, drawing=drawing
            ),
        ],
        ["ground truth", f"detections, score >= {threshold:g}"],
    )


def _enlarged(instances: Instances, factor: int) -> Instances:
    """Return what belongs on an image of `factor` times the size; the given object stays."""
    instances = instances.to("cpu")  # a new object: fields are replaced
    for name in ("gt_boxes", "pred_boxes"):
        if instances.has(name):
            instances.set(name, Boxes(instances.get(name).tensor * factor))
    if instances.has("pred_centers"):
        instances.pred_centers = instances.pred_centers * factor
    if instances.has("gt_keypoints"):
        joints = instances.gt_keypoints.tensor.clone()
        joints[..., :2] = (joints[..., :2] + HALF_PIXEL) * factor - HALF_PIXEL
        instances.gt_keypoints = Keypoints(joints)
    if instances.has("pred_keypoints"):
        scale = instances.pred_keypoints.new_tensor([factor, factor, 1])
        instances.pred_keypoints = instances.pred_keypoints * scale
    return instances


def side_by_side(pictures: Sequence[np.ndarray], titles: Sequence[str]) -> np.ndarray:
    """Put pictures of one height beside each other, each under its title."""
    titled = []
    for picture, title in zip(pictures, titles, strict=True):
        scale = text_scale(picture)
        (_, height), below = cv2.getTextSize("Ag", FONT, scale, 1)  # equal for all titles
        bar = np.full((height + below + 4, picture.shape[1], 3), 255, dtype=np.uint8)
        (width, _), _ = cv2.getTextSize(title, FONT, scale, 1)
        scale *= min(1.0, (picture.shape[1] - 4) / max(width, 1))
        cv2.putText(bar, title, (2, height + 2), FONT, scale, BLACK, 1, cv2.LINE_AA)
        titled.append(np.concatenate([bar, picture]))
    return image_grid(titled, columns=len(titled))


def image_grid(
    pictures: Sequence[np.ndarray], columns: int, *, gap: int = 4, background: int = 128
) -> np.ndarray:
    """Put pictures of any sizes into a grid whose cells have the size of the largest."""
    height = max(picture.shape[0] for picture in pictures)
    width = max(picture.shape[1] for picture in pictures)
    rows = -(-len(pictures) // columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, 3)
    grid = np.full(shape, background, dtype=np.uint8)
    for number, picture in enumerate(pictures):
        y, x = (number // columns) * (height + gap), (number % columns) * (width + gap)
        grid[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return grid


def class_name(class_names: Sequence[str], index: int) -> str:
    """Return the name of a class, "class 7" where it has none."""
    return str(class_names[index]) if 0 <= index < len(class_names) else f"class {index}"


def line_thickness(image: np.ndarray) -> int:
    """Return the pixels of a line that is readable on an image of this size."""
    return max(1, round(max(image.shape[:2]) / 250))


def text_scale(image: np.ndarray) -> float:
    """Return cv2's font scale for an image of this size: never under 0.35, which is 8 px high."""
    return max(0.35, max(image.shape[:2]) / 1300)


def _mark_keypoints(
    picture: np.ndarray,
    classes: Sequence[int],
    boxes: np.ndarray | None,
    centers: np.ndarray | None,
) -> None:
    """Mark the top-left and bottom-right corners of boxes (N, 4), and centers (N, 2), in place."""
    radius = line_thickness(picture) + 1
    corners = [] if boxes is None else [boxes[:, :2], boxes[:, 2:]]
    for points, is_center in [*((c, False) for c in corners), (centers, True)]:
        if points is None:
            continue
        places = np.clip(np.round(points), -30000, 30000).astype(int).tolist()
        for (x, y), index in zip(places, classes, strict=True):
            color = class_color(int(index))
            for size, fill in ((radius + 1, BLACK), (radius, WHITE), (radius - 1, color)):
                if is_center:
                    cv2.circle(picture, (x, y), size, fill, cv2.FILLED)
                else:
                    low, high = (x - size, y - size), (x + size, y + size)
                    cv2.rectangle(picture, low, high, fill, cv2.FILLED)


def _draw_caption(
    picture: np.ndarray, caption: str, left: int, top: int, color: tuple[int, int, int]
) -> None:
    """Write on a plate of the class's color above the box, moved into the picture where needed."""
    scale = text_scale(picture)
    stroke = max(1, round(scale))
    (width, height), below = cv2.getTextSize(caption, FONT, scale, stroke)
    plate = height + below + 2
    x = max(0, min(left, picture.shape[1] - width - 2))
    y = max(0, min(top - plate, picture.shape[0] - plate))
    cv2.rectangle(picture, (x, y), (x + width + 2, y + plate), color, cv2.FILLED)
    blue, green, red = color
    is_bright = 0.114 * blue + 0.587 * green + 0.299 * red > 140
    origin = (x + 1, y + height + 1)
    cv2.putText(
        picture, caption, origin, FONT, scale, BLACK if is_bright else WHITE, stroke, cv2.LINE_AA
    )
